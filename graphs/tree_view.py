"""The tree in a few lines of text, for those who watch a search in Studio."""

from __future__ import annotations

from armap_agents.search import ROOT, Tree, children

LINES = 24
"""Lines at most."""

SIBLINGS = 3
"""Evaluated children shown of one node at most."""


def tree_view(tree: Tree, best: str | None) -> str:
    """Return the most visited part of a tree, one node a line, the best one marked.

    Args:
        tree: The tree.
        best: The node of the best finished trajectory.
    """
    lines: list[str] = []
    _write(tree, ROOT, best or "", "", lines)
    if len(lines) > LINES:
        lines[LINES - 1 :] = [f"… {len(lines) - LINES + 1} more lines"]
    return "\n".join(lines)


def _write(tree: Tree, at: str, best: str, indent: str, lines: list[str]) -> None:
    node = tree[at]
    q = "" if node["q"] is None else f" q {node['q']:.3f}"
    mark = " ★" if at == best else ""
    lines.append(f"{indent}{node['action'] or 'start'}  n {node['n']}{q} {node['status']}{mark}")
    tried = [child for child in children(tree, at) if tree[child]["n"]]
    shown = sorted(tried, key=lambda c: (not _above(c, best), -tree[c]["n"]))[:SIBLINGS]
    for child in shown:
        _write(tree, child, best, indent + "  ", lines)
    rest = node["children"] - len(shown)
    if rest and node["children"]:
        lines.append(f"{indent}  … {rest} more, {len(tried) - len(shown)} of them tried")


def _above(node: str, other: str) -> bool:
    return f"{other}.".startswith(f"{node}.")
