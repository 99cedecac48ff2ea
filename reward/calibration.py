"""What scores mean: the chance that one trajectory beats another, and that one succeeds.

Scores of a Bradley–Terry model have a scale of their own. A temperature fitted on held-out pairs
makes differences of scores probabilities; Platt's sigmoid fitted on single held-out trajectories
makes scores probabilities, at a stated base rate. Pairs alone cannot give the second: they are
balanced, real episodes are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from armap_agents.errors import ConfigurationError

Floats = NDArray[np.float64]

BINS = 10
"""Bins of a reliability diagram."""

LARGEST_SCALE = 1e3
"""A temperature lies between the root mean square of the differences over and times this."""


@dataclass(frozen=True)
class Calibration:
    """How an environment's scores become probabilities.

    Attributes:
        temperature: preference(a, b) = σ((a − b)/temperature).
        slope: probability(s) = σ(slope·s + intercept); None where nothing tells successes from
            failures, and so are the next two.
        intercept: See slope.
        base_rate: Share of successes among the trajectories that the sigmoid was fitted on.
        examples: How many these were.
        source: ``synthetic``: labels of held-out self-made data; ``environment``: true scores.

    Raises:
        ValueError: A figure is none, or out of its range.
    """

    temperature: float
    slope: float | None = None
    intercept: float | None = None
    base_rate: float | None = None
    examples: int = 0
    source: Literal["synthetic", "environment"] = "synthetic"

    def __post_init__(self) -> None:
        sigmoid = (self.slope, self.intercept, self.base_rate)
        known = [figure for figure in sigmoid if figure is not None]
        if len(known) not in (0, 3) or not all(map(math.isfinite, (self.temperature, *known))):
            raise ValueError(f"calibration {self}")
        if self.temperature <= 0 or not 0 <= (self.base_rate or 0) <= 1:
            raise ValueError(f"calibration {self}")
        if self.source not in ("synthetic", "environment"):
            raise ValueError(f"calibration {self}")

    def probability(self, scores: Sequence[float]) -> list[float]:
        """Return the chance of success at each score of a finished trajectory, 0 to 1.

        Raises:
            ConfigurationError: Nothing told successes from failures when it was fitted.
        """
        if self.slope is None or self.intercept is None:
            raise ConfigurationError(
                "this model has no probability: its held-out episodes all ended alike, or nothing "
                "says how; train it on data that tells, or use `armap reward recalibrate`"
            )
        chances: list[float] = _sigmoid(
            self.slope * np.asarray(scores, float) + self.intercept
        ).tolist()
        return chances

    @overload
    def preference(self, a: float, b: float) -> float: ...

    @overload
    def preference(self, a: Sequence[float], b: Sequence[float]) -> list[float]: ...

    def preference(
        self, a: float | Sequence[float], b: float | Sequence[float]
    ) -> float | list[float]:
        """Return the chance that a trajectory of score `a` is better than one of score `b`."""
        difference = np.asarray(a, float) - np.asarray(b, float)
        chances: float | list[float] = _sigmoid(difference / self.temperature).tolist()
        return chances


def fit_calibration(
    chosen: ArrayLike,
    rejected: ArrayLike,
    singles: ArrayLike,
    successes: ArrayLike,
    *,
    labels: ArrayLike = 1.0,
    source: Literal["synthetic", "environment"] = "synthetic",
) -> Calibration:
    """Fit what an environment's scores mean, on trajectories that no training saw.

    Args:
        chosen: Scores of the pairs' better sides, ``[pairs]``; at least one.
        rejected: Scores of their worse sides, ``[pairs]``.
        singles: Scores of single finished trajectories, ``[singles]``; where these did not both
            succeed and fail, there is no `probability`.
        successes: Whether each of these succeeded, ``[singles]``.
        labels: Chance that the chosen side is the better one, ``[pairs]`` or one for all.
        source: Whose word the successes are.

    Raises:
        ConfigurationError: There is nothing to fit on, or a score is not finite.
    """
    temperature = fit_temperature(np.asarray(chosen, float) - np.asarray(rejected, float), labels)
    succeeded = np.asarray(successes, bool)
    if len(set(succeeded.tolist())) < 2:
        return Calibration(temperature, source=source)
    slope, intercept = fit_platt(singles, successes)
    return Calibration(
        temperature, slope, intercept, float(succeeded.mean()), len(succeeded), source
    )


def fit_temperature(differences: ArrayLike, labels: ArrayLike = 1.0) -> float:
    """Return the temperature T of σ(difference/T) by maximum likelihood on held-out pairs.

    Temperature scaling (Guo et al., "On calibration of modern neural networks", ICML 2017) of a
    Bradley–Terry model. A pair says the same thing read either way round, so the sample holds as
    many successes as failures, and Platt's smoothed targets for it are (n + 1)/(n + 2) and
    1/(n + 2): they keep T above 0 where a model orders every pair rightly. The slope 1/T is found
    by bisection on the derivative, which rises with it; one that orders most pairs wrongly would
    need a negative slope and gets the greatest temperature, that is, chances near one half.

    Args:
        differences: Scores of the better sides minus those of the worse ones, ``[pairs]``.
        labels: Chance that the better side is the better one, ``[pairs]`` or one for all.

    Raises:
        ConfigurationError: There are no pairs, or a score is not finite.
    """
    gaps = _finite(differences)
    scale = float(np.sqrt(np.mean(gaps**2)))
    if scale == 0:
        return 1.0  # every pair is a tie, and stays one at any temperature
    x = gaps / scale
    certain = (len(x) + 1) / (len(x) + 2)
    y = np.broadcast_to(np.asarray(labels, float), x.shape)
    targets = y * certain + (1 - y) * (1 - certain)
    low, high = 1 / LARGEST_SCALE, LARGEST_SCALE
    for _ in range(60):
        slope = math.sqrt(low * high)
        if float(x @ (_sigmoid(slope * x) - targets)) < 0:
            low = slope
        else:
            high = slope
    return scale / math.sqrt(low * high)


def fit_platt(scores: ArrayLike, successes: ArrayLike) -> tuple[float, float]:
    """Return slope and intercept of P(success | score s) = σ(slope·s + intercept).

    Platt, "Probabilistic outputs for support vector machines" (1999): maximum likelihood with
    targets (n⁺ + 1)/(n⁺ + 2) and 1/(n⁻ + 2), which keep it finite where one class is missing or the
    two lie apart. Newton's method with halved steps, as Lin, Lin & Weng, "A note on Platt's
    probabilistic outputs", Machine Learning 68 (2007), do it. The slope is never negative: scores
    that run against success give everybody the base rate.

    Args:
        scores: Of single finished trajectories, ``[n]``; at least one.
        successes: Whether each succeeded, ``[n]``.

    Raises:
        ConfigurationError: There are no scores, or one is not finite.
    """
    s = _finite(scores)
    good = np.asarray(successes, bool)
    high, low = (good.sum() + 1) / (good.sum() + 2), 1 / ((~good).sum() + 2)
    targets = np.where(good, high, low)
    center, spread = float(s.mean()), float(s.std())
    rate = float(targets.mean())
    flat = math.log(rate / (1 - rate))
    if spread == 0:
        return 0.0, flat
    w, b = _newton((s - center) / spread, targets, flat)
    if w <= 0:
        return 0.0, flat
    return w / spread, b - w * center / spread


def _newton(x: Floats, targets: Floats, intercept: float) -> tuple[float, float]:
    """Minimise the cross-entropy of σ(w·x + b); `x` is standardised."""
    design = np.column_stack([x, np.ones_like(x)])
    weights = np.array([0.0, intercept])
    loss = _cross_entropy(design @ weights, targets)
    for _ in range(100):
        p = _sigmoid(design @ weights)
        gradient = design.T @ (p - targets)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-12 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-10:
            tried = weights - size * step
            new = _cross_entropy(design @ tried, targets)
            if new <= loss - 1e-4 * size * float(gradient @ step):
                break
            size /= 2
        else:
            break  # no step makes it better: this is the minimum to machine precision
        weights, loss = tried, new
        if float(np.abs(gradient).max()) < 1e-10 * len(x):
            break
    return float(weights[0]), float(weights[1])


@dataclass(frozen=True)
class Bin:
    """One bar of a reliability diagram.

    Attributes:
        low: Lower edge of the probabilities in it.
        high: Upper edge.
        count: How many there are.
        predicted: Their mean; None without any.
        observed: Mean outcome; None without any.
    """

    low: float
    high: float
    count: int
    predicted: float | None
    observed: float | None


def reliability(probabilities: ArrayLike, outcomes: ArrayLike, bins: int = BINS) -> list[Bin]:
    """Return the bars of a reliability diagram, in bins of equal width from 0 to 1.

    DeGroot & Fienberg, "The comparison and evaluation of forecasters", The Statistician 32 (1983).

    Args:
        probabilities: What was predicted, each 0 to 1; an edge belongs to the bin above it.
        outcomes: What happened: 0 or 1, or a rate in between.
        bins: How many.
    """
    p, y = np.asarray(probabilities, float), np.asarray(outcomes, float)
    place = np.minimum((p * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    predicted = np.bincount(place, p, bins)
    observed = np.bincount(place, y, bins)
    return [
        Bin(
            k / bins,
            (k + 1) / bins,
            int(n),
            float(predicted[k] / n) if n else None,
            float(observed[k] / n) if n else None,
        )
        for k, n in enumerate(counts)
    ]


def expected_calibration_error(
    probabilities: ArrayLike, outcomes: ArrayLike, bins: int = BINS
) -> float:
    """Return the mean distance of predicted from observed, bin by bin, weighted by their counts.

    Naeini, Cooper & Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning",
    AAAI 2015; over `reliability`'s bins.

    Args:
        probabilities: What was predicted, each 0 to 1; at least one.
        outcomes: What happened: 0 or 1, or a rate in between.
        bins: How many.
    """
    bars = reliability(probabilities, outcomes, bins)
    total = sum(bar.count for bar in bars)
    return (
        sum(
            bar.count * abs(bar.predicted - bar.observed)
            for bar in bars
            if bar.predicted is not None and bar.observed is not None
        )
        / total
    )


def _finite(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, float)
    if not values.size:
        raise ConfigurationError(
            "there is nothing to calibrate the scores on: generate more tasks, so that some can be "
            "held out"
        )
    if not np.isfinite(values).all():
        raise ConfigurationError(
            "the model's scores are not finite: train it again with a smaller --learning-rate"
        )
    return values


def _sigmoid(x: ArrayLike) -> Floats:
    """Return 1/(1 + exp(−x)), by way of tanh, which never overflows."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(x, float))))


def _cross_entropy(logits: Floats, targets: Floats) -> float:
    return float((np.logaddexp(0.0, logits) - targets * logits).sum())
