"""Objectives: the standardised score minus penalties, and the same as a probability."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from armap_agents.errors import ConfigurationError
from armap_agents.reward import objectives as module
from armap_agents.reward import register_penalty
from armap_agents.reward.objectives import (
    as_probability,
    calibrated,
    check_penalties,
    objectives,
    pass_probabilities,
)
from armap_agents.reward_model import FunctionReward
from armap_agents.trajectory import Observation, Step, Task, Trajectory


@pytest.fixture
def _own_penalties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_penalties", dict(module._penalties))


class Plain(FunctionReward):
    """Scores with μ and σ, as `armap train` writes them."""

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__(lambda _: 0.0, "plain")
        self.mean, self.std = mean, std


class Calibrated(Plain):
    """A Platt-scaled model: probability = 1/(1 + exp(−(2·score + 1)))."""

    def probability(self, scores: list[float]) -> list[float]:
        return [0.5 * (1 + math.tanh((2 * score + 1) / 2)) for score in scores]


def walk(steps: int, limit: int | None = 10, **facts: Any) -> Trajectory:
    seen = Observation("seen", facts=facts)
    task = Task("t", "shop", max_steps=limit)
    return Trajectory(task, "do", Observation("start"), (Step("act", seen),) * steps)


anytime = settings(deadline=None)
numbers = st.floats(-50, 50)
means = st.floats(-10, 10)
stds = st.floats(0.1, 10)
weights = st.floats(0.01, 5)


@anytime
@given(numbers, means, stds, st.floats(-5, 5), st.floats(0.5, 3))
def test_the_objective_does_not_depend_on_the_scale_of_the_scores(
    score: float, mean: float, std: float, shift: float, factor: float
) -> None:
    given_, scaled = Plain(mean, std), Plain(factor * mean + shift, factor * std)
    [before] = objectives([score], [walk(3)], {"length": 0.3}, given_)
    [after] = objectives([factor * score + shift], [walk(3)], {"length": 0.3}, scaled)
    assert after == pytest.approx(before, rel=1e-6, abs=1e-6)


@anytime
@given(numbers, means, stds, weights, st.integers(1, 10))
def test_penalties_lower_the_objective_and_its_probability(
    score: float, mean: float, std: float, weight: float, steps: int
) -> None:
    for model in (Plain(mean, std), Calibrated(mean, std)):
        [free] = objectives([score], [walk(steps)], {}, model)
        [bent] = objectives([score], [walk(steps)], {"length": weight}, model)
        assert bent == pytest.approx(free - weight * steps / 10)
        low, high = as_probability([bent, free], model)
        assert low <= high


@anytime
@given(st.lists(st.floats(-1e6, 1e6), min_size=2), means, stds)
def test_probabilities_are_monotone_in_the_objective_and_within_bounds(
    values: list[float], mean: float, std: float
) -> None:
    for model in (Plain(mean, std), Calibrated(mean, std)):
        found = as_probability(sorted(values), model)
        assert found == sorted(found)
        assert all(0.0 <= p <= 1.0 for p in found)


@anytime
@given(numbers, means, stds)
def test_without_penalties_a_calibrated_objective_is_the_probability_of_its_score(
    score: float, mean: float, std: float
) -> None:
    model = Calibrated(mean, std)
    values = objectives([score], [walk(1)], {}, model)
    assert as_probability(values, model) == pytest.approx(pass_probabilities([score], model))


@anytime
@given(st.floats(-30, 30), means, stds)
def test_without_calibration_it_is_the_logistic(value: float, mean: float, std: float) -> None:
    assert as_probability([value], Plain(mean, std)) == pytest.approx([1 / (1 + math.exp(-value))])


@anytime
@given(st.floats(-20, 20), st.floats(-20, 20))
def test_distinct_objectives_stay_distinct_where_search_meets_them(a: float, b: float) -> None:
    assume(abs(a - b) > 1e-3)
    p, q = as_probability([a, b], Plain())
    assert (p < q) == (a < b)


def test_calibrated_is_told_by_the_member() -> None:
    assert calibrated(Calibrated())
    assert not calibrated(Plain())


@pytest.mark.parametrize("value", [math.nan, -0.1, 1.1])
def test_what_is_no_probability_is_refused(value: float) -> None:
    model = Calibrated()
    model.probability = lambda scores: [value for _ in scores]  # type: ignore[method-assign]
    with pytest.raises(ConfigurationError, match=r"plain gave .* as a probability: calibrate"):
        as_probability([0.0], model)


def test_length_is_steps_over_the_limit() -> None:
    assert objectives([0.0], [walk(3)], {"length": 1.0}, Plain()) == [-0.3]
    assert objectives([0.0], [walk(3, None)], {"length": 1.0}, Plain()) == [-0.1]


def test_price_is_the_newest_price_over_its_limit() -> None:
    cheap, dear = Observation("a", facts={"price": 20, "price_limit": 40.0}), Observation("b")
    trajectory = Trajectory(Task("t", "shop"), "do", Observation("start"), (Step("x", cheap),))
    assert objectives([0.0], [trajectory], {"price": 2.0}, Plain()) == [-1.0]
    further = trajectory.extended(Step("y", dear))
    assert objectives([0.0], [further], {"price": 2.0}, Plain()) == [-1.0]
    last = further.extended(Step("z", Observation("c", facts={"price": 60, "price_limit": 40.0})))
    assert objectives([0.0], [last], {"price": 2.0}, Plain()) == [-3.0]
    assert objectives([0.0], [walk(2)], {"price": 2.0}, Plain()) == [0.0]
    assert objectives([0.0], [walk(2, price=None)], {"price": 2.0}, Plain()) == [0.0]
    assert objectives([0.0], [walk(2, price=True)], {"price": 2.0}, Plain()) == [0.0]


@pytest.mark.parametrize("facts", [{}, {"price_limit": 0}, {"price_limit": "40"}])
def test_a_price_without_a_limit_names_the_environment(facts: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"shop states a price of 20 .*price_limit"):
        objectives([0.0], [walk(1, price=20, **facts)], {"price": 1.0}, Plain())


@pytest.mark.usefixtures("_own_penalties")
def test_a_registered_penalty_counts() -> None:
    register_penalty("words", lambda trajectory: len(trajectory.last.text.split()) / 4)
    assert objectives([1.0], [walk(1)], {"words": 2.0, "length": 1.0}, Plain()) == [0.4]


@pytest.mark.usefixtures("_own_penalties")
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_named(value: float) -> None:
    register_penalty("wild", lambda _: value)
    with pytest.raises(ConfigurationError, match="weight of penalty length is"):
        check_penalties({"length": value})
    with pytest.raises(ConfigurationError, match="penalty wild came out as"):
        objectives([0.0], [walk(1)], {"wild": 1.0}, Plain())
    with pytest.raises(ConfigurationError, match="score of reward model plain came out as"):
        objectives([value], [walk(1)], {}, Plain())
