"""Scripted games, and a driver that searches them as the graph does, with the pure functions alone.

A game is a deterministic tree of states; a state is the actions that led to it. Every answer that
a policy, an environment or a reward model would give is a function of the state, so that two
searches of one game may differ by their decisions only.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal, Protocol

from armap_agents.search import (
    Evaluation,
    Pick,
    Rule,
    Tree,
    backup,
    expand,
    new_tree,
    select,
)

State = tuple[str, ...]
Status = Literal["proposed", "open", "ended", "limit", "failed"]


class Game(Protocol):
    """What policy, environment and reward model say about a state."""

    def status(self, state: State) -> Status:
        """`open`, or why the episode is over."""
        ...

    def proposals(self, state: State) -> Sequence[tuple[str, float]]:
        """Actions with priors, duplicates included."""
        ...

    def policy(self, state: State) -> str:
        """The action that a rollout takes."""
        ...

    def reward(self, state: State) -> float:
        """Of a finished state."""
        ...

    def value(self, state: State) -> float:
        """Prefix value of an open state, a probability."""
        ...


@dataclass(frozen=True)
class RandomGame:
    """A tree drawn from a seed: every figure is a hash of seed and state.

    Attributes:
        seed: draws the whole game.
        branching: most proposals of a state (at least one, fewer where some coincide).
        depth: steps after which an episode is cut off with status `limit`.
        ending: share of states where the episode ends by itself.
        rewards: `levels` (0, 1/4 … 1: many ties), `raw` (−3 to 3) or `smooth` (0 to 1, states with
            a long common prefix earn alike).
        stuck: share of open states without any proposal.
        failing: share of states that cannot be executed.
    """

    seed: int
    branching: int = 4
    depth: int = 5
    ending: float = 0.2
    rewards: Literal["levels", "raw", "smooth"] = "levels"
    stuck: float = 0.0
    failing: float = 0.0

    def draw(self, what: str, state: State) -> float:
        """A number in [0, 1) that belongs to this game, question and state."""
        text = f"{self.seed}/{what}/{'/'.join(state)}"
        return int.from_bytes(blake2b(text.encode(), digest_size=6).digest(), "big") / 2**48

    def status(self, state: State) -> Status:
        if state and self.draw("fails", state) < self.failing:
            return "failed"
        if len(state) >= self.depth:
            return "limit"
        return "ended" if state and self.draw("ends", state) < self.ending else "open"

    def proposals(self, state: State) -> list[tuple[str, float]]:
        if state and self.draw("stuck", state) < self.stuck:
            return []
        count = 1 + int(self.draw("count", state) * self.branching)
        names = [f"a{int(self.draw(f'name {i}', state) * count)}" for i in range(count)]
        weights = [0.05 + self.draw(f"weight {i}", state) for i in range(count)]
        return [(name, weight / sum(weights)) for name, weight in zip(names, weights, strict=True)]

    def policy(self, state: State) -> str:
        return f"a{int(self.draw('policy', state) * self.branching)}"

    def reward(self, state: State) -> float:
        if self.rewards == "levels":
            return int(self.draw("reward", state) * 5) / 4
        if self.rewards == "raw":
            return 6 * self.draw("reward", state) - 3
        parts = [self.draw("part", state[: k + 1]) for k in range(len(state))]
        return sum(parts) / len(parts)

    def value(self, state: State) -> float:
        return self.draw("value", state)


class LadderGame(RandomGame):
    """One right action per state; a reward counts the rungs before the first mistake, plus noise.

    Rewards lie in [0, 1]. A search gets far by following its own findings alone, so it shows what
    several leaves at once cost.
    """

    def proposals(self, state: State) -> list[tuple[str, float]]:
        weights = [0.05 + self.draw(f"weight {i}", state) for i in range(self.branching)]
        return [(f"a{i}", weight / sum(weights)) for i, weight in enumerate(weights)]

    def reward(self, state: State) -> float:
        rungs = 0
        while rungs < len(state) and state[rungs] == self.right(state[:rungs]):
            rungs += 1
        noise = [self.draw("part", state[: k + 1]) for k in range(len(state))]
        return (2 * rungs / self.depth + sum(noise) / len(noise)) / 3

    def right(self, state: State) -> str:
        return f"a{int(self.draw('right', state) * self.branching)}"


@dataclass(frozen=True)
class TrapGame:
    """An attractive prefix with only bad children, beside a dull one that hides the win.

    The trap's subtree is wide and deep, so a search that believes the trap's prefix value stays
    there for hundreds of rollouts. The policy never finds the win by itself.
    """

    depth: int = 5

    def status(self, state: State) -> Status:
        return "limit" if len(state) == self.depth else "open"

    def proposals(self, state: State) -> list[tuple[str, float]]:
        if not state:
            return [("trap", 0.6), ("dull", 0.4)]
        return [("w", 0.25), ("x", 0.25), ("y", 0.25), ("z", 0.25)]

    def policy(self, state: State) -> str:
        return "w" if state else "trap"

    def reward(self, state: State) -> float:
        if state[0] == "trap":
            return 0.05
        return 1.0 if state[1:3] == ("y", "z") else 0.2

    def value(self, state: State) -> float:
        if state[0] == "trap":
            return 0.95 if len(state) == 1 else 0.1
        return 0.3


def merged(proposals: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Equal actions once, in the order of their first appearance, with their priors added up."""
    found: list[tuple[str, float]] = []
    for action, prior in proposals:
        names = [name for name, _ in found]
        if action in names:
            place = names.index(action)
            found[place] = (action, found[place][1] + prior)
        else:
            found.append((action, prior))
    return found


