"""Walking down the tree to the leaves that are worth evaluating next.

Several leaves at once keep out of each other's way by their pending evaluations, which count as
visits of the leaf and of everything above it. No value is taken off for them: a pessimistic value
could never change a maximum. A pending leaf is not picked again while another one is open.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any, Literal

from armap_agents.search.rules import Rule
from armap_agents.search.tree import ROOT, Tree, children
from armap_agents.trajectory import Status

Normalisation = Literal["minmax", "none"]


@dataclass(frozen=True)
class Child:
    """A child as it was seen when its siblings were compared.

    Attributes:
        node: Its id.
        value: The value of its edge, normalised; +∞ where the rule says so of the unvisited.
        bonus: The rule's bonus; the child with the highest sum is taken, the first on ties.
        pending: Evaluations below it that were under way.
    """

    node: str
    value: float
    bonus: float
    pending: int


@dataclass(frozen=True)
class Level:
    """One decision on the way down.

    Attributes:
        node: Where it was taken.
        children: The children to choose from.
        chosen: The chosen one's id.
    """

    node: str
    children: tuple[Child, ...]
    chosen: str


@dataclass(frozen=True)
class Pick:
    """A leaf, and how it was found.

    Attributes:
        leaf: A proposed node, to be evaluated; or an open one without children, to be expanded, so
            that ``select(…, start=leaf)`` can go on; or, under a rule that does not close finished
            subtrees, a finished one.
        path: The decisions from the start to it.
    """

    leaf: str
    path: tuple[Level, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the pick as pure JSON; None stands for +∞."""
        return {
            "leaf": self.leaf,
            "path": [
                {
                    "node": level.node,
                    "children": [
                        {
                            "node": child.node,
                            "value": _finite(child.value),
                            "bonus": _finite(child.bonus),
                            "pending": child.pending,
                        }
                        for child in level.children
                    ],
                    "chosen": level.chosen,
                }
                for level in self.path
            ],
        }


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


@dataclass
class _Walk:
    """The state of one `select`: what is pending, and where nothing open is left because of it."""

    tree: Tree
    rule: Rule
    low: float
    high: float
    start: str
    normalises: bool
    pending: Counter[str] = field(default_factory=Counter)
    taken: set[str] = field(default_factory=set)

    def visits(self, node: str) -> int:
        return self.tree[node]["n"] + self.pending[node]

    def open_children(self, node: str) -> list[str]:
        return [c for c in children(self.tree, node) if not self.tree[c]["closed"]]

    def down(self) -> Pick:
        """Walk from the start to a leaf."""
        at, path = self.start, list[Level]()
        while self.tree[at]["children"]:
            compared = tuple(map(self.seen, self.open_children(at)))
            free = [c for c in compared if c.node not in self.taken]
            free = free or [c for c in compared if self.shares(c.node)] or list(compared)
            chosen = max(free, key=lambda child: child.value + child.bonus).node
            path.append(Level(at, compared, chosen))
            at = chosen
        return Pick(at, tuple(path))

    def seen(self, node: str) -> Child:
        child, parent = self.tree[node], self.tree[node]["parent"]
        assert parent is not None
        rule = self.rule
        bonus = rule.bonus(rule.exploration, self.visits(parent), child["prior"], self.visits(node))
        return Child(node, self.value(node, parent), bonus, self.pending[node])

    def value(self, node: str, parent: str) -> float:
        q = self.tree[node]["q"]
        if q is not None:
            return self.normalised(self.rule.discount * q)
        match self.rule.unvisited:
            case "zero":
                return 0.0
            case "infinite":
                return inf
            case "parent":
                above = self.tree[parent]["q"]
                if above is None:
                    return 0.5 if self.normalises else 0.0
                return self.normalised(above)

    def normalised(self, value: float) -> float:
        if not self.normalises:
            return value
        if self.low >= self.high:
            return 0.5
        return (value - self.low) / (self.high - self.low)

    def shares(self, node: str) -> bool:
        """Whether proposals that several picks could share are still to be made at or below."""
        if not self.tree[node]["children"]:
            return self.tree[node]["status"] == Status.OPEN
        return any(map(self.shares, self.open_children(node)))

    def take(self, leaf: str) -> None:
        """Count the leaf as pending, up to the root, and as taken, with what that leaves closed."""
        at: str | None = leaf
        while at is not None:
            self.pending[at] += 1
            at = self.tree[at]["parent"]
        at = leaf
        while at is not None and all(c in self.taken for c in self.open_children(at)):
            self.taken.add(at)
            at = self.tree[at]["parent"]


def select(
    tree: Tree,
    rule: Rule,
    width: int = 1,
    normalisation: Normalisation = "minmax",
    start: str = ROOT,
) -> list[Pick]:
    """Return up to `width` leaves to evaluate next, in the order in which they were found.

    Fewer are returned where fewer are open, and none where everything is closed. An open node
    without children may be returned several times where nothing else is open: its proposals, once
    made, share the picks.

    Args:
        tree: The tree.
        rule: How children are compared.
        width: Leaves at once, at least 1.
        normalisation: ``minmax`` maps the edge values of all evaluated nodes to [0, 1] before a
            bonus is added, 0.5 where they are equal; ``none`` takes them raw.
        start: The node to walk down from.

    Raises:
        ValueError: `width` is not positive.
    """
    if width < 1:
        raise ValueError(f"select(width={width}): at least 1")
    if tree[start]["closed"]:
        return []
    edges = [
        rule.discount * node["q"]
        for at, node in tree.items()
        if at != ROOT and node["q"] is not None
    ]
    walk = _Walk(
        tree,
        rule,
        min(edges, default=0.0),
        max(edges, default=0.0),
        start,
        normalisation == "minmax",
    )
    picks: list[Pick] = []
    while len(picks) < width:
        pick = walk.down()
        if pick.leaf in walk.taken and not walk.shares(pick.leaf):
            break
        walk.take(pick.leaf)
        picks.append(pick)
    return picks
