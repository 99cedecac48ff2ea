"""What a reward model's numbers mean on held-out data: prefix values and probabilities.

Prefix values are held against the Monte-Carlo returns of ``values.jsonl``, pooled over depths (what
a search compares) and within depth (what is left when depth says nothing). Probabilities, whether
of values, pairs or whole episodes, are held against what happened: reliability, expected
calibration error and the base rate that goes with them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from armap_agents.evaluation.quality import EPISODES, mann_whitney
from armap_agents.reward.calibration import expected_calibration_error, reliability
from armap_agents.training.pairs import outcomes
from armap_agents.training.records import Dataset, Pair, PrefixValue
from armap_agents.training.report_accuracy import Floats, Mask, Prefix, finished, sides

THRESHOLDS: dict[str, float] = {"any success": 1e-9, "half or more": 0.5, "always": 1 - 1e-9}
"""Monte-Carlo returns from which a prefix counts as good, by name."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

HISTOGRAM_BINS = 24


class PrefixAuroc(TypedDict):
    """Chance that a good prefix is valued above a bad one; None where `reason` says why."""

    value: float | None
    good: int
    bad: int
    reason: str | None


class ValueQuality(TypedDict):
    """How prefix values tell good prefixes from bad ones, at one threshold.

    `within` compares prefixes of equal depth only: the mean over the estimable depths, weighted by
    their numbers of comparisons.
    """

    threshold: float
    pooled: PrefixAuroc
    within: PrefixAuroc
    depth: dict[str, PrefixAuroc]


class Calibrated(TypedDict):
    """How predicted chances went with what happened; figures are None where `reason` says why."""

    count: int
    base_rate: float | None
    mean: float | None
    ece: float | None
    bins: list[dict[str, Any]]
    reason: str | None


class Distribution(TypedDict):
    """Scores of one sort of prefixes; `histogram` counts in the report's shared `edges`."""

    count: int
    mean: float | None
    std: float | None
    quantiles: dict[str, float]
    histogram: list[int]


# --- prefix values --------------------------------------------------------------------------------


def returns_of(values: Iterable[PrefixValue]) -> dict[Prefix, float]:
    """Return the Monte-Carlo return of each distinct prefix that was continued."""
    sums: defaultdict[Prefix, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for value in values:
        total = sums[Prefix(value.trajectory, value.steps, value.instruction)]
        total[0] += value.successes
        total[1] += value.continuations
    return {prefix: total / count for prefix, (total, count) in sums.items() if count}


def value_quality(
    returns: Floats, predicted: Floats, depths: Sequence[int], threshold: float
) -> ValueQuality:
    """Return the AUROC of prefix values against returns.

    Args:
        returns: Monte-Carlo return of each prefix, 0 to 1, ``[prefixes]``.
        predicted: The model's value of it, ``[prefixes]``.
        depths: Its number of steps, ``[prefixes]``.
        threshold: Returns from here on are good.
    """
    good = returns >= threshold
    depth = np.asarray(depths)
    by_depth = {str(d): auroc(predicted[depth == d], good[depth == d]) for d in sorted(set(depths))}
    return {
        "threshold": threshold,
        "pooled": auroc(predicted, good),
        "within": _within(by_depth),
        "depth": by_depth,
    }


def auroc(predicted: Floats, good: Mask) -> PrefixAuroc:
    """Return the chance that a good prefix is valued above a bad one, ties counting half.

    Mann–Whitney U over the number of pairs; not estimable with fewer than 30 of either class.
    """
    counts = int(good.sum()), int((~good).sum())
    enough = min(counts) >= EPISODES
    return {
        "value": mann_whitney(predicted[good], predicted[~good]) if enough else None,
        "good": counts[0],
        "bad": counts[1],
        "reason": None if enough else f"not estimable, n = {min(counts)}",
    }


def _within(by_depth: Mapping[str, PrefixAuroc]) -> PrefixAuroc:
    found = [(a["value"], a["good"] * a["bad"], a) for a in by_depth.values()]
    kept = [(value, weight, a) for value, weight, a in found if value is not None]
    weights = sum(weight for _, weight, _ in kept)
    most = max((min(a["good"], a["bad"]) for a in by_depth.values()), default=0)
    return {
        "value": sum(v * weight for v, weight, _ in kept) / weights if kept else None,
        "good": sum(a["good"] for _, _, a in kept),
        "bad": sum(a["bad"] for _, _, a in kept),
        "reason": None if kept else f"not estimable at any depth, n = {most}",
    }


# --- calibration ----------------------------------------------------------------------------------


def calibrated(predicted: ArrayLike, outcomes: ArrayLike) -> Calibrated:
    """Return how chances went with outcomes.

    Args:
        predicted: Chances, 0 to 1, ``[n]``.
        outcomes: What happened, 0 or 1, or a rate in between, ``[n]``.
    """
    p, y = np.asarray(predicted, float), np.asarray(outcomes, float)
    if not p.size:
        return not_calibrated("there is nothing to hold it against in this data")
    return {
        "count": len(p),
        "base_rate": float(y.mean()),
        "mean": float(p.mean()),
        "ece": expected_calibration_error(p, y),
        "bins": [asdict(bar) for bar in reliability(p, y)],
        "reason": None,
    }


def not_calibrated(reason: str) -> Calibrated:
    """Return that there are no figures, and why."""
    return {
        "count": 0,
        "base_rate": None,
        "mean": None,
        "ece": None,
        "bins": [],
        "reason": reason,
    }


def both_ways(chances: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """Return pairs' chances and labels with each pair read both ways round.

    Which side of a pair is called the better one is the label itself; read one way only, every
    outcome would be 1.
    """
    p, y = np.asarray(chances, float), np.asarray(labels, float)
    return np.concatenate([p, 1 - p]), np.concatenate([y, 1 - y])


def singles(
    data: Dataset, pairs: Iterable[Pair], returns: Mapping[Prefix, float]
) -> dict[Prefix, bool]:
    """Return the distinct finished episodes among pairs' sides, and whether each succeeded.

    Where the return of an episode is known, 1 is a success and less is none. Else the pairs say
    it (`outcomes`); an episode that is a success here and a failure there is left out.

    Args:
        data: What the pairs are of.
        pairs: Any pairs.
        returns: What `returns_of` said.
    """
    told: defaultdict[Prefix, set[bool]] = defaultdict(set)
    for pair in pairs:
        for side, success in zip(sides(pair), outcomes(pair) or (None, None), strict=True):
            if side in returns:
                success = returns[side] > 1 - 1e-9
            if success is not None and finished(data, side):
                told[side].add(success)
    return {prefix: True in said for prefix, said in told.items() if len(said) == 1}


# --- scores ---------------------------------------------------------------------------------------


def edges_of(scores: ArrayLike) -> list[float]:
    """Return the edges of a histogram that holds all of `scores`."""
    edges: list[float] = np.histogram_bin_edges(np.asarray(scores, float), HISTOGRAM_BINS).tolist()
    return edges


def distribution(scores: ArrayLike, edges: Sequence[float]) -> Distribution:
    """Return how scores lie."""
    values = np.asarray(scores, float)
    if not values.size:
        empty = [0] * (len(edges) - 1)
        return {"count": 0, "mean": None, "std": None, "quantiles": {}, "histogram": empty}
    found = np.quantile(values, QUANTILES)
    return {
        "count": len(values),
        "mean": float(values.mean()),
        "std": float(values.std()),
        "quantiles": {f"{q:g}": float(v) for q, v in zip(QUANTILES, found, strict=True)},
        "histogram": np.histogram(values, edges)[0].tolist(),
    }
