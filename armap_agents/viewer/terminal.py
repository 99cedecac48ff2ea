"""A run in the terminal: the tree cut to what fits a screen, the answer, what it cost."""

from __future__ import annotations

import heapq
from collections import defaultdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from armap_agents.viewer.document import Document
from armap_agents.viewer.outcome import errors_of
from armap_agents.viewer.text import one_line

SHOWN = 60
"""Most nodes of a tree that is not asked for whole."""

_MARKS = {"proposed": "○", "open": "●", "ended": "◉", "limit": "■", "failed": "✗"}


def print_trace(
    console: Console, document: Document, depth: int | None = None, whole: bool = False
) -> None:
    """Print a document: what was asked, the tree, the answer, the costs.

    Args:
        console: Where to.
        document: What `read_document` returned.
        depth: Deepest level shown; None shows all.
        whole: Show every node instead of the best path and the most visited ones.
    """
    console.print(_heading(document), highlight=False)
    if document["nodes"]:
        console.print(_tree(document, depth, whole), highlight=False)
        console.print(_legend(document), highlight=False)
    _print_answer(console, document)
    console.print(_costs(document), highlight=False)


def _heading(document: Document) -> Text:
    where = " ".join(str(document[key]) for key in ("environment", "task") if document[key])
    who = ", ".join(str(document[key]) for key in ("planner", "policy") if document[key])
    about = " · ".join(part for part in (f"run {document['run']}", where, who) if part)
    return Text.assemble(
        (document["instruction"] or "(no instruction recorded)", "bold"), "\n", (about, "dim")
    )


def _tree(document: Document, depth: int | None, whole: bool) -> Tree:
    nodes, rows = document["nodes"], final_rows(document)
    below: dict[int, list[int]] = defaultdict(list)
    for number, node in enumerate(nodes):
        below[node["parent"]].append(number)
    best = best_path(document)
    errors = errors_of(document)
    shown = set(range(len(nodes))) if whole else _chosen(below, rows, best)
    if depth is not None:
        shown = {number for number in shown if nodes[number]["depth"] <= depth}
    labels = {number: _label(document, number, rows, best, errors) for number in shown | {0}}
    trees = {0: Tree(labels[0], guide_style="dim")}
    for number in sorted(shown - {0}):
        trees[number] = trees[nodes[number]["parent"]].add(labels[number])
    for number, tree in trees.items():
        hidden = [child for child in below[number] if child not in shown]
        if hidden:
            tree.add(Text(_left_out(hidden, rows, below), "dim italic"))
    return trees[0]


def final_rows(document: Document) -> list[list[Any]]:
    """Return the newest row of each node: number, status, n, q, V, result, visits, closed."""
    rows: list[list[Any]] = [[] for _ in document["nodes"]]
    for frame in document["frames"]:
        for row in frame["nodes"]:
            rows[row[0]] = row
    return rows


def best_path(document: Document) -> set[int]:
    """Return the numbers of the nodes from the root to the answer, or to the best one so far."""
    best = (document["best"] or {}).get("end")
    path: set[int] = set()
    while best is not None and best >= 0:
        path.add(best)
        best = document["nodes"][best]["parent"]
    return path


def _chosen(below: dict[int, list[int]], rows: list[list[Any]], best: set[int]) -> set[int]:
    """Return the best path and the most visited other nodes, each with its ancestors."""
    chosen = {0} | best
    waiting = [(-rows[child][2], child) for node in chosen for child in below[node]]
    heapq.heapify(waiting)
    while waiting and len(chosen) < SHOWN:
        _, node = heapq.heappop(waiting)
        if node not in chosen and rows[node][1]:
            chosen.add(node)
            for child in below[node]:
                heapq.heappush(waiting, (-rows[child][2], child))
    return chosen


def _left_out(hidden: list[int], rows: list[list[Any]], below: dict[int, list[int]]) -> str:
    count, tried, waiting = 0, 0, list(hidden)
    while waiting:
        node = waiting.pop()
        count += 1
        tried += rows[node][1] != 0
        waiting.extend(below[node])
    if not tried:
        return f"… {count:,} more, never tried"
    return f"… {count:,} more" + (f", {tried:,} of them tried" if tried < count else "")


def _label(
    document: Document,
    number: int,
    rows: list[list[Any]],
    best: set[int],
    errors: dict[int, str],
) -> Text:
    _, status, visits, value, *_ = rows[number]
    name = document["statuses"][status]
    action = one_line(document["nodes"][number]["action"], 80) or "start"
    style = {"failed": "red", "proposed": "dim"}.get(name, "bold green" if number in best else "")
    label = Text.assemble((f"{_MARKS[name]} {action}", style))
    if visits:
        shown = [] if value is None else [f"{document['value_name']} {value:.3f}"]
        if document["search"]:
            shown.append(_count(visits, "visit"))
        label.append(f"  {', '.join(shown)}" if shown else "", "cyan")
    if name == "limit":
        label.append("  limit", "yellow")
    if name == "failed":
        why = one_line(errors.get(number, ""), 120)
        label.append(f"  failed: {why}" if why else "  failed", "red")
        label.no_wrap, label.overflow = True, "ellipsis"  # the page has the whole error
    if number in best and number:
        label.append("  ★", "bold green")
    return label


def _legend(document: Document) -> Text:
    used = {document["statuses"][row[1]] for row in final_rows(document)}
    signs = [f"{mark} {name}" for name, mark in _MARKS.items() if name in used]
    best = ["★ best path"] if len(best_path(document)) > 1 else []
    return Text("   ".join([*signs, *best]), "dim")


def _print_answer(console: Console, document: Document) -> None:
    answer = document["answer"]
    if document["notice"]:
        console.print(
            Text(document["notice"], "red" if document["state"] == "failed" else "yellow")
        )
    if answer is None:
        return
    table = Table("step", "action", "observation", title="answer", title_justify="left")
    for k, (action, observation, _) in enumerate(answer["steps"], 1):
        text = document["observations"][observation]["text"]
        table.add_row(str(k), Text(one_line(action, 200)), Text(one_line(text, 400)))
    if answer["steps"]:
        console.print(table)
    figures = [
        f"{name} {answer[name]:.3f}" for name in ("objective", "score") if answer[name] is not None
    ]
    if answer["stopped"]:
        figures.append(f"stopped: {answer['stopped']}")
    console.print(Text(", ".join(figures)))


def _costs(document: Document) -> Text:
    spent = document["spent"]
    tokens = spent.get("prompt_tokens", 0) + spent.get("completion_tokens", 0)
    parts = [
        _count(spent.get("rollouts", 0), "rollout"),
        _count(spent.get("completions", 0), "completion"),
        _count(tokens, "token"),
        _count(spent.get("environment_steps", 0), "environment step"),
        # Rollouts of no tree count their own seconds, and many run at once.
        f"{spent.get('seconds', 0):.1f} s" + ("" if document["search"] else " in rollouts"),
    ]
    if spent.get("failures"):
        parts.append(f"{spent['failures']:,} failed")
    return Text(", ".join(parts), "dim")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
