"""Generate a data folder: explore → refine → corrupt → pairs and values, task by task.

A task is the unit of work: it is explored, its good trajectories get an instruction, corrupted
copies are executed, and all of its records are written together. A run that was killed goes on with
the first task that is not written. Without a policy the files depend on the configuration alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from armap_agents.environment import Environment
from armap_agents.errors import EnvironmentFailure, PolicyError
from armap_agents.locks import only_writer
from armap_agents.policy import Policy
from armap_agents.pool import DEFAULT_POOL_SIZE
from armap_agents.training.corrupt import another_action, corrupt
from armap_agents.training.domain import Domain
from armap_agents.training.explore import (
    LOST_ENVIRONMENT,
    LOST_POLICY,
    Choose,
    Continuations,
    ask,
    explore,
    finish,
    replay,
)
from armap_agents.training.folder import DataFolder, Unit
from armap_agents.training.records import Pair, PrefixValue, Source, bare
from armap_agents.training.refine import refine
from armap_agents.trajectory import Task, Trajectory

EPISODES = 12
"""Least episodes a task: fewer tasks are explored rather than each of them too thinly."""


@dataclass(frozen=True)
class GenerateConfig:
    """What a data folder is made with; the same configuration resumes it.

    Attributes:
        trajectories: Episodes to explore, over all tasks.
        seed: Seeds everything random.
        policy_model: Name of the policy's model, None to explore at random alone.
        policy_share: Share of the episodes, instructions and corruptions that the policy makes.
        temperature: The policy's.
        continuations: K after the first step; later prefixes have fewer ways to go on and get a
            quarter of it per further step, at least 64.
        negatives: Wanted per good prefix; half of them share all but the last step with it.
    """

    trajectories: int = 20_000
    seed: int = 0
    policy_model: str | None = None
    policy_share: float = 0.02
    temperature: float = 1.0
    continuations: int = 256
    negatives: int = 4


class TaskGenerator:
    """Makes the records of one task."""

    def __init__(
        self,
        domain: Domain,
        environment: Environment,
        task: Task,
        config: GenerateConfig,
        episodes: int,
        policy: Policy | None,
    ) -> None:
        self.domain = domain
        self.environment = environment
        self.task = task
        self.config = config
        self.episodes = episodes
        self.policy = policy
        self.rng = Random(f"{config.seed} {task.id}")
        self.unit = Unit()

    async def run(self) -> Unit:
        """Explore, refine, corrupt."""
        counts = self.unit.counts
        counts.update({"explored": 0, LOST_POLICY: 0, LOST_ENVIRONMENT: 0})
        played = await explore(
            self.environment,
            self.task,
            self.episodes,
            self.rng,
            counts,
            self.policy,
            self.config.policy_share,
            self.config.temperature,
        )
        explored = [bare(trajectory) for trajectory in played]
        for positive in await self._positives(explored):
            refined = await refine(self.domain, positive, self._asked(), self.config.seed, counts)
            if refined is None:
                counts["dropped: no instruction fits"] += 1
                continue
            text, worded = refined
            counts[f"instructions: {worded}"] += 1
            for k in range(1, len(positive) + 1):
                await self._pairs(positive, k, text, explored)
        for trajectory in explored:
            for k in range(1, len(trajectory)):
                self._value(trajectory, k, trajectory.instruction)
        return self.unit

    def _asked(self) -> Policy | None:
        """Return the policy in its share of the cases."""
        return self.policy if self.rng.random() < self.config.policy_share else None

    async def _positives(self, explored: list[Trajectory]) -> list[Trajectory]:
        """Return episodes worth an instruction: successes, and ones found by continuing."""
        found: dict[tuple[str, ...], Trajectory] = {}
        for trajectory in explored:
            if trajectory.done and self.domain.fulfils(trajectory, trajectory.instruction):
                found.setdefault(tuple(trajectory.actions[:1]), trajectory)
        for trajectory in explored:
            key = tuple(trajectory.actions[:1])
            if key in found or len(trajectory) < 2:
                continue
            example = self._continuations(trajectory, 1, trajectory.instruction).example
            if example is not None:
                try:
                    found[key] = await self._execute(trajectory, 1, example)
                except EnvironmentFailure:
                    self.unit.counts[LOST_ENVIRONMENT] += 1
        self.unit.counts["positives"] += len(found)
        return list(found.values())

    async def _execute(
        self, trajectory: Trajectory, k: int, actions: tuple[str, ...]
    ) -> Trajectory:
        prefix = await replay(self.environment, trajectory, k)

        async def choose(current: Trajectory) -> str:
            return actions[len(current) - k]

        return bare(await finish(self.environment, prefix, choose))

    async def _pairs(
        self, positive: Trajectory, k: int, text: str, explored: list[Trajectory]
    ) -> None:
        """Pair the first k steps of a good trajectory with worse prefixes of the same length."""
        sharing = self.config.negatives - self.config.negatives // 2
        made, tried = 0, set[str]()
        while made < sharing:
            choose = another_action(positive, k, tried, self.rng)
            negative = await self._corrupted(positive, k, choose)
            if negative is None:
                break
            tried.add(negative.actions[k - 1])
            made += self._pair(positive, bare(negative), k, text, "perturb")
        policy = self._asked()
        if policy is not None:
            await self._policy_pair(policy, positive, k, text)
        shared = max(1, k - 1)
        others = [
            t for t in explored if len(t) >= k and t.actions[:shared] != positive.actions[:shared]
        ]
        self.rng.shuffle(others)
        made = 0
        for negative in others:
            if made == self.config.negatives // 2:
                break
            made += self._pair(positive, negative, k, text, "perturb")

    async def _policy_pair(self, policy: Policy, positive: Trajectory, k: int, text: str) -> None:
        """Let the policy write the wrong action."""
        seed, counts = self.rng.randrange(2**31), self.unit.counts
        choose = ask(self.environment, policy, self.config.temperature, seed, counts)
        negative = await self._corrupted(positive, k, choose)
        if negative is not None:
            self._pair(positive, bare(negative), k, text, "llm")

    async def _corrupted(self, positive: Trajectory, k: int, choose: Choose) -> Trajectory | None:
        """Return what `corrupt` makes, None where the policy or the environment failed."""
        try:
            return await corrupt(self.environment, positive, k, choose, self.rng)
        except PolicyError:
            self.unit.counts[LOST_POLICY] += 1
        except EnvironmentFailure:
            self.unit.counts[LOST_ENVIRONMENT] += 1
        return None

    def _pair(
        self, positive: Trajectory, negative: Trajectory, k: int, text: str, source: Source
    ) -> bool:
        """Add a pair unless the negative may be good too; say whether it was added."""
        counts = self.unit.counts
        counts["negatives tried"] += 1
        good, bad = _seen(positive, k), _seen(negative, k)
        if good == bad:
            counts["dropped: no effect"] += 1
            return False
        if k == len(negative) and self.domain.fulfils(negative, text):
            counts["dropped: fulfils the instruction"] += 1
            return False
        if k < len(negative) and self._value(negative, k, text).successes:
            counts["dropped: can still succeed"] += 1
            return False
        for trajectory in (positive, negative):
            self._value(trajectory, k, text)
        key = (text, k, good, bad)
        if key in self.unit.pairs:
            counts["dropped: duplicate"] += 1
            return False
        self.unit.pairs[key] = Pair(
            environment=self.domain.environment,
            instruction=text,
            chosen=self._keep(positive),
            chosen_steps=k,
            rejected=self._keep(negative),
            rejected_steps=k,
            task=self.task.id,
            source=source,
        )
        counts[f"pairs at {k} steps"] += 1
        return True

    def _value(self, trajectory: Trajectory, k: int, text: str) -> Continuations:
        """Return how the first k steps go on, noting it once per state and instruction."""
        returns = self._continuations(trajectory, k, text)
        key = (text, _seen(trajectory, k))
        if key not in self.unit.values:
            self.unit.values[key] = PrefixValue(
                environment=self.domain.environment,
                instruction=text,
                trajectory=self._keep(trajectory),
                steps=k,
                continuations=returns.count,
                successes=returns.successes,
                task=self.task.id,
            )
        return returns

    def _continuations(self, trajectory: Trajectory, k: int, text: str) -> Continuations:
        if k == len(trajectory) and trajectory.done:
            return Continuations(1, int(self.domain.fulfils(trajectory, text)), None)
        count = max(64, self.config.continuations // 4 ** (k - 1))
        return self.domain.continuations(trajectory.prefix(k), text, count, self.config.seed)

    def _keep(self, trajectory: Trajectory) -> str:
        self.unit.trajectories.setdefault(trajectory.id, trajectory)
        return trajectory.id


def _seen(trajectory: Trajectory, k: int) -> str:
    """Return what the agent saw after k steps."""
    return (trajectory.steps[k - 1].observation if k else trajectory.observation).text


async def generate_data(
    domain: Domain,
    make: Callable[[], Environment],
    out: Path,
    config: GenerateConfig,
    policy: Policy | None = None,
    progress: Callable[[int, int, Counter[str]], None] = lambda *_: None,
    concurrency: int = 128,
) -> dict[str, Any]:
    """Make or complete a data folder.

    Args:
        domain: What generation knows about the environment.
        make: Makes an environment; one serves one task at a time.
        out: The data folder.
        config: What to make; a folder begun with another configuration is refused.
        policy: Explores, writes instructions and wrong actions where given.
        progress: Called with tasks done, tasks in all and the counts so far.
        concurrency: Tasks side by side where a policy makes them wait, as many as environments
            may be alive; one without.

    Returns:
        The report, as written to ``report.json``.

    Raises:
        ConfigurationError: `out` holds data of another configuration, or is being written.
    """
    tasks = domain.tasks()
    Random(config.seed).shuffle(tasks)
    episodes = max(EPISODES, -(-config.trajectories // len(tasks)))
    tasks = tasks[: max(1, config.trajectories // episodes)]
    with only_writer(out):
        folder = DataFolder(out, domain.environment, asdict(config))
        async with AsyncExitStack() as opened:
            opened.callback(folder.close)
            environments = [make()]
            if policy is not None:
                size = int(getattr(environments[0], "pool_size", DEFAULT_POOL_SIZE))
                environments += [make() for _ in range(min(concurrency, size) - 1)]
            width = len(environments)
            for environment in environments:
                opened.push_async_callback(environment.close)
            todo = [task for task in tasks if task.id not in folder.done]
            progress(len(folder.done), len(tasks), folder.counts)
            for start in range(0, len(todo), width):
                batch = todo[start : start + width]
                units = await _side_by_side(
                    [
                        TaskGenerator(domain, environment, task, config, episodes, policy)
                        for environment, task in zip(environments, batch, strict=False)
                    ]
                )
                for task, unit in zip(batch, units, strict=True):
                    folder.append(task.id, unit)
                progress(len(folder.done), len(tasks), folder.counts)
            return folder.report(len(tasks), episodes)


async def _side_by_side(generators: Sequence[TaskGenerator]) -> list[Unit]:
    """Make the records of several tasks; the first error ends them all."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(generator.run()) for generator in generators]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in running]
