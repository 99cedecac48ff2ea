"""Artefact controls: how much of a reward model's accuracy needs no understanding.

The same pairs judged without their instruction, or with another task's, show what a model knows
from the trajectory alone. A logistic model on surface features, and each surface rule by itself,
show what the pairs give away to somebody who reads nothing: lengths, endings, words in common.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import TypedDict

import numpy as np

from armap_agents.evaluation.results import Candidate
from armap_agents.evaluation.selectors import FOLDS, fit_logistic, trivial_rules
from armap_agents.reward.render import Rendering, render
from armap_agents.training.records import Dataset, Pair
from armap_agents.training.report_accuracy import (
    Accuracy,
    Floats,
    Prefix,
    accuracy_of,
    right,
    sides,
)
from armap_agents.trajectory import Observation, Task, Trajectory

TARGET = 0.60
"""Greatest accuracy that judging without the right instruction should reach."""

EASY = 0.30
"""Greatest share of trivially easy pairs that a set should hold."""

COMMON_VERBS = 12
"""Most first words of actions that the surface model counts."""

ONE_INSTRUCTION = "not applicable: no other task has an instruction that reads differently"


Rule = Callable[[Trajectory], float]
"""A prefix's value under a surface rule."""


class Controls(TypedDict):
    """What somebody who reads no instruction, or nothing at all, gets right on the same pairs.

    `shuffled` is None where `shuffled_reason` says why. `rules` are surface rules, each read in the
    direction that is right more often; a pair is trivially easy where none of them is wrong and
    more than half of those that tell any pair apart tell it apart.
    """

    without: Accuracy
    shuffled: Accuracy | None
    shuffled_reason: str | None
    surface: Accuracy
    rules: dict[str, Accuracy]
    easy: float
    target: float
    easy_target: float


def without_instruction(pair: Pair) -> tuple[Prefix, Prefix]:
    """Return a pair's sides, judged against nothing."""
    better, worse = sides(pair)
    return (
        Prefix(better.trajectory, better.steps, ""),
        Prefix(worse.trajectory, worse.steps, ""),
    )


def shuffled_instructions(
    pairs: Sequence[Pair], rendering: Rendering, seed: int = 0
) -> list[tuple[Prefix, Prefix]]:
    """Return the pairs' sides, both judged against the same instruction of another task.

    Pairs of one task and instruction get the same other one: in a random order, the next of another
    task that the model reads differently.

    Args:
        pairs: Of one environment.
        rendering: How the model reads them.
        seed: Of the order.

    Returns:
        A side each per pair; nothing at all where one task has no other to borrow from.
    """
    known = sorted({(pair.task, pair.instruction) for pair in pairs})
    Random(seed).shuffle(known)
    read = {text: _read(text, rendering) for _, text in known}
    borrowed: dict[tuple[str, str], str] = {}
    for k, (task, text) in enumerate(known):
        following = known[k + 1 :] + known[:k]
        other = next((o for t, o in following if t != task and read[o] != read[text]), None)
        if other is None:
            return []
        borrowed[task, text] = other
    moved = []
    for pair in pairs:
        text = borrowed[pair.task, pair.instruction]
        better, worse = sides(pair)
        moved.append(
            (
                Prefix(better.trajectory, better.steps, text),
                Prefix(worse.trajectory, worse.steps, text),
            )
        )
    return moved


def _read(text: str, rendering: Rendering) -> str:
    unseen = Trajectory(Task("", ""), text, Observation(""))
    return render(unseen, rendering).instruction


def controls(
    data: Dataset,
    pairs: Sequence[Pair],
    without: Floats,
    shuffled: Floats | None,
) -> Controls:
    """Return the artefact controls of one environment's pairs.

    Args:
        data: What the pairs are of.
        pairs: The pairs, none of which has the label ½.
        without: Margins without instruction, ``[pairs]``.
        shuffled: Margins under another task's instruction, ``[pairs]``; None where there is none.
    """
    tasks = [pair.task for pair in pairs]
    labels = np.array([pair.label for pair in pairs])
    names, differences = surface_differences(data, pairs)
    ruled = len(surface_rules(pairs[0].environment))
    directed = _directed(differences[:, :ruled], labels)
    surface = surface_margins(differences, labels, tasks)
    return {
        "without": accuracy_of(right(without, labels), tasks),
        "shuffled": None if shuffled is None else accuracy_of(right(shuffled, labels), tasks),
        "shuffled_reason": ONE_INSTRUCTION if shuffled is None else None,
        "surface": accuracy_of(right(surface, labels), tasks),
        "rules": {
            name: accuracy_of(right(directed[:, k], labels), tasks)
            for k, name in enumerate(names[:ruled])
        },
        "easy": easy_share(directed, labels),
        "target": TARGET,
        "easy_target": EASY,
    }


# --- surface features -----------------------------------------------------------------------------


