"""Rewards bent at inference time: the reward model's score minus weighted penalties.

objective = (score − μ)/σ − Σ weight·penalty, with μ and σ of the model's scores on held-out
training data, so that a weight means the same under every model (ARMAP, arXiv 2502.12130, section
on custom reward targets). Penalties lie in [0, 1] by convention; `register_penalty` adds yours.
Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from armap_agents.errors import ConfigurationError
from armap_agents.reward_model import RewardModel
from armap_agents.trajectory import Trajectory

Penalty = Callable[[Trajectory], float]

DEFAULT_LIMIT = 30
"""Step limit assumed for a task that names none."""


def length_penalty(trajectory: Trajectory) -> float:
    """Return steps taken / step limit."""
    return len(trajectory) / (trajectory.task.max_steps or DEFAULT_LIMIT)


_penalties: dict[str, Penalty] = {"length": length_penalty}


def register_penalty(name: str, function: Penalty) -> None:
    """Let ``objective={name: weight}`` take ``weight * function(trajectory)`` off the score."""
    _penalties[name] = function


def check_penalties(weights: Mapping[str, float]) -> None:
    """Raise `ConfigurationError` where a penalty's name is unknown."""
    unknown = sorted(set(weights) - set(_penalties))
    if unknown:
        raise ConfigurationError(
            f"no penalty is called {', '.join(unknown)}: use {', '.join(sorted(_penalties))}, or "
            "register_penalty(name, function)"
        )


def objectives(
    scores: Sequence[float],
    trajectories: Sequence[Trajectory],
    weights: Mapping[str, float],
    model: RewardModel,
) -> list[float]:
    """Return each trajectory's objective; without weights this is the standardised score.

    Args:
        scores: The model's score of each trajectory.
        trajectories: The trajectories, same length.
        weights: Penalty name → weight.
        model: Its `mean` and `std`, where it has them, are μ and σ (else 0 and 1).
    """
    check_penalties(weights)
    mean = float(getattr(model, "mean", 0.0))
    std = float(getattr(model, "std", 1.0)) or 1.0
    return [
        (score - mean) / std
        - sum(weight * _penalties[name](trajectory) for name, weight in weights.items())
        for score, trajectory in zip(scores, trajectories, strict=True)
    ]
