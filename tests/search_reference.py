"""The search arithmetic a second time, written the obvious way and without the code under test.

`ArmapSearch` transcribes the paper's rule: recursive node objects, a list of discounted returns on
every edge, proposals asked for as soon as a node exists. `LoggedSearch` follows the definitions of
`uct` and `puct` from the full list of evaluations: nothing is kept up to date, every figure is
recomputed from scratch whenever it is needed. Both are sequential. `golden` writes the trees of
tests/golden (`python tests/search_reference.py`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from search_games import Game, RandomGame, State, merged, rollout

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_GAME = RandomGame(seed=167, branching=4, depth=3, ending=0.25, rewards="levels")
GOLDEN_ROLLOUTS = 12


# The paper's rule ---------------------------------------------------------------------------------


class Decision:
    """A state of the tree, with one edge per proposal."""

    def __init__(self, game: Game, state: State, above: Edge | None) -> None:
        self.state = state
        self.above = above
        self.visits = 1
        self.status = game.status(state)
        self.result: float | None = None
        self.edges: list[Edge] = []
        if self.status == "open":
            for action, prior in merged(game.proposals(state)):
                self.edges.append(Edge(self, action, prior, len(self.edges)))


class Edge:
    """An action and the discounted returns that came back through it."""

    def __init__(self, parent: Decision, action: str, prior: float, index: int) -> None:
        self.parent = parent
        self.action = action
        self.prior = prior
        self.index = index
        self.returns: list[float] = []
        self.below: Decision | None = None

    def value(self) -> float:
        return max(self.returns) if self.returns else 0.0


class ArmapSearch:
    """ARMAP's MCTS (§3.4, after Zhang et al. 2023): one new node per rollout."""

    def __init__(self, game: Game, exploration: float = 6.36396, discount: float = 0.9) -> None:
        self.game = game
        self.exploration = exploration
        self.discount = discount
        self.root = Decision(game, (), None)
        self.selected: list[str] = []
        self.considered: list[list[tuple[float, float]]] = []

    def bonus(self, edge: Edge) -> float:
        return self.exploration * math.sqrt(math.log(edge.parent.visits)) / (1 + len(edge.returns))

    def score(self, edge: Edge) -> float:
        return edge.value() + self.bonus(edge)

    def run(self, rollouts: int) -> None:
        for _ in range(rollouts):
            self.roll()

    def roll(self) -> None:
        node = self.root
        name = "0"
        while node.edges:
            edge = node.edges[0]
            for other in node.edges[1:]:
                if self.score(other) > self.score(edge):
                    edge = other
            self.considered.append([(e.value(), self.bonus(e)) for e in node.edges])
            name = f"{name}.{edge.index}"
            if edge.below is None:
                edge.below = Decision(self.game, (*node.state, edge.action), edge)
                node = edge.below
                break
            node = edge.below
        self.selected.append(name)
        estimate = rollout(self.game, node.state)
        node.result = estimate
        node.visits += 1
        above = node.above
        while above is not None:
            estimate = self.discount * estimate
            above.returns.append(estimate)
            above.parent.visits += 1
            above = above.parent.above

    def nodes(self) -> dict[str, Decision]:
        """Every node that exists, by id, depth-first in proposal order."""
        found: dict[str, Decision] = {}

        def walk(name: str, node: Decision) -> None:
            found[name] = node
            for edge in node.edges:
                if edge.below is not None:
                    walk(f"{name}.{edge.index}", edge.below)

        walk("0", self.root)
        return found

    def answer(self) -> str | None:
        """The evaluated node whose finished trajectory earns most."""
        best: str | None = None
        most = -math.inf
        for name, node in self.nodes().items():
            if node.result is not None and node.result > most:
                best, most = name, node.result
        return best


# Definitions from the list of evaluations ---------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One evaluation, as it came in."""

    node: str
    status: str
    result: float | None
    value: float | None


