"""Corrupt: change one action of a good trajectory and execute what follows.

The changed trajectory's observations are the environment's own, never edited text. What follows the
changed action are the original actions where they are still possible, random ones elsewhere.
"""

from __future__ import annotations

from random import Random

from armap_agents.environment import Environment
from armap_agents.training.explore import Choose, extend, finish, replay
from armap_agents.trajectory import Trajectory


async def corrupt(
    environment: Environment, positive: Trajectory, k: int, choose: Choose, rng: Random
) -> Trajectory | None:
    """Execute `positive` with another action at step `k`, counted from 1.

    Args:
        environment: Where to execute it.
        positive: A finished trajectory; its first k−1 steps are kept.
        k: The step to change, 1 ≤ k ≤ len(positive).
        choose: Picks the other action (a policy), asked once.
        rng: Draws the actions after it where the original ones are impossible.

    Returns:
        The finished trajectory, or None where the same action was picked.
    """
    prefix = await replay(environment, positive, k - 1)
    action = await choose(prefix)
    if action == positive.steps[k - 1].action:
        return None
    changed = await extend(environment, prefix, action)
    later = positive.actions[k:]

    async def go_on(trajectory: Trajectory) -> str:
        listed = trajectory.last.actions or ()
        wanted = later[len(trajectory) - k] if len(trajectory) - k < len(later) else None
        return wanted if wanted in listed else rng.choice(listed)

    return await finish(environment, changed, go_on)


def another_action(positive: Trajectory, k: int, tried: set[str], rng: Random) -> Choose:
    """Return a chooser of a uniform random listed action that is neither step k's nor in `tried`.

    It returns step k's own action where no other is left, which `corrupt` answers with None.
    """

    async def choose(trajectory: Trajectory) -> str:
        own = positive.steps[k - 1].action
        listed = trajectory.last.actions or ()
        others = [action for action in listed if action != own and action not in tried]
        return rng.choice(others) if others else own

    return choose
