"""Rewards bent at inference time: the reward model's score minus weighted penalties.

objective = (score − μ)/σ − Σ weight·penalty, with μ and σ of the model's scores on held-out
training data, so that a weight means the same under every model (ARMAP, arXiv 2502.12130, section
on custom reward targets): length=0.3 gives up 0.3 standard deviations of the score to save a whole
episode of steps. The objective is what every planner backs up and compares. `as_probability` puts
it on the scale of prefix values. Penalties lie in [0, 1] by convention; `register_penalty` adds
yours. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite, tanh
from typing import Any, TypeGuard

from armap_agents.errors import ConfigurationError
from armap_agents.reward_model import RewardModel
from armap_agents.trajectory import Trajectory

Penalty = Callable[[Trajectory], float]

DEFAULT_LIMIT = 30
"""Step limit assumed for a task that names none."""


def length_penalty(trajectory: Trajectory) -> float:
    """Return steps taken / step limit."""
    return len(trajectory) / (trajectory.task.max_steps or DEFAULT_LIMIT)


def price_penalty(trajectory: Trajectory) -> float:
    """Return price / price limit, as the newest observation that has a price states them.

    An environment that sells puts two numbers into ``Observation.facts``: ``price``, and
    ``price_limit``, the instruction's upper price or, where it names none, the catalogue's median.
    A trajectory that never met a price has penalty 0, one above the limit more than 1.

    Raises:
        ConfigurationError: There is a price without a limit above 0.
    """
    observations = [trajectory.observation, *(step.observation for step in trajectory.steps)]
    for observation in reversed(observations):
        price, limit = observation.facts.get("price"), observation.facts.get("price_limit")
        if not _is_number(price):
            continue
        if not _is_number(limit) or not limit > 0:
            raise ConfigurationError(
                f"{trajectory.task.environment} states a price of {price:g} and the limit "
                f"{limit!r}: give facts['price_limit'] a number above 0, or leave the penalty "
                "price out"
            )
        return price / limit
    return 0.0


_penalties: dict[str, Penalty] = {"length": length_penalty, "price": price_penalty}


def register_penalty(name: str, function: Penalty) -> None:
    """Let ``objective={name: weight}`` take ``weight * function(trajectory)`` off the score."""
    _penalties[name] = function


def check_penalties(weights: Mapping[str, float]) -> None:
    """Raise `ConfigurationError` where a penalty's name is unknown or its weight not finite."""
    unknown = sorted(set(weights) - set(_penalties))
    if unknown:
        raise ConfigurationError(
            f"no penalty is called {', '.join(unknown)}: use {', '.join(sorted(_penalties))}, or "
            "register_penalty(name, function)"
        )
    for name, weight in weights.items():
        if not isfinite(weight):
            raise ConfigurationError(f"the weight of penalty {name} is {weight}: use a number")


def objectives(
    scores: Sequence[float],
    trajectories: Sequence[Trajectory],
    weights: Mapping[str, float],
    model: RewardModel,
) -> list[float]:
    """Return each trajectory's objective; without weights this is the standardised score.

    objective = (score − μ)/σ − Σ weight·penalty(trajectory)

    Args:
        scores: The model's score of each trajectory.
        trajectories: The trajectories, same length.
        weights: Penalty name → weight.
        model: Its `mean` and `std`, where it has them, are μ and σ (else 0 and 1).

    Raises:
        ConfigurationError: A penalty is unknown; a weight, a penalty or a score is not finite.
    """
    check_penalties(weights)
    mean, std = _scale(model)
    return [
        (_finite(score, f"score of reward model {model.fingerprint}") - mean) / std
        - sum(weight * _penalty(name, trajectory) for name, weight in weights.items())
        for score, trajectory in zip(scores, trajectories, strict=True)
    ]


def calibrated(model: RewardModel) -> bool:
    """Return whether the model says how likely a score is a success."""
    return callable(getattr(model, "probability", None))


def pass_probabilities(scores: Sequence[float], model: RewardModel) -> list[float]:
    """Return the calibrated chance of success at each raw score.

    Args:
        scores: On the model's own scale.
        model: A `calibrated` one.

    Raises:
        ConfigurationError: The model gave something that is no probability.
    """
    found: list[float] = [float(p) for p in model.probability(list(scores))]  # type: ignore[attr-defined]
    for p in found:
        if not 0.0 <= p <= 1.0:
            raise ConfigurationError(
                f"reward model {model.fingerprint} gave {p} as a probability: calibrate it again"
            )
    return found


def as_probability(objectives: Sequence[float], model: RewardModel) -> list[float]:
    """Return objectives on the scale of prefix values, which a search mixes them with.

    Prefix values are probabilities, and raw scores of different depths share no scale, so both
    sides of λ·V + (1 − λ)·result have to be probabilities. A calibrated model gives
    probability(μ + σ·objective): the chance of success at the score that the objective amounts to,
    so that penalties count in units of the score. Any other gives 1/(1 + exp(−objective)): under a
    Bradley–Terry model with σ = 1 the chance of beating an average trajectory; monotone, so that it
    changes no comparison of objectives.

    Args:
        objectives: Values of `objectives`.
        model: The model that they were computed with.

    Raises:
        ConfigurationError: The model gave something that is no probability.
    """
    if calibrated(model):
        mean, std = _scale(model)
        return pass_probabilities([mean + std * value for value in objectives], model)
    return [0.5 * (1.0 + tanh(value / 2.0)) for value in objectives]  # exp would overflow


def _scale(model: RewardModel) -> tuple[float, float]:
    """Return μ and σ of the model's scores."""
    return float(getattr(model, "mean", 0.0)), float(getattr(model, "std", 1.0)) or 1.0


def _penalty(name: str, trajectory: Trajectory) -> float:
    return _finite(_penalties[name](trajectory), f"penalty {name}")


def _finite(value: float, what: str) -> float:
    if not isfinite(value):
        raise ConfigurationError(f"{what} came out as {value}: make it return a finite number")
    return value


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