@dataclass
class Log:
    """Everything that happened to a tree: proposals by node, evaluations in order.

    Attributes:
        closes: whether a finished node is done with, or may be evaluated again (`armap`).
        value_leaves: False keeps a node's prefix value in its backup for ever, which is wrong:
            it shows what the trap game is for.
    """

    discount: float = 1.0
    closes: bool = True
    how: Literal["max", "mean"] = "max"
    value_weight: float = 0.0
    value_leaves: bool = True
    proposals: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    def of(self, node: str) -> list[Entry]:
        """The node's own evaluations."""
        return [entry for entry in self.entries if entry.node == node and entry.status != "failed"]

    def children(self, node: str) -> list[str]:
        return [f"{node}.{k}" for k in range(len(self.proposals.get(node, [])))]

    def status(self, node: str) -> str:
        if node == "0":
            return "open"
        statuses = [entry.status for entry in self.entries if entry.node == node]
        return statuses[-1] if statuses else "proposed"

    def own(self, node: str) -> list[float]:
        """What the node itself puts into its value."""
        has_evaluated_child = any(self.of(child) for child in self.children(node))
        found = []
        for entry in self.of(node):
            mixes = entry.status == "open" and self.value_weight > 0 and entry.value is not None
            if mixes and not (has_evaluated_child and self.value_leaves):
                assert entry.value is not None
                rest = 0.0 if entry.result is None else (1 - self.value_weight) * entry.result
                found.append(self.value_weight * entry.value + rest)
            elif entry.result is not None:
                found.append(entry.result)
        return found

    def returns(self, node: str) -> list[float]:
        """Every evaluation at or below the node, discounted once per step of distance."""
        found = self.own(node)
        for child in self.children(node):
            found += [self.discount * value for value in self.returns(child)]
        return found

    def q(self, node: str) -> float | None:
        returns = self.returns(node)
        if not returns:
            return None
        return max(returns) if self.how == "max" else math.fsum(returns) / len(returns)

    def n(self, node: str) -> int:
        return len(self.of(node)) + sum(self.n(child) for child in self.children(node))

    def open_leaves(self, node: str) -> list[str]:
        """What may be selected: not executed, never asked for actions, or evaluated again."""
        status = self.status(node)
        if status == "proposed":
            return [node]
        if status != "open":
            return [] if self.closes or status == "failed" else [node]
        if node not in self.proposals:
            return [node]
        return [leaf for child in self.children(node) for leaf in self.open_leaves(child)]

    def closed(self, node: str) -> bool:
        return not self.open_leaves(node)

    def nodes(self, node: str = "0") -> list[str]:
        return [node, *(below for child in self.children(node) for below in self.nodes(child))]

    def edge(self, node: str) -> float | None:
        q = self.q(node)
        return None if q is None else self.discount * q

    def tree(self) -> dict[str, dict[str, Any]]:
        """The whole tree as plain records."""
        found: dict[str, dict[str, Any]] = {}
        for node in self.nodes():
            parent, _, last = node.rpartition(".")
            action, prior = self.proposals[parent][int(last)] if parent else ("", 1.0)
            own = self.of(node)
            found[node] = {
                "parent": parent or None,
                "action": action[:80],
                "prior": prior,
                "depth": node.count("."),
                "status": self.status(node),
                "children": len(self.children(node)),
                "n": self.n(node),
                "m": len(self.returns(node)),
                "q": self.q(node),
                "value": own[-1].value if own else None,
                "result": own[-1].result if own else None,
                "visits": len(own),
                "closed": self.closed(node),
            }
        return found


