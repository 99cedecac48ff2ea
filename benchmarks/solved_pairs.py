"""Pairs of Game of 24 that exhaustive search labels, and how well a scorer orders them.

For each puzzle of a split, prefixes of equal length, one of which can still reach 24 and one of
which cannot; half of them share all but the last step. Accuracy is averaged over puzzles, its
interval resamples puzzles. Pairs whose two states both occur in the training data (seen) are
counted apart from the rest (unseen).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from armap_agents.tools.game24 import Game24, legal_steps
from armap_agents.tools.game24.arithmetic import Numbers, numbers_left
from armap_agents.tools.game24.environment import play
from armap_agents.tools.game24.solver import solvable
from armap_agents.training.records import Dataset
from armap_agents.trajectory import Task, Trajectory

Score = Callable[[list[Trajectory]], list[float]]

DEPTHS = {3: "full", 2: "two steps", 1: "one step"}


@dataclass(frozen=True)
class EvaluationPair:
    """Two prefixes of one puzzle, the first solvable and the second not."""

    task: str
    solvable: Trajectory
    dead: Trajectory


@dataclass
class Tree:
    """A puzzle's states at each depth with the actions that lead there, one way per state."""

    task: Task
    levels: list[dict[Numbers, tuple[str, ...]]]
    children: dict[Numbers, list[tuple[str, Numbers]]]

    @classmethod
    def grow(cls, task: Task) -> Tree:
        """Enumerate every state of a puzzle."""
        levels: list[dict[Numbers, tuple[str, ...]]] = [{numbers_left(task.data["numbers"]): ()}]
        children: dict[Numbers, list[tuple[str, Numbers]]] = {}
        for _ in range(3):
            following: dict[Numbers, tuple[str, ...]] = {}
            for state, actions in levels[-1].items():
                children[state] = list(legal_steps(state))
                for action, left in children[state]:
                    following.setdefault(left, (*actions, action))
            levels.append(following)
        return cls(task, levels, children)

    def pair(self, depth: int, siblings: bool, rng: Random) -> EvaluationPair | None:
        """Draw a pair at a depth; siblings share all but the last step."""
        if siblings:
            parents = [
                state
                for state in self.levels[depth - 1]
                if len({solvable(left) for _, left in self.children[state]}) == 2
            ]
            if not parents:
                return None
            parent = rng.choice(parents)
            path = self.levels[depth - 1][parent]
            good = [a for a, left in self.children[parent] if solvable(left)]
            bad = [a for a, left in self.children[parent] if not solvable(left)]
            return self._pair((*path, rng.choice(good)), (*path, rng.choice(bad)))
        states = self.levels[depth]
        good_paths = [actions for state, actions in states.items() if solvable(state)]
        bad_paths = [actions for state, actions in states.items() if not solvable(state)]
        if not good_paths or not bad_paths:
            return None
        return self._pair(rng.choice(good_paths), rng.choice(bad_paths))

    def _pair(self, good: Sequence[str], bad: Sequence[str]) -> EvaluationPair:
        return EvaluationPair(self.task.id, play(self.task, good), play(self.task, bad))


@cache
def evaluation_pairs(split: str, depth: int, count: int) -> list[EvaluationPair]:
    """Return the fixed pairs of a split at a depth, as many of each puzzle; half are siblings."""
    tasks = Game24().tasks(split)
    per_puzzle = -(-count // len(tasks))
    pairs = []
    for task in tasks:
        tree, rng = Tree.grow(task), Random(f"{task.id} {depth}")
        for index in range(per_puzzle):
            pair = tree.pair(depth, index % 2 == 0, rng)
            if pair is not None:
                pairs.append(pair)
    return pairs


def distinct_pairs(split: str, count: int) -> dict[str, int]:
    """Return how many different pairs of states are compared at each depth; the rest repeat."""
    return {
        name: len(
            {(state(p.solvable), state(p.dead)) for p in evaluation_pairs(split, depth, count)}
        )
        for depth, name in DEPTHS.items()
    }


def state(trajectory: Trajectory) -> Numbers:
    """Return the numbers left."""
    return numbers_left(trajectory.last.text.split(": ")[-1].split())


def training_states(data: Dataset) -> set[Numbers]:
    """Return every state that a pair or value of the data shows."""
    prefixes = {(p.chosen, p.chosen_steps) for p in data.pairs}
    prefixes |= {(p.rejected, p.rejected_steps) for p in data.pairs}
    prefixes |= {(v.trajectory, v.steps) for v in data.values}
    return {state(data.trajectories[id_].prefix(k)) for id_, k in prefixes}


def accuracy(pairs: Sequence[EvaluationPair], score: Score) -> dict[str, list[float]]:
    """Return each puzzle's hits: 1 where the solvable prefix scores higher, 0.5 on ties."""
    flat = [trajectory for pair in pairs for trajectory in (pair.solvable, pair.dead)]
    scores = score(flat)
    hits: defaultdict[str, list[float]] = defaultdict(list)
    for pair, good, bad in zip(pairs, scores[::2], scores[1::2], strict=True):
        hits[pair.task].append(1.0 if good > bad else 0.5 if good == bad else 0.0)
    return dict(hits)


def summary(hits: dict[str, list[float]]) -> dict[str, float | int | list[float]]:
    """Return the mean over puzzles with its bootstrap interval (95 %, 2,000 draws)."""
    if not hits:
        return {"accuracy": float("nan"), "ci95": [float("nan")] * 2, "pairs": 0, "puzzles": 0}
    means = [fmean(values) for values in hits.values()]
    rng = Random(0)
    draws = sorted(fmean(rng.choices(means, k=len(means))) for _ in range(2000))
    return {
        "accuracy": fmean(means),
        "ci95": [draws[50], draws[1949]],
        "pairs": sum(map(len, hits.values())),
        "puzzles": len(means),
    }


def measure(score: Score, split: str, count: int, seen: set[Numbers]) -> dict[str, Any]:
    """Return accuracy at each depth: of all pairs, of seen and of unseen states."""
    figures: dict[str, Any] = {}
    for depth, name in DEPTHS.items():
        pairs = evaluation_pairs(split, depth, count)
        known = [state(p.solvable) in seen and state(p.dead) in seen for p in pairs]
        figures[name] = {
            "all": summary(accuracy(pairs, score)),
            "seen": summary(accuracy([p for p, k in zip(pairs, known, strict=True) if k], score)),
            "unseen": summary(
                accuracy([p for p, k in zip(pairs, known, strict=True) if not k], score)
            ),
        }
    return figures


def show(rows: Sequence[tuple[str, dict[str, Any]]], split: str, distinct: dict[str, int]) -> None:
    """Print accuracies, one scorer a row, and how many distinct pairs they rest on."""
    counts = ", ".join(f"{name} {count}" for name, count in distinct.items())
    table = Table(
        title=f"Pair accuracy on Game of 24, {split}, judged by exhaustive search",
        caption=f"distinct pairs: {counts}",
    )
    table.add_column("scorer")
    for name in DEPTHS.values():
        for part in ("all", "seen", "unseen"):
            table.add_column(f"{name}\n{part}", justify="right")
    for label, figures in rows:
        cells = []
        for name in DEPTHS.values():
            for part in ("all", "seen", "unseen"):
                figure = figures[name][part]
                low, high = figure["ci95"]
                cells.append(f"{figure['accuracy']:.3f}\n{low:.2f}–{high:.2f}")
        table.add_row(label, *cells)
    Console().print(table)
