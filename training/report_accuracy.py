"""How often a reward model puts the better prefix of a pair first: overall, and by what it is.

Pairs of one environment with the scores of both sides. Ties count half: a model that cannot tell
two prefixes apart would be right half of the time by tossing a coin. Intervals draw tasks again,
not pairs, because the pairs of a task share trajectories.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from armap_agents.evaluation.intervals import Interval, bootstrap_ratio, sums_by
from armap_agents.reward.render import Rendering, render
from armap_agents.training.records import Dataset, Pair
from armap_agents.trajectory import Status, Trajectory

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Prefix:
    """What a score is of: the first steps of a trajectory, judged against an instruction.

    Attributes:
        trajectory: Id of the trajectory.
        steps: How many of its steps count.
        instruction: What it is judged against.
    """

    trajectory: str
    steps: int
    instruction: str

    def of(self, data: Dataset) -> Trajectory:
        """Return the trajectory that a model is shown."""
        return data.prefix(self.trajectory, self.steps, self.instruction)


def sides(pair: Pair) -> tuple[Prefix, Prefix]:
    """Return a pair's better and worse prefix."""
    asked = pair.instruction if pair.rejected_instruction is None else pair.rejected_instruction
    return (
        Prefix(pair.chosen, pair.chosen_steps, pair.instruction),
        Prefix(pair.rejected, pair.rejected_steps, asked),
    )


def finished(data: Dataset, prefix: Prefix) -> bool:
    """Whether a prefix is a whole episode."""
    whole = data.trajectories[prefix.trajectory]
    return prefix.steps == len(whole) and whole.status is not Status.OPEN


class Accuracy(TypedDict):
    """Share of pairs ordered rightly, ties counting half; None where there is no pair."""

    accuracy: float | None
    ci95: Interval | None
    pairs: int
    tasks: int


class Accuracies(TypedDict):
    """Pair accuracy overall and by what the pairs are.

    `depth` is the number of the better side's steps; `states` is None where `states_reason` says
    why nobody knows which states training saw.
    """

    all: Accuracy
    depth: dict[str, Accuracy]
    source: dict[str, Accuracy]
    kind: dict[str, Accuracy]
    ending: dict[str, Accuracy]
    states: dict[str, Accuracy] | None
    states_reason: str | None


def right(margins: Floats, labels: Floats) -> Floats:
    """Return 1 for each pair ordered as its label says, 0 for the others, ½ for ties.

    Args:
        margins: Score of the better side minus that of the worse one, ``[pairs]``.
        labels: Chance that the better side is the better one, ``[pairs]``; ½ says nothing.
    """
    agree: Floats = np.sign(margins) * np.sign(labels - 0.5)
    return (1 + agree) / 2


def accuracy_of(hits: Floats, tasks: Sequence[str], among: Mask | None = None) -> Accuracy:
    """Return the mean of `hits` with its bootstrap interval over tasks.

    Args:
        hits: What `right` returned, ``[pairs]``.
        tasks: Task of each pair.
        among: Which pairs count; all of them by default.
    """
    counted = np.ones(len(hits), bool) if among is None else among
    per_task = sums_by(list(tasks), counted)
    count = int(counted.sum())
    interval = bootstrap_ratio(sums_by(list(tasks), hits * counted), per_task) if count else None
    return {
        "accuracy": float(hits[counted].mean()) if count else None,
        "ci95": interval,
        "pairs": count,
        "tasks": int((per_task > 0).sum()),
    }


def accuracies(
    data: Dataset, pairs: Sequence[Pair], margins: Floats, states: Sequence[str] | str
) -> Accuracies:
    """Return the accuracy on pairs of one environment, overall and by what they are.

    Args:
        data: What the pairs are of.
        pairs: None of which has the label ½.
        margins: Score of the better side minus that of the worse one, ``[pairs]``.
        states: What `familiarity` says of each pair, or why nobody knows.
    """
    tasks = [pair.task for pair in pairs]
    hits = right(margins, np.array([pair.label for pair in pairs]))

    def split(labels: Iterable[object]) -> dict[str, Accuracy]:
        named = np.array([str(label) for label in labels])
        return {
            name: accuracy_of(hits, tasks, named == name) for name in sorted(set(named), key=_order)
        }

    endings = ["full" if all(finished(data, s) for s in sides(p)) else "partial" for p in pairs]
    return {
        "all": accuracy_of(hits, tasks),
        "depth": split(pair.chosen_steps for pair in pairs),
        "source": split(pair.source for pair in pairs),
        "kind": split(pair.kind or "unnamed" for pair in pairs),
        "ending": split(endings),
        "states": None if isinstance(states, str) else split(states),
        "states_reason": states if isinstance(states, str) else None,
    }


def _order(name: str) -> tuple[int, str]:
    """Numbers by value, before words."""
    return (int(name), "") if name.isdecimal() else (1 << 30, name)


def familiarity(
    data: Dataset, pairs: Sequence[Pair], trained: Sequence[Pair], rendering: Rendering
) -> list[str]:
    """Say of each pair whether training saw its states: ``seen``, ``half`` or ``unseen``.

    A prefix's state is its newest step as the model reads it. Training saw it where it stands
    anywhere in a training pair's prefixes.

    Args:
        data: What both sorts of pairs are of.
        pairs: The pairs to tell of.
        trained: The pairs that the model was trained on.
        rendering: How the model reads the environment's trajectories.
    """
    reach: dict[tuple[str, int], Prefix] = {}
    for prefix in (side for pair in trained for side in sides(pair)):
        # With all steps in the input, the longest prefix shows what the shorter ones do.
        key = (prefix.trajectory, prefix.steps if rendering.history == "newest" else 0)
        if key not in reach or reach[key].steps < prefix.steps:
            reach[key] = prefix
    seen = {step.text for p in reach.values() for step in render(p.of(data), rendering).steps}
    states: dict[tuple[str, int], bool] = {}
    for prefix in (side for pair in pairs for side in sides(pair)):
        key = (prefix.trajectory, prefix.steps)
        if key not in states:
            states[key] = render(prefix.of(data), rendering).steps[-1].text in seen
    names = ("unseen", "half", "seen")
    return [names[sum(states[s.trajectory, s.steps] for s in sides(pair))] for pair in pairs]
