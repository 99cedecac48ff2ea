"""Confidence intervals: the bootstrap over tasks, and Wilson's for one seed's success rate.

Every figure of an evaluation is a ratio of sums over tasks: a mean score (Σ scores / Σ runs), a
difference of two planners on the same tasks, the share of the oracle gap. One function therefore
gives every bootstrap interval. Runs of one task with several seeds stay together: the task is what
is drawn again.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]

RESAMPLES = 10_000
LEVEL = 0.95
Z = 1.959963984540054
"""97.5 % point of the standard normal distribution."""

UNDEFINED = 0.05
"""Largest share of resamples without a value that an interval is still given for."""


def ratio(numerators: ArrayLike, denominators: ArrayLike) -> float | None:
    """Return Σ numerators / Σ denominators; None where the latter sum is 0."""
    below = float(np.sum(denominators))
    return None if _is_zero(below) else float(np.sum(numerators)) / below


def bootstrap_ratio(
    numerators: ArrayLike, denominators: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """Return the 95 % percentile interval of a ratio of sums over tasks.

    Tasks are drawn with replacement; what belongs to a task (its seeds) comes along unchanged, the
    first scheme for nested data in Davison & Hinkley, *Bootstrap Methods and their Application*
    (1997), section 3.8. Percentile interval: Efron & Tibshirani, *An Introduction to the Bootstrap*
    (1993), section 13.3. A paired difference is the ratio with the differences above.

    Args:
        numerators: ``(tasks,)``, each task's sum over its seeds.
        denominators: ``(tasks,)``, likewise; a task's number of runs for a mean.
        resamples: How often the tasks are drawn again.
        seed: Of the draws; equal seeds and task counts draw the same tasks.

    Returns:
        Lower and upper end; None for fewer than two tasks, or where more than 5 % of the resamples
        have no value because their denominators are all 0.
    """
    values = np.column_stack([np.asarray(numerators, float), np.asarray(denominators, float)])
    tasks = len(values)
    if tasks < 2:
        return None
    draws = _draws(tasks, resamples, seed)
    sums = np.concatenate([part.astype(np.float64) @ values for part in np.array_split(draws, 8)])
    defined = ~_is_zero(sums[:, 1])
    if defined.mean() < 1 - UNDEFINED:
        return None
    ratios = sums[defined, 0] / sums[defined, 1]
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def wilson(successes: int, n: int) -> Interval | None:
    """Return the 95 % score interval of a success rate; None where nothing was tried.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927):
    (p + z²/2n ± z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n).
    """
    if n == 0:
        return None
    p = successes / n
    centre = p + Z**2 / (2 * n)
    half = Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    scale = 1 + Z**2 / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def sums_by(labels: list[str], values: ArrayLike) -> Floats:
    """Return the sum of `values` for each distinct label, in order of first appearance."""
    index = {label: k for k, label in enumerate(dict.fromkeys(labels))}
    sums = np.zeros(len(index))
    np.add.at(sums, [index[label] for label in labels], np.asarray(values, float))
    return sums


@lru_cache(maxsize=2)
def _draws(tasks: int, resamples: int, seed: int) -> NDArray[np.int16]:
    """How often each task is in each resample: ``(resamples, tasks)``, every row sums to tasks."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(tasks, np.full(tasks, 1 / tasks), size=resamples).astype(np.int16)


def _is_zero(sums: ArrayLike) -> NDArray[np.bool_]:
    """Sums of scores from 0 to 1 differ from 0 by rounding, or by far more than this."""
    return np.abs(sums) < 1e-9
