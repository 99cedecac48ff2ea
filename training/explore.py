"""Explore: act in an environment without a goal.

An episode is played by the policy, by a random intent that the domain carries out, or by uniform
random actions; shares decide, drawn anew for each episode, and they are the strength of the
explorer. Everything is executed: an observation in a trajectory is what the environment showed.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from armap_agents.environment import Environment, restore
from armap_agents.errors import ConfigurationError, PolicyError, RestoreMismatch
from armap_agents.policy import Policy, PolicyFailure
from armap_agents.policy.narrowing import NARROW_ABOVE
from armap_agents.policy.prompts import Message
from armap_agents.policy.thoughts import cut, one_line
from armap_agents.training.domain import Choose, Domain
from armap_agents.trajectory import Status, Step, Task, Trajectory
from armap_agents.usage import Usage

MAX_STEPS = 30
"""Step limit where neither task nor caller states one."""

WRITTEN_INTENTS = 0.5
"""Share of the policy's episodes that follow an intent which an LLM wrote."""

OPENING_CHARACTERS = 2000
"""The most characters of an opening that are shown to the LLM that writes an intent."""

INTENT_CHARACTERS = 200

Player = Literal["policy", "intent", "uniform"]
"""Who picks the actions of an episode."""

EXPLORED: Mapping[Player, str] = {
    "policy": "explored by the policy",
    "intent": "explored by intents",
    "uniform": "explored uniformly",
}
"""What their episodes are counted as."""

_KIND = re.compile(r"[^\s\[]*")


@dataclass(frozen=True)
class Mixture:
    """Who explores.

    Attributes:
        policy: Share of the episodes that the policy plays, 0 to 1.
        uniform: Share that uniform random actions play; what is left follows random intents.
        temperatures: The policy's lowest and highest temperature; drawn between for each episode.
    """

    policy: float
    uniform: float
    temperatures: tuple[float, float]


async def opening(environment: Environment, task: Task) -> Trajectory:
    """Reset to a task and return the trajectory without steps."""
    observation = await environment.reset(task)
    instruction = task.instruction or str(getattr(environment, "instruction", ""))
    return Trajectory(task, instruction, observation)


async def extend(environment: Environment, trajectory: Trajectory, action: str) -> Trajectory:
    """Take an action in the environment that stands at the trajectory's end."""
    result = await environment.step(action)
    return trajectory.extended(Step(action, result.observation, result.done))


def step_limit(task: Task) -> int:
    """Return how many steps an episode may have."""
    return task.max_steps or MAX_STEPS


async def finish(environment: Environment, trajectory: Trajectory, choose: Choose) -> Trajectory:
    """Act until the episode or the step limit ends it."""
    while not trajectory.done and len(trajectory) < step_limit(trajectory.task):
        trajectory = await extend(environment, trajectory, await choose(trajectory))
    return stopped(trajectory)


def stopped(trajectory: Trajectory) -> Trajectory:
    """Return the trajectory as one that nothing follows."""
    return trajectory if trajectory.done else replace(trajectory, status=Status.LIMIT)


async def replay(environment: Environment, trajectory: Trajectory, k: int) -> Trajectory:
    """Bring the environment to the state after k steps and return that prefix.

    Its newest observation is the one just seen, valid actions included.

    Raises:
        RestoreMismatch: The environment shows something else than the trajectory has there.
    """
    prefix = trajectory.prefix(k)
    seen = await restore(environment, trajectory.task, prefix.actions)
    if seen.text != prefix.last.text:
        raise RestoreMismatch(
            f"task {trajectory.task.id}, step {k}: replayed to {seen.text[:60]!r}, recorded was "
            f"{prefix.last.text[:60]!r}: the environment is not deterministic"
        )
    if k == 0:
        return replace(prefix, observation=seen)
    newest = replace(prefix.steps[-1], observation=seen)
    return replace(prefix, steps=(*prefix.steps[:-1], newest))


def kind_of(action: str) -> str:
    """Return an action's verb: its first word, or what stands before its argument's bracket."""
    found = _KIND.match(action)
    return found[0] if found else ""


class LeastTried:
    """Uniform random actions, those taken least often at the same prefix first.

    Plain uniform draws revisit: this covers the openings of a task with as many episodes as it has
    first actions. From a list that is too long to be covered the verb is drawn first, so that one
    with hundreds of arguments does not crowd out the others.
    """

    def __init__(self) -> None:
        self._tried: Counter[tuple[str, ...]] = Counter()

    def note(self, trajectory: Trajectory) -> None:
        """Remember a whole episode's actions as tried."""
        done = tuple(trajectory.actions)
        for k, action in enumerate(done):
            self._tried[done[: k + 1]] += 1
            self._tried[*done[:k], f"{kind_of(action)} …"] += 1

    def chooser(self, rng: Random, otherwise: Choose) -> Choose:
        """Return a chooser of uniform random actions; `otherwise` serves where none is listed."""

        async def choose(trajectory: Trajectory) -> str:
            listed = trajectory.last.actions
            if not listed:
                return await otherwise(trajectory)
            done = tuple(trajectory.actions)
            if len(listed) > NARROW_ABOVE:
                kinds = defaultdict[str, list[str]](list)
                for action in listed:
                    kinds[f"{kind_of(action)} …"].append(action)
                listed = tuple(kinds[self._least(done, list(kinds), rng)])
            return self._least(done, listed, rng)

        return choose

    def _least(self, done: tuple[str, ...], choices: Sequence[str], rng: Random) -> str:
        fewest = min(self._tried[*done, choice] for choice in choices)
        return rng.choice([c for c in choices if self._tried[*done, c] == fewest])