@dataclass
class LoggedSearch:
    """`uct` or `puct`, one rollout at a time, from the log alone."""

    game: Game
    name: Literal["uct", "puct"]
    exploration: float
    normalisation: Literal["minmax", "none"]
    log: Log = field(default_factory=Log)
    selected: list[str] = field(default_factory=list)
    states: dict[str, State] = field(default_factory=lambda: {"0": ()})

    def normalised(self, value: float) -> float:
        edges = [e for node in self.log.nodes()[1:] if (e := self.log.edge(node)) is not None]
        if self.normalisation == "none":
            return value
        low, high = min(edges), max(edges)
        return 0.5 if low == high else (value - low) / (high - low)

    def score(self, parent: str, child: str) -> float:
        visits, visits_below = self.log.n(parent), self.log.n(child)
        edge = self.log.edge(child)
        if self.name == "uct":
            if visits_below == 0 or edge is None:
                return math.inf
            bonus = self.exploration * math.sqrt(math.log(visits) / visits_below)
            return self.normalised(edge) + bonus
        _, prior = self.log.proposals[parent][int(child.rpartition(".")[2])]
        bonus = self.exploration * prior * math.sqrt(max(1, visits)) / (1 + visits_below)
        if edge is None:
            edge = self.log.q(parent)
        if edge is None:
            return (0.5 if self.normalisation == "minmax" else 0.0) + bonus
        return self.normalised(edge) + bonus

    def run(self, rollouts: int) -> None:
        while rollouts and not self.log.closed("0"):
            node = "0"
            while self.log.status(node) == "open" and not self.log.closed(node):
                if node not in self.log.proposals:
                    state = self.states[node]
                    self.log.proposals[node] = merged(self.game.proposals(state))
                    for k, (action, _) in enumerate(self.log.proposals[node]):
                        self.states[f"{node}.{k}"] = (*state, action)
                    continue
                open_children = [c for c in self.log.children(node) if not self.log.closed(c)]
                scores = [self.score(node, child) for child in open_children]
                node = open_children[scores.index(max(scores))]
            if self.log.status(node) == "proposed":
                self.evaluate(node)
                rollouts -= 1

    def evaluate(self, node: str) -> None:
        self.selected.append(node)
        state = self.states[node]
        status = self.game.status(state)
        if status == "failed":
            self.log.entries.append(Entry(node, status, None, None))
            return
        mixes = status == "open" and self.log.value_weight > 0
        value = self.game.value(state) if mixes else None
        self.log.entries.append(Entry(node, status, rollout(self.game, state), value))

    def answer(self) -> str | None:
        """Best finished trajectory, first on ties in depth-first order."""
        best: str | None = None
        most = -math.inf
        for node in self.log.nodes():
            for entry in self.log.of(node):
                if entry.result is not None and entry.result > most:
                    best, most = node, entry.result
        return best


# Golden trees -------------------------------------------------------------------------------------


def golden(name: str) -> dict[str, Any]:
    """Selected nodes, whole tree and answer of the golden game under the rule's defaults."""
    if name == "armap":
        return _armap_golden()
    exploration = {"uct": math.sqrt(2), "puct": 1.25}[name]
    log = Log(value_weight=0.5 if name == "puct" else 0.0)
    which: Literal["uct", "puct"] = "uct" if name == "uct" else "puct"
    search = LoggedSearch(GOLDEN_GAME, which, exploration, "minmax", log)
    search.run(GOLDEN_ROLLOUTS)
    return {
        "rule": name,
        "normalisation": "minmax",
        "value_weight": log.value_weight,
        "selected": search.selected,
        "answer": search.answer(),
        "tree": log.tree(),
    }


def _armap_golden() -> dict[str, Any]:
    search = ArmapSearch(GOLDEN_GAME)
    search.run(GOLDEN_ROLLOUTS)
    log = armap_log(search)
    tree = log.tree()
    for name, node in search.nodes().items():
        assert tree[name]["n"] == node.visits - 1
        if node.above is not None:
            assert log.edge(name) == node.above.value()
    return {
        "rule": "armap",
        "normalisation": "none",
        "value_weight": 0.0,
        "selected": search.selected,
        "answer": search.answer(),
        "tree": tree,
    }


def armap_log(search: ArmapSearch) -> Log:
    """The transcription's search as a log whose proposals are asked for on arrival only."""
    log = Log(discount=search.discount, closes=False)
    nodes = search.nodes()
    for name in search.selected:
        parent = name.rpartition(".")[0]
        edges = nodes[parent].edges
        log.proposals[parent] = [(edge.action, edge.prior) for edge in edges]
        log.entries.append(Entry(name, nodes[name].status, nodes[name].result, None))
    return log


def write(names: Sequence[str] = ("uct", "puct", "armap")) -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name in names:
        text = json.dumps(golden(name), indent=1, ensure_ascii=False)
        (GOLDEN / f"search-{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    write()
