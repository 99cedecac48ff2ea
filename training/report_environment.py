"""One environment's part of a reward report: from what the model answered to the figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

import numpy as np

from armap_agents.reward.render import Rendering
from armap_agents.reward.settings import EnvironmentSettings, Settings
from armap_agents.reward_model import RewardModel
from armap_agents.training.records import Dataset, Pair
from armap_agents.training.report_accuracy import (
    Accuracies,
    Floats,
    Prefix,
    accuracies,
    familiarity,
    finished,
    sides,
)
from armap_agents.training.report_calibration import (
    THRESHOLDS,
    Calibrated,
    Distribution,
    ValueQuality,
    both_ways,
    calibrated,
    distribution,
    edges_of,
    not_calibrated,
    value_quality,
)
from armap_agents.training.report_controls import Controls, controls, without_instruction

UNKNOWN_TRAINING = "unknown: nothing says that the model was trained on this data"

NOT_CALIBRATED = "the model is not calibrated for this environment"

NO_RETURNS = "the data has no Monte-Carlo values of these tasks"


@dataclass(frozen=True)
class Questions:
    """What a model is asked about one environment.

    Attributes:
        pairs: The pairs of the report; at least one.
        trained: The pairs that the model was trained on; None where nobody knows.
        shuffled: The pairs' sides under another task's instruction; empty where there is none.
        returns: Monte-Carlo return by prefix.
        successes: Finished episodes among the pairs' sides, and whether each succeeded.
        left_out: Pairs and prefixes beyond the report's limit.
    """

    pairs: list[Pair]
    trained: list[Pair] | None
    shuffled: list[tuple[Prefix, Prefix]]
    returns: dict[Prefix, float]
    successes: dict[Prefix, bool]
    left_out: int

    def scored(self) -> Iterable[Prefix]:
        """Return every prefix whose score the report needs, with repeats."""
        for pair in self.pairs:
            yield from (*sides(pair), *without_instruction(pair))
        for both in self.shuffled:
            yield from both


@dataclass(frozen=True)
class Answers:
    """What the model said.

    Attributes:
        scores: Of every prefix that was asked about.
        values: Likewise; empty where `no_values` says why.
        no_values: Why there are none.
    """

    scores: dict[Prefix, float]
    values: dict[Prefix, float]
    no_values: str = NO_RETURNS


class Values(TypedDict):
    """Prefix values at each threshold of the return; nothing where `reason` says why."""

    thresholds: dict[str, ValueQuality]
    reason: str | None


class EnvironmentReport(TypedDict):
    """Everything about one environment.

    `pairs` and `prefixes` count what was judged, `left_out` what lay beyond the report's limit.
    `calibration` holds ``preference``, ``probability`` and ``value``; `fitted` is the calibration
    that the model carries, where it says.
    """

    tasks: int
    pairs: int
    prefixes: int
    left_out: int
    accuracy: Accuracies
    controls: Controls
    values: Values
    calibration: dict[str, Calibrated]
    fitted: dict[str, Any] | None
    edges: list[float]
    scores: dict[str, Distribution]


def environment_report(
    name: str, model: RewardModel, data: Dataset, asked: Questions, answers: Answers
) -> EnvironmentReport:
    """Return the figures of one environment.

    Args:
        name: The environment's.
        model: The model; it is asked for no further score here.
        data: What it was judged on.
        asked: What it was asked.
        answers: What it said.
    """
    pairs, scores = asked.pairs, answers.scores
    better, worse = _scores(map(sides, pairs), scores)
    states: list[str] | str = UNKNOWN_TRAINING
    if asked.trained is not None:
        states = familiarity(data, pairs, asked.trained, rendering_of(model, name))
    stripped = _scores(map(without_instruction, pairs), scores)
    shuffled = _scores(asked.shuffled, scores) if asked.shuffled else None
    whole = dict.fromkeys(s for pair in pairs for s in sides(pair) if finished(data, s))
    edges = edges_of([*better, *worse])
    bound = model.of(name) if hasattr(model, "of") else model
    settings = _settings(model, name)
    return {
        "tasks": len({pair.task for pair in pairs}),
        "pairs": len(pairs),
        "prefixes": len(asked.returns),
        "left_out": asked.left_out,
        "accuracy": accuracies(data, pairs, better - worse, states),
        "controls": controls(
            data,
            pairs,
            stripped[0] - stripped[1],
            None if shuffled is None else shuffled[0] - shuffled[1],
        ),
        "values": _values(asked.returns, answers),
        "calibration": {
            "preference": _preference(bound, pairs, better, worse),
            "probability": _probability(bound, asked.successes, scores),
            "value": _value_calibration(asked.returns, answers),
        },
        "fitted": asdict(settings.calibration) if settings and settings.calibration else None,
        "edges": edges,
        "scores": {
            "chosen": distribution(better, edges),
            "rejected": distribution(worse, edges),
            "finished": distribution([scores[prefix] for prefix in whole], edges),
        },
    }


def _scores(
    both: Iterable[tuple[Prefix, Prefix]], scores: dict[Prefix, float]
) -> tuple[Floats, Floats]:
    found = np.array([[scores[better], scores[worse]] for better, worse in both])
    return found[:, 0], found[:, 1]


def rendering_of(model: RewardModel, name: str) -> Rendering:
    """Return how a model reads an environment's trajectories; in full, where it does not say."""
    settings = _settings(model, name)
    return settings.rendering if settings else Rendering()


def _settings(model: RewardModel, name: str) -> EnvironmentSettings | None:
    """Return what the model's folder says about the environment; None for other models."""
    settings = getattr(model, "settings", None)
    return settings.of(name) if isinstance(settings, Settings) else None


def _values(returns: dict[Prefix, float], answers: Answers) -> Values:
    if not returns or not answers.values:
        return {"thresholds": {}, "reason": answers.no_values if returns else NO_RETURNS}
    happened = np.array(list(returns.values()))
    predicted = np.array([answers.values[prefix] for prefix in returns])
    depths = [prefix.steps for prefix in returns]
    found = {
        name: value_quality(happened, predicted, depths, threshold)
        for name, threshold in THRESHOLDS.items()
    }
    return {"thresholds": found, "reason": None}


def _value_calibration(returns: dict[Prefix, float], answers: Answers) -> Calibrated:
    if not returns or not answers.values:
        return not_calibrated(answers.no_values if returns else NO_RETURNS)
    return calibrated([answers.values[prefix] for prefix in returns], list(returns.values()))


def _preference(bound: Any, pairs: Sequence[Pair], better: Floats, worse: Floats) -> Calibrated:
    if not hasattr(bound, "preference"):
        return not_calibrated(NOT_CALIBRATED)
    chances = bound.preference(better.tolist(), worse.tolist())
    return calibrated(*both_ways(chances, [pair.label for pair in pairs]))


def _probability(bound: Any, told: dict[Prefix, bool], scores: dict[Prefix, float]) -> Calibrated:
    if not hasattr(bound, "probability"):
        return not_calibrated(NOT_CALIBRATED)
    chances = bound.probability([scores[prefix] for prefix in told])
    return calibrated(chances, list(told.values()))
