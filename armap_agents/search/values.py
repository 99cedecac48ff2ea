"""What a node is worth: its own evaluation, and those below it, by mean or by max.

The own evaluation of an open node is λ·V + (1 − λ)·result, where V is the value of its prefix and
result what a rollout from it brought, both probabilities unless λ = 0 (the paper's case: the
result alone, raw). V is a bootstrap: once a child has been evaluated it leaves the backup, because
a maximum that includes a guess can never come down again. A finished node has its result alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from armap_agents.search.rules import Rule
from armap_agents.search.tree import Node, Tree, children, close
from armap_agents.trajectory import Status

How = Literal["mean", "max"]

FINISHED = frozenset({Status.ENDED.value, Status.LIMIT.value})
"""Statuses of a node at which an episode is over."""


@dataclass(frozen=True)
class Evaluation:
    """What is known of a node after its action was taken.

    Attributes:
        node: Its id.
        status: Of the trajectory up to here; ``failed`` where it, or the rollout from it, failed.
        result: What the rollout from here, or the finished episode, brought.
        value: Prefix value V in [0, 1], where it was asked for.
    """

    node: str
    status: str
    result: float | None = None
    value: float | None = None


def backup(
    tree: Tree,
    evaluations: Sequence[Evaluation],
    rule: Rule,
    how: How = "max",
    value_weight: float = 0.0,
) -> Tree:
    """Return the tree with the evaluations taken in.

    Args:
        tree: The tree.
        evaluations: Of proposed nodes, or again of finished ones. A failed one closes its node and
            changes no value; whatever else is evaluated counts as a visit of every node above.
        rule: Its discount γ applies once per edge, the one above the evaluated node included; where
            it closes finished subtrees they are closed here.
        how: Q of a node is the mean or the maximum of its own evaluation and the discounted ones
            below.
        value_weight: λ, in [0, 1].
    """
    grown = dict(tree)
    for evaluation in evaluations:
        node = evaluation.node
        grown[node] = grown[node] | {"status": evaluation.status}
        if evaluation.status == Status.FAILED:
            grown = dict(close(grown, node))
            continue
        grown[node] |= {
            "value": evaluation.value,
            "result": evaluation.result,
            "visits": grown[node]["visits"] + 1,
        }
        at: str | None = node
        while at is not None:
            grown[at] = _valued(grown, at, rule.discount, how, value_weight)
            at = grown[at]["parent"]
        if rule.closes and evaluation.status in FINISHED:
            grown = dict(close(grown, node))
    return grown


def _valued(tree: Tree, at: str, discount: float, how: How, value_weight: float) -> Node:
    """Return a node with its q, m and n computed anew from its own evaluation and its children."""
    node = tree[at]
    below = [tree[child] for child in children(tree, at)]
    evaluated = [(child["q"], child["m"]) for child in below if child["q"] is not None]
    own = _own(node, value_weight, alone=not evaluated)
    times = node["visits"] if own is not None else 0
    found = [(own, times)] if own is not None else []
    found += [(discount * q, m) for q, m in evaluated]
    m = sum(count for _, count in found)
    q = None
    if found and how == "max":
        q = max(value for value, _ in found)
    elif found:
        q = sum(value * count for value, count in found) / m
    return node | {"q": q, "m": m, "n": node["visits"] + sum(child["n"] for child in below)}


def _own(node: Node, value_weight: float, *, alone: bool) -> float | None:
    """Return a node's own evaluation, `alone` before a child has one; None where it has none."""
    value, result = node["value"], node["result"]
    if value is None or not alone or node["status"] in FINISHED or value_weight == 0:
        return result
    if result is None or value_weight == 1:
        return value
    return value_weight * value + (1 - value_weight) * result


def best(tree: Tree) -> str | None:
    """Return the node with the best result, the first proposed on ties; None without results."""
    found = [(node["result"], at) for at, node in tree.items() if node["result"] is not None]
    if not found:
        return None
    top = max(result for result, _ in found)
    return min((at for result, at in found if result == top), key=_order)


def _order(node: str) -> tuple[int, ...]:
    return tuple(map(int, node.split(".")))
