"""What scores mean: fits against brute force, safe arithmetic, reliability by its definition."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from armap_agents.errors import ConfigurationError
from armap_agents.reward.calibration import (
    Calibration,
    expected_calibration_error,
    fit_calibration,
    fit_platt,
    fit_temperature,
    reliability,
)

scores = st.floats(-20, 20, allow_nan=False, width=32)
chances = st.floats(0, 1, allow_nan=False)


def losses(logits: ArrayLike, targets: Sequence[float]) -> NDArray[np.float64]:
    """Cross-entropy of each row of logits."""
    z, t = np.asarray(logits, float), np.asarray(targets, float)
    terms = t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z)
    return np.asarray(terms.sum(axis=-1))


# --- temperature ----------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(scores, st.floats(0.5, 1)), min_size=1, max_size=12))
def test_no_temperature_on_a_fine_grid_is_likelier(pairs: list[tuple[float, float]]) -> None:
    gaps = [gap for gap, _ in pairs]
    n, scale = len(gaps), math.sqrt(sum(gap**2 for gap in gaps) / len(gaps))
    if scale < 1e-3:
        return
    targets = [y * (n + 1) / (n + 2) + (1 - y) / (n + 2) for _, y in pairs]

    fitted = fit_temperature(gaps, [y for _, y in pairs])
    assert scale / 1.001e3 <= fitted <= scale * 1.001e3
    grid = scale * np.logspace(-3, 3, 301)
    on_grid = losses(np.asarray(gaps) / grid[:, None], targets)
    assert losses(np.asarray(gaps) / fitted, targets) <= on_grid.min() + 1e-9


@pytest.mark.parametrize("true", [0.3, 1.0, 7.0])
def test_the_temperature_that_drew_the_pairs_is_found_again(true: float) -> None:
    rng = np.random.default_rng(0)
    gaps = rng.normal(0, 3, 50_000)
    wins = rng.random(50_000) < 1 / (1 + np.exp(-gaps / true))
    assert fit_temperature(np.where(wins, gaps, -gaps)) == pytest.approx(true, rel=0.05)
    soft = 1 / (1 + np.exp(-gaps / true))
    assert fit_temperature(gaps, soft) == pytest.approx(true, rel=0.01)


def test_a_model_that_orders_all_pairs_rightly_is_never_certain() -> None:
    few, many = (
        Calibration(fit_temperature([2.0] * n), 1, 0, 0.5, n).preference(2.0, 0.0) for n in (1, 98)
    )
    assert few == pytest.approx(2 / 3)
    assert many == pytest.approx(99 / 100)


def test_scores_that_say_nothing_or_the_contrary_prefer_nobody() -> None:
    assert fit_temperature([0.0, 0.0]) == 1.0
    wrong = fit_temperature([-2.0] * 50)
    assert Calibration(wrong, 1, 0, 0.5, 1).preference(2.0, 0.0) == pytest.approx(0.5, abs=1e-3)


@settings(deadline=None)
@given(st.lists(scores, min_size=1, max_size=8), st.floats(0.01, 100))
def test_temperature_follows_the_unit_of_the_scores(gaps: list[float], unit: float) -> None:
    if max(map(abs, gaps)) > 1e-3:
        scaled = fit_temperature([gap * unit for gap in gaps])
        assert scaled == pytest.approx(unit * fit_temperature(gaps), rel=1e-6)


# --- Platt ----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(scores, st.booleans()), min_size=1, max_size=12))
def test_no_sigmoid_nearby_or_far_is_likelier_than_platts(told: list[tuple[float, bool]]) -> None:
    s, good = [score for score, _ in told], [success for _, success in told]
    plus, minus = sum(good), len(good) - sum(good)
    targets = [(plus + 1) / (plus + 2) if g else 1 / (minus + 2) for g in good]

    slope, intercept = fit_platt(s, good)
    assert slope >= 0
    x = np.asarray(s)
    center, spread = x.mean(), x.std()
    if spread < 1e-3:
        return
    w = np.concatenate([[0.0], np.logspace(-3, 2, 21)])[:, None, None]
    b = np.linspace(-6, 6, 49)[None, :, None]
    on_grid = losses(w * (x - center) / spread + b, targets)
    assert losses(slope * x + intercept, targets) <= on_grid.min() + 1e-6


def test_the_sigmoid_that_drew_the_successes_is_found_again() -> None:
    rng = np.random.default_rng(1)
    s = rng.normal(1, 2, 50_000)
    good = rng.random(50_000) < 1 / (1 + np.exp(-(0.8 * s - 3)))
    assert fit_platt(s, good) == pytest.approx((0.8, -3), rel=0.05)


def test_one_class_equal_scores_and_contrary_scores_give_a_rate_to_everybody() -> None:
    def rate(s: list[float], good: list[bool]) -> tuple[float, float]:
        slope, intercept = fit_platt(s, good)
        return slope, 1 / (1 + math.exp(-intercept))

    assert rate([1, 2, 3], [False] * 3) == pytest.approx((0, 1 / 5))
    assert rate([1, 2], [True] * 2) == pytest.approx((0, 3 / 4))
    assert rate([4, 4], [True, False]) == pytest.approx((0, 0.5))
    assert rate([3, 2, 1, 0], [False, False, True, True]) == pytest.approx((0, 0.5))


# --- both -----------------------------------------------------------------------------------------


def test_a_calibration_states_its_base_rate_and_source() -> None:
    found = fit_calibration([2, 3], [0, 1], [0, 1, 2, 3], [0, 0, 0, 1], source="environment")
    assert (found.base_rate, found.examples, found.source) == (0.25, 4, "environment")
    assert found.temperature == fit_temperature([2, 2])
    assert (found.slope, found.intercept) == fit_platt([0, 1, 2, 3], [0, 0, 0, 1])
    soft = fit_calibration([2, 3], [0, 1], [0, 1], [0, 1], labels=[0.6, 0.7])
    assert soft.temperature == fit_temperature([2, 2], [0.6, 0.7]) > found.temperature


@pytest.mark.parametrize("alike", [[], [True, True], [False, False]])
def test_where_episodes_ended_alike_pairs_still_give_a_preference(alike: list[bool]) -> None:
    found = fit_calibration([2, 3], [0, 1], [1.0] * len(alike), alike)
    assert found == Calibration(fit_temperature([2, 2]))
    assert found.preference(3.0, 1.0) > 0.5
    with pytest.raises(ConfigurationError, match="no probability: its held-out episodes all ended"):
        found.probability([1.0])


@pytest.mark.parametrize("bad", [[], [math.nan], [math.inf]])
def test_nothing_to_fit_on_or_no_number_is_one_line(bad: list[float]) -> None:
    with pytest.raises(ConfigurationError, match=r"generate more tasks|smaller --learning-rate"):
        fit_temperature(bad)
    with pytest.raises(ConfigurationError, match=r"generate more tasks|smaller --learning-rate"):
        fit_platt(bad, [True] * len(bad))


@pytest.mark.parametrize(
    "field",
    [
        {"temperature": 0.0},
        {"slope": math.nan},
        {"slope": None},
        {"base_rate": 1.5},
        {"source": "hearsay"},
    ],
)
def test_damaged_figures_are_refused(field: dict[str, object]) -> None:
    sound = {"temperature": 1.0, "slope": 1.0, "intercept": 0.0, "base_rate": 0.5, "examples": 4}
    Calibration(**sound)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="calibration"):
        Calibration(**sound | field)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=6), st.floats(1e-6, 1e6))
def test_chances_are_safe_symmetric_and_keep_the_order(s: list[float], temperature: float) -> None:
    calibration = Calibration(temperature, 2.0, -1.0, 0.5, 4)
    found = calibration.probability(s)
    assert all(0 <= p <= 1 for p in found)
    assert sorted(found) == [p for _, p in sorted(zip(s, found, strict=True))]
    for a, b in pairwise(s):
        assert calibration.preference(a, b) + calibration.preference(b, a) == pytest.approx(1)
    assert calibration.preference(s, s[::-1]) == [
        calibration.preference(a, b) for a, b in zip(s, s[::-1], strict=True)
    ]
    assert calibration.preference(s[0], s[0]) == 0.5


# --- reliability ----------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(chances, chances), min_size=1, max_size=30), st.integers(1, 12))
def test_reliability_is_its_definition(told: list[tuple[float, float]], bins: int) -> None:
    p, y = [a for a, _ in told], [b for _, b in told]
    error = 0.0
    bars = reliability(p, y, bins)
    assert sum(bar.count for bar in bars) == len(p)
    for k, bar in enumerate(bars):
        inside = [j for j, chance in enumerate(p) if min(int(chance * bins), bins - 1) == k]
        assert bar.count == len(inside)
        assert (bar.low, bar.high) == (k / bins, (k + 1) / bins)
        if inside:
            predicted = sum(p[j] for j in inside) / len(inside)
            observed = sum(y[j] for j in inside) / len(inside)
            assert bar.predicted == pytest.approx(predicted)
            assert bar.observed == pytest.approx(observed)
            error += len(inside) / len(p) * abs(predicted - observed)
        else:
            assert bar.predicted is None
            assert bar.observed is None
    assert expected_calibration_error(p, y, bins) == pytest.approx(error)


def test_the_calibration_error_of_known_predictions() -> None:
    assert expected_calibration_error([0.25] * 4, [1, 0, 0, 0]) == 0
    assert expected_calibration_error([0.9] * 4, [0] * 4) == pytest.approx(0.9)
    assert expected_calibration_error([1.0, 0.0], [1, 0]) == 0