def surface_rules(environment: str) -> dict[str, Rule]:
    """Return the rules that a trained model has to be better than, on prefixes.

    They are evaluation's trivial selectors, and how much of the instruction the episode names.
    """

    def on_prefixes(rule: Callable[[str, Candidate], float]) -> Rule:
        return lambda t: rule(t.instruction, Candidate(tuple(t.actions), t.status, None, 0.0))

    rules = {name: on_prefixes(rule) for name, rule in trivial_rules(environment).items()}
    del rules["longest"]  # `shortest`, read the other way
    return rules | {"coverage": coverage}


def coverage(trajectory: Trajectory) -> float:
    """Return the share of the instruction's content words that actions or observations name.

    Content words are numbers and words of four letters or more; most nouns are, few others.
    """
    asked = {word for word in _words(trajectory.instruction) if word.isdecimal() or len(word) > 3}
    shown = [trajectory.observation.text]
    shown += [text for step in trajectory.steps for text in (step.action, step.observation.text)]
    return len(asked & set(_words(" ".join(shown)))) / len(asked) if asked else 0.0


def surface_differences(data: Dataset, pairs: Sequence[Pair]) -> tuple[list[str], Floats]:
    """Return the surface features' names and the better side's minus the worse one's.

    Returns:
        Names, the rules first; differences ``[pairs, features]``.
    """
    both = [sides(pair) for pair in pairs]
    shown = {prefix: prefix.of(data) for pair in both for prefix in pair}
    first = Counter(verb for t in shown.values() for verb in map(_verb, t.actions) if verb)
    verbs = [verb for verb, _ in first.most_common(COMMON_VERBS)]
    features: dict[str, Rule] = {
        **surface_rules(pairs[0].environment),
        "instruction words": lambda t: len(_words(t.instruction)),
        "action words": lambda t: len(_words(" ".join(t.actions))),
        "words at the end": lambda t: len(_words(t.last.text)),
        "repeated actions": lambda t: len(t.actions) - len(set(t.actions)),
    }
    rows = {}
    for prefix, trajectory in shown.items():
        counts = Counter(map(_verb, trajectory.actions))
        own = [float(feature(trajectory)) for feature in features.values()]
        rows[prefix] = np.array([*own, *(float(counts[verb]) for verb in verbs)])
    differences = np.array([rows[better] - rows[worse] for better, worse in both])
    return [*features, *(f"times {verb}" for verb in verbs)], differences


def surface_margins(differences: Floats, labels: Floats, tasks: Sequence[str]) -> Floats:
    """Return how far a logistic model on surface features prefers each pair's better side.

    Cross-validated: the model that judges a task's pairs is fitted on the other folds' tasks only
    (5 folds, tasks in order of first appearance). Each pair is read both ways round, so that no
    intercept is needed.

    Args:
        differences: Better side's features minus the worse one's, ``[pairs, features]``.
        labels: Chance that the better side is the better one, ``[pairs]``.
        tasks: Task of each pair.

    Returns:
        ``[pairs]``; 0 where there is no other task to learn from.
    """
    index = {task: k for k, task in enumerate(dict.fromkeys(tasks))}
    fold = np.array([index[task] % FOLDS for task in tasks])
    margins = np.zeros(len(tasks))
    for held_out in sorted(set(fold)):
        kept = fold != held_out
        if not kept.any():
            continue
        x, y = differences[kept], labels[kept]
        scale = np.sqrt((x**2).mean(axis=0))
        scale[scale < 1e-12] = np.inf  # a feature that never differs says nothing
        x = x / scale
        weights = fit_logistic(np.concatenate([x, -x]), np.concatenate([y, 1 - y]))
        margins[~kept] = (differences[~kept] / scale) @ weights
    return margins


def easy_share(directed: Floats, labels: Floats) -> float:
    """Return the share of pairs that surface rules alone decide, as `Controls` defines it.

    Args:
        directed: Each rule's margin in its better direction, ``[pairs, rules]``.
        labels: Chance that the better side is the better one, ``[pairs]``.
    """
    telling = directed[:, (directed != 0).any(axis=0)]
    agree = np.sign(telling) * np.sign(labels - 0.5)[:, None]
    easy = (agree >= 0).all(axis=1) & ((agree > 0).sum(axis=1) * 2 > telling.shape[1])
    return float(easy.mean())


def _directed(differences: Floats, labels: Floats) -> Floats:
    """Turn each rule round that is wrong more often than right."""
    agree = np.sign(differences) * np.sign(labels - 0.5)[:, None]
    turned: Floats = differences * np.where(agree.sum(axis=0) < 0, -1.0, 1.0)
    return turned


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _verb(action: str) -> str:
    """Return an action's first word; none where it begins with a number."""
    words = _words(action)
    return words[0] if words and words[0].isalpha() else ""
