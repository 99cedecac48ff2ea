"""Corrupt: execute a good trajectory with something done wrong.

A negative's observations are the environment's own, never edited text. What has become impossible
is left out; should the episode then not come to its end, as many random actions are taken instead.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from random import Random

from armap_agents.environment import Environment
from armap_agents.training.domain import Corruption
from armap_agents.training.explore import extend, replay, step_limit, stopped
from armap_agents.trajectory import Observation, Trajectory

_HOLE = re.compile(r"\\{\w*\\}")
"""A hole of an escaped template."""


def parting(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many leading actions two episodes share."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((k for k, (a, b) in pairs if a != b), min(len(one), len(other)))


def is_possible(action: str, observation: Observation) -> bool:
    """Whether an observation allows an action, as far as it says what it allows."""
    if observation.actions is None and not observation.templates:
        return True
    return action in (observation.actions or ()) or any(
        re.fullmatch(_HOLE.sub(".+", re.escape(template)), action)
        for template in observation.templates
    )


async def execute(
    environment: Environment, positive: Trajectory, actions: Sequence[str], rng: Random
) -> Trajectory:
    """Execute other actions in the place of a trajectory's.

    Args:
        environment: Where to execute them.
        positive: An executed trajectory; the beginning that it shares is not executed again where
            the environment can be restored at once.
        actions: Everything to do, from the start of the episode.
        rng: Draws what is done in place of what has become impossible.

    Returns:
        The trajectory as far as actions, the episode and the step limit go.
    """
    shared = parting(actions, positive.actions)
    trajectory = await replay(environment, positive, shared)
    limit = step_limit(positive.task)
    left_out = 0
    for action in actions[shared:]:
        if trajectory.done or len(trajectory) >= limit:
            break
        if is_possible(action, trajectory.last):
            trajectory = await extend(environment, trajectory, action)
        else:
            left_out += 1
    while left_out and not trajectory.done and len(trajectory) < limit and trajectory.last.actions:
        action = rng.choice(trajectory.last.actions)
        trajectory = await extend(environment, trajectory, action)
        left_out -= 1
    return stopped(trajectory)


def by_turns(corruptions: Sequence[Corruption]) -> list[Corruption]:
    """Return corruptions with their kinds taking turns, so that a few of them are of many kinds."""
    turns: Counter[str] = Counter()
    ranked = defaultdict[int, list[Corruption]](list)
    for corruption in corruptions:
        ranked[turns[corruption.kind]].append(corruption)
        turns[corruption.kind] += 1
    return [corruption for turn in sorted(ranked) for corruption in ranked[turn]]