def rollout(game: Game, state: State) -> float:
    """The reward at the end of the episode that the policy goes on with from `state`."""
    while game.status(state) == "open":
        state = (*state, game.policy(state))
    # A failure later in the rollout is no part of these games: it is drawn for tree nodes alone.
    return game.reward(state)


@dataclass(frozen=True)
class Selection:
    """One call of `select` and what it saw."""

    tree: Tree
    start: str
    width: int
    picks: list[Pick]


@dataclass
class Run:
    """What a search did: the final tree and everything that led to it.

    `trees` has every tree beside its JSON at the time when it was made.
    """

    tree: Tree
    states: dict[str, State]
    proposals: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    selections: list[Selection] = field(default_factory=list)
    batches: list[list[Evaluation]] = field(default_factory=list)
    trees: list[tuple[Tree, str]] = field(default_factory=list)

    @property
    def evaluated(self) -> list[str]:
        """Node of every rollout, in order."""
        return [evaluation.node for batch in self.batches for evaluation in batch]


def run_search(
    game: Game,
    rule: Rule,
    rollouts: int,
    width: int = 1,
    *,
    normalisation: Literal["minmax", "none"] = "minmax",
    how: Literal["max", "mean"] = "max",
    value_weight: float = 0.0,
    rolls_out: bool = True,
    keep: bool = True,
) -> Run:
    """Search `game` until `rollouts` nodes are evaluated or nothing is left to select."""
    run = Run(new_tree(), {"0": ()})

    def kept() -> None:
        if keep:
            run.trees.append((run.tree, json.dumps(run.tree, allow_nan=False)))

    def chosen(start: str, count: int) -> list[str]:
        """Leaves to evaluate below `start`: proposals are asked for where the search arrives."""
        picks = select(run.tree, rule, count, normalisation, start=start)
        if keep:
            run.selections.append(Selection(run.tree, start, count, picks))
        leaves: list[str] = []
        for leaf, times in Counter(pick.leaf for pick in picks).items():
            node = run.tree[leaf]
            if node["status"] != "open":
                leaves += [leaf] * times
                continue
            assert node["children"] == 0, f"{leaf} is no leaf"
            state = run.states[leaf]
            proposals = game.proposals(state)
            run.tree = expand(run.tree, leaf, proposals)
            kept()
            run.proposals[leaf] = merged(proposals)
            for k, (action, _) in enumerate(run.proposals[leaf]):
                run.states[f"{leaf}.{k}"] = (*state, action)
            if proposals:
                leaves += chosen(leaf, times)
        return leaves

    kept()
    spent = idle = 0
    while spent < rollouts and not run.tree["0"]["closed"]:
        leaves = chosen("0", min(width, rollouts - spent))
        idle = 0 if leaves else idle + 1
        assert idle < 1000, "the search selects nothing although the root is open"
        batch = []
        for leaf in leaves:
            state = run.states[leaf]
            status = game.status(state)
            if status == "failed":
                batch.append(Evaluation(leaf, "failed", None, None))
                continue
            result = rollout(game, state) if rolls_out or status != "open" else None
            value = game.value(state) if status == "open" and value_weight > 0 else None
            batch.append(Evaluation(leaf, status, result, value))
        if batch:
            run.tree = backup(run.tree, batch, rule, how=how, value_weight=value_weight)
            kept()
            run.batches.append(batch)
        spent += len(leaves)
    return run
