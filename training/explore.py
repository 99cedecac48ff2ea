"""Explore: act in an environment without a goal, and see how prefixes continue.

Episodes come from uniform random actions, the least tried first, and from the policy; a share
decides. Everything is executed: an observation in a trajectory is what the environment showed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from random import Random

from armap_agents.environment import Environment, restore
from armap_agents.errors import ConfigurationError, EnvironmentFailure, PolicyError
from armap_agents.policy import Policy, PolicyFailure
from armap_agents.trajectory import Status, Step, Task, Trajectory
from armap_agents.usage import Usage

MAX_STEPS = 30
"""Step limit where neither task nor caller states one."""

BY_POLICY = "explored by the policy"
LOST_POLICY = "lost: the policy failed"
LOST_ENVIRONMENT = "lost: the environment failed"

Choose = Callable[[Trajectory], Awaitable[str]]
"""Picks the next action of an open trajectory."""


@dataclass(frozen=True)
class Continuations:
    """How executed random continuations of a prefix ended.

    Attributes:
        count: K, how many were played.
        successes: How many fulfilled the instruction.
        example: The actions of the first successful one, None without any.
    """

    count: int
    successes: int
    example: tuple[str, ...] | None


async def opening(environment: Environment, task: Task) -> Trajectory:
    """Reset to a task and return the trajectory without steps."""
    observation = await environment.reset(task)
    instruction = task.instruction or str(getattr(environment, "instruction", ""))
    return Trajectory(task, instruction, observation)


async def extend(environment: Environment, trajectory: Trajectory, action: str) -> Trajectory:
    """Take an action in the environment that stands at the trajectory's end."""
    result = await environment.step(action)
    return trajectory.extended(Step(action, result.observation, result.done))


async def finish(environment: Environment, trajectory: Trajectory, choose: Choose) -> Trajectory:
    """Act until the episode or the step limit ends it."""
    limit = trajectory.task.max_steps or MAX_STEPS
    while not trajectory.done and len(trajectory) < limit:
        trajectory = await extend(environment, trajectory, await choose(trajectory))
    return trajectory if trajectory.done else replace(trajectory, status=Status.LIMIT)


async def replay(environment: Environment, trajectory: Trajectory, k: int) -> Trajectory:
    """Bring the environment to the state after k steps and return that prefix.

    Its newest observation is the one just seen, valid actions included.
    """
    prefix = trajectory.prefix(k)
    seen = await restore(environment, trajectory.task, prefix.actions)
    if k == 0:
        return replace(prefix, observation=seen)
    newest = replace(prefix.steps[-1], observation=seen)
    return replace(prefix, steps=(*prefix.steps[:-1], newest))


class LeastTried:
    """Uniform random actions, those taken least often at the same prefix first.

    Plain uniform draws revisit: this covers the openings of a puzzle with as many episodes as it
    has first actions.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._tried: Counter[tuple[str, ...]] = Counter()

    async def __call__(self, trajectory: Trajectory) -> str:
        """Pick an action that the newest observation lists.

        Raises:
            ConfigurationError: It lists none although the episode goes on.
        """
        listed = trajectory.last.actions
        if not listed:
            raise ConfigurationError(
                f"{trajectory.task.environment} lists no action: exploring at random needs an "
                "environment that does"
            )
        done = tuple(trajectory.actions)
        fewest = min(self._tried[*done, action] for action in listed)
        action = self._rng.choice([a for a in listed if self._tried[*done, a] == fewest])
        self._tried[*done, action] += 1
        return action


def count_usage(counts: Counter[str], usage: Usage) -> None:
    """Add what a policy call cost to the counts."""
    for name in ("completions", "prompt_tokens", "completion_tokens", "failures"):
        counts[f"policy: {name.replace('_', ' ')}"] += getattr(usage, name)


def count_failure(counts: Counter[str], error: PolicyError) -> None:
    """Add what a failed policy call cost to the counts."""
    count_usage(counts, error.usage if isinstance(error, PolicyFailure) else Usage(failures=1))


def ask(
    environment: Environment, policy: Policy, temperature: float, seed: int, counts: Counter[str]
) -> Choose:
    """Return a chooser that samples each action from the policy and counts what it costs."""
    guide = getattr(environment, "guide", None)

    async def choose(trajectory: Trajectory) -> str:
        try:
            answer = await policy.act(trajectory, guide=guide, temperature=temperature, seed=seed)
        except PolicyError as error:
            count_failure(counts, error)
            raise
        count_usage(counts, answer.usage)
        return answer.action

    return choose


async def explore(
    environment: Environment,
    task: Task,
    episodes: int,
    rng: Random,
    counts: Counter[str],
    policy: Policy | None = None,
    policy_share: float = 0.0,
    temperature: float = 1.0,
) -> list[Trajectory]:
    """Play episodes of one task, each by the policy or at random.

    Args:
        environment: Where to act; used for one episode after the other.
        task: What to start from.
        episodes: How many to play.
        rng: Draws everything that is random here.
        counts: Receives what was played, what was lost and what the policy cost.
        policy: Plays a share of the episodes.
        policy_share: Chance that the policy plays an episode, 0 to 1.
        temperature: The policy's.

    Returns:
        The episodes; one in which the policy or the environment fails is lost alone.
    """
    at_random = LeastTried(rng)
    played = []
    for _ in range(episodes):
        choose: Choose = at_random
        if policy is not None and rng.random() < policy_share:
            choose = ask(environment, policy, temperature, rng.randrange(2**31), counts)
        try:
            played.append(await finish(environment, await opening(environment, task), choose))
        except PolicyError:
            counts[LOST_POLICY] += 1
        except EnvironmentFailure:
            counts[LOST_ENVIRONMENT] += 1
        else:
            counts["explored"] += 1
            if choose is not at_random:
                counts[BY_POLICY] += 1
    return played
