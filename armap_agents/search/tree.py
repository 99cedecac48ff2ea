"""The records of a search tree, and the two ways in which it grows: a root, and proposals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from armap_agents.trajectory import Status

ROOT = "0"

PROPOSED = "proposed"
"""Status of a node whose action nobody has taken yet."""

LABEL = 80
"""Characters of an action that its node keeps; the whole one stands in the journal."""


class Node(TypedDict):
    """One state, or one action that would lead to it.

    Attributes:
        parent: Id of the node above; None for the root.
        action: The action that leads here, on one line, at most `LABEL` characters of it.
        prior: Its probability among its siblings.
        depth: Actions from the root.
        status: ``proposed``, or a `Status` of the trajectory that ends here.
        children: Number of proposals made here; 0 before there are any.
        n: Evaluations at this node and below.
        m: Evaluations that `q` is made of.
        q: Backed-up value, raw; None before there is one.
        value: Prefix value V in [0, 1] of the state, where it was asked for.
        result: What the rollout from here, or the finished episode, brought.
        visits: Evaluations at this node itself.
        closed: Whether nothing below is left to evaluate.
    """

    parent: str | None
    action: str
    prior: float
    depth: int
    status: str
    children: int
    n: int
    m: int
    q: float | None
    value: float | None
    result: float | None
    visits: int
    closed: bool


Tree = Mapping[str, Node]


def _node(parent: str | None, action: str, prior: float, depth: int, status: str) -> Node:
    return {
        "parent": parent,
        "action": action,
        "prior": prior,
        "depth": depth,
        "status": status,
        "children": 0,
        "n": 0,
        "m": 0,
        "q": None,
        "value": None,
        "result": None,
        "visits": 0,
        "closed": False,
    }


def new_tree() -> Tree:
    """Return a tree of the root alone."""
    return {ROOT: _node(None, "", 1.0, 0, Status.OPEN.value)}


def children(tree: Tree, node: str) -> list[str]:
    """Return the ids of a node's children, in the order in which they were proposed."""
    return [f"{node}.{k}" for k in range(tree[node]["children"])]


def merged(proposals: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Return the prior of each distinct action, in order of first appearance."""
    priors: dict[str, float] = {}
    for action, prior in proposals:
        priors[action] = priors.get(action, 0.0) + prior
    return priors


def expand(tree: Tree, node: str, proposals: Sequence[tuple[str, float]]) -> Tree:
    """Return the tree with the proposals as children of `node`.

    Args:
        tree: The tree.
        node: An open node without children.
        proposals: (action, prior) each; equal actions merge and add up their priors. None at all
            closes the node: there is nothing to do.

    Raises:
        ValueError: The node is not open, or has children.
    """
    parent = tree[node]
    if parent["status"] != Status.OPEN or parent["children"]:
        raise ValueError(f"node {node} is {parent['status']} with {parent['children']} children")
    priors = merged(proposals)
    grown = {**tree, node: parent | {"children": len(priors)}}
    for k, (action, prior) in enumerate(priors.items()):
        label = " ".join(action.split())[:LABEL]
        grown[f"{node}.{k}"] = _node(node, label, prior, parent["depth"] + 1, PROPOSED)
    return grown if priors else close(grown, node)


def close(tree: Tree, node: str) -> Tree:
    """Return the tree with `node` closed, and those above of which nothing else is open."""
    closed = dict(tree)
    at: str | None = node
    while at is not None:
        closed[at] = closed[at] | {"closed": True}
        at = closed[at]["parent"]
        if at is not None and not all(closed[child]["closed"] for child in children(closed, at)):
            break
    return closed


def reopen(tree: Tree) -> Tree:
    """Return the tree with its failed nodes as they were before they failed, to be tried again."""
    opened = dict(tree)
    for failed in (at for at, node in tree.items() if node["status"] == Status.FAILED):
        known = failed == ROOT or tree[failed]["visits"]
        opened[failed] = opened[failed] | {"status": Status.OPEN.value if known else PROPOSED}
        at: str | None = failed
        while at is not None:
            opened[at] = opened[at] | {"closed": False}
            at = opened[at]["parent"]
    return opened


def changes(old: Tree, new: Tree) -> dict[str, Node]:
    """Return the nodes of `new` that `old` lacks or has otherwise."""
    return {node: record for node, record in new.items() if old.get(node) is not record}