def count_usage(counts: Counter[str], usage: Usage) -> None:
    """Add what a policy call cost to the counts."""
    for name in ("completions", "prompt_tokens", "completion_tokens", "failures"):
        counts[f"policy: {name.replace('_', ' ')}"] += getattr(usage, name)


def count_failure(counts: Counter[str], error: PolicyError) -> None:
    """Add what a failed policy call cost to the counts."""
    count_usage(counts, error.usage if isinstance(error, PolicyFailure) else Usage(failures=1))


async def write(
    writer: Policy,
    messages: list[Message],
    counts: Counter[str],
    *,
    temperature: float,
    max_tokens: int,
    seed: int,
) -> str:
    """Return what an LLM writes, and count what it costs.

    Raises:
        PolicyError: It failed, which is counted.
    """
    try:
        text, usage = await writer.write(
            messages, temperature=temperature, max_tokens=max_tokens, seed=seed
        )
    except PolicyError as error:
        count_failure(counts, error)
        raise
    count_usage(counts, usage)
    return text


def ask(
    environment: Environment,
    policy: Policy,
    temperature: float,
    seed: int,
    counts: Counter[str],
    instruction: str | None = None,
) -> Choose:
    """Return a chooser that samples each action from the policy and counts what it costs.

    Args:
        environment: Tells the policy the rules.
        policy: Is asked.
        temperature: The policy's.
        seed: The policy's.
        counts: Receives what it costs.
        instruction: Put to the policy in place of the trajectory's own.
    """
    guide = getattr(environment, "guide", None)

    async def choose(trajectory: Trajectory) -> str:
        if instruction is not None:
            trajectory = replace(trajectory, instruction=instruction)
        try:
            answer = await policy.act(trajectory, guide=guide, temperature=temperature, seed=seed)
        except PolicyError as error:
            count_failure(counts, error)
            raise
        count_usage(counts, answer.usage)
        return answer.action

    return choose


def intent_prompt(start: Trajectory) -> list[Message]:
    """Return the messages that ask what one could do in a world that nobody has a plan for."""
    shown = cut(start.observation.text, OPENING_CHARACTERS)
    text = (
        f"This is what someone sees who may do as they like here:\n\n{shown}\n\n"
        "Write one thing that they could try to get done, as an instruction in one short line."
    )
    return [{"role": "user", "content": text}]


async def written_intent(
    start: Trajectory, writer: Policy, rng: Random, counts: Counter[str]
) -> str | None:
    """Return an intent that an LLM wrote, None where it failed or wrote nothing."""
    seed = rng.randrange(2**31)
    try:
        text = await write(
            writer, intent_prompt(start), counts, temperature=1.0, max_tokens=48, seed=seed
        )
    except PolicyError:
        return None
    lines = [one_line(line, INTENT_CHARACTERS) for line in text.splitlines()]
    return next(filter(None, lines), None)


class Explorer:
    """Plays episodes of one task.

    Args:
        domain: Carries out random intents.
        mixture: Who plays how many of the episodes.
        counts: Receives what the policy cost.
        policy: Plays its share.
        writer: Writes intents for the policy.
    """

    def __init__(
        self,
        domain: Domain,
        mixture: Mixture,
        counts: Counter[str],
        policy: Policy | None = None,
        writer: Policy | None = None,
    ) -> None:
        self._domain = domain
        self._mixture = mixture
        self._counts = counts
        self._policy = policy
        self._writer = writer
        self._uniform = LeastTried()

    def draw(self, rng: Random) -> Player:
        """Draw who plays the next episode."""
        drawn = rng.random()
        if self._policy is not None and drawn < self._mixture.policy:
            return "policy"
        played = self._mixture.policy if self._policy is not None else 0.0
        return "uniform" if drawn < played + self._mixture.uniform else "intent"

    async def play(
        self, environment: Environment, task: Task, player: Player, seed: int
    ) -> Trajectory:
        """Play an episode; the same seed plays the same one, as far as no policy is asked.

        Raises:
            PolicyError: The policy failed.
            EnvironmentFailure: The environment failed.
            ConfigurationError: The environment lists no actions and the domain knows none.
        """
        rng = Random(seed)
        start = await opening(environment, task)
        if player == "policy":
            choose = await self._policy_chooser(environment, start, rng)
        else:
            choose = self._domain.intent(start, rng)
        if player == "uniform":
            choose = self._uniform.chooser(rng, choose)
        played = await finish(environment, start, choose)
        if player == "uniform":
            self._uniform.note(played)
        return played

    async def _policy_chooser(
        self, environment: Environment, start: Trajectory, rng: Random
    ) -> Choose:
        if self._policy is None:
            raise ConfigurationError("no policy was given: leave out the share that it explores")
        temperature, intent = rng.uniform(*self._mixture.temperatures), None
        if self._writer is not None and rng.random() < WRITTEN_INTENTS:
            intent = await written_intent(start, self._writer, rng, self._counts)
            self._counts["intents written by the LLM"] += intent is not None
        seed = rng.randrange(2**31)
        return ask(environment, self._policy, temperature, seed, self._counts, intent)
