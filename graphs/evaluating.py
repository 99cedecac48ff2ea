"""What the reward model says of an iteration's trajectories, all in one batch.

Finished trajectories get a score and an objective, prefixes that are still open a value. While
prefix values are in play (λ > 0) results are probabilities too, since only such mix; else they are
objectives, as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from armap_agents.errors import ConfigurationError
from armap_agents.graphs.nodes import asked_once, scored
from armap_agents.graphs.rollout import Emit
from armap_agents.reward.objectives import as_probability, objectives
from armap_agents.reward_model import RewardModel
from armap_agents.trace import Journal
from armap_agents.trajectory import Trajectory

VALUE_WEIGHT = 0.5
"""λ where nobody says otherwise and the reward model gives prefix values."""


def weight_of_values(model: RewardModel, asked: float | None) -> float:
    """Return λ.

    Raises:
        ConfigurationError: Prefix values are asked for and the model has none.
    """
    able = hasattr(model, "avalue")
    if asked is None:
        return VALUE_WEIGHT if able else 0.0
    if asked > 0 and not able:
        raise ConfigurationError(
            "this reward model gives no prefix values (`avalue`): set value_weight to 0, or use "
            "one that `armap train` wrote"
        )
    return asked


async def evaluate(
    model: RewardModel,
    penalties: Mapping[str, float],
    value_weight: float,
    finished: Mapping[str, Trajectory],
    prefixes: Mapping[str, Trajectory],
    journal: Journal,
    emit: Emit,
) -> dict[str, dict[str, Any]]:
    """Return score, objective, value and result by node, each None where it does not apply.

    Args:
        model: The reward model.
        penalties: Weights of the objective's penalties.
        value_weight: λ.
        finished: Finished trajectories by node.
        prefixes: Open states by node, to be valued.
        journal: The run's.
        emit: Takes live events.
    """
    nothing = {"score": None, "objective": None, "value": None, "result": None}
    rewards: dict[str, dict[str, Any]] = {node: dict(nothing) for node in (*finished, *prefixes)}
    trajectories = list(finished.values())
    scores, values = await asyncio.gather(
        scored(model, trajectories, journal, emit),
        _valued(model, list(prefixes.values()), journal, emit),
    )
    aims = objectives(scores, trajectories, penalties, model)
    results = as_probability(aims, model) if value_weight > 0 else aims
    for node, score, objective, result in zip(finished, scores, aims, results, strict=True):
        rewards[node] |= {"score": score, "objective": objective, "result": result}
    for node, value in zip(prefixes, values, strict=True):
        rewards[node]["value"] = value
    return rewards


async def _valued(
    model: Any, prefixes: list[Trajectory], journal: Journal, emit: Emit
) -> list[float]:
    """Return the value of each prefix, from the journal if it is there."""
    if not prefixes:  # only then need the model have values
        return []
    names = ("value", "prefixes", "values")
    return await asked_once(names, model.avalue, model.fingerprint, prefixes, journal, emit)
