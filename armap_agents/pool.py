"""The pool that leases environments and brings them to the state a planner asks for.

A state is (task, steps). A lease picks the idle environment whose history shares the longest prefix
with what is asked, lets it catch up, and compares every observation that the catching up shows with
the recorded one: a state that came out differently is an error of that rollout, never silent. What
a lease hands out has no `true_score`: planners cannot reach it. An environment that raised, or was
interrupted in the middle of a step, is closed and replaced; its siblings go on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from armap_agents.environment import Environment, Guide, StepResult, restore
from armap_agents.errors import ConfigurationError, EnvironmentFailure, RestoreMismatch
from armap_agents.trajectory import Observation, Step, Task, Trajectory

DEFAULT_POOL_SIZE = 8


@dataclass(eq=False)
class _Slot:
    """An environment and the episode that it is in."""

    environment: Environment
    task: Task | None = None
    opening: Observation | None = None
    steps: list[Step] = field(default_factory=list)
    broken: bool = False
    """Set while a call into the environment is under way; left set by one that never returns."""

    @property
    def alive(self) -> bool:
        """Whether the process behind the environment, where there is one, still runs."""
        return bool(getattr(self.environment, "alive", True))

    def shared(self, task: Task, prefix: Trajectory | None) -> int:
        """Number of leading steps in common with what is asked for; −1 for another episode."""
        if self.task != task or self.opening is None:
            return -1
        if prefix is None:
            return 0
        if self.opening.fingerprint != prefix.observation.fingerprint:
            return -1
        k = 0
        for mine, theirs in zip(self.steps, prefix.steps, strict=False):
            if (mine.action, mine.observation.fingerprint, mine.done) != (
                theirs.action,
                theirs.observation.fingerprint,
                theirs.done,
            ):
                break
            k += 1
        return k

    async def reset(self, task: Task) -> Observation:
        """Begin an episode of `task`."""
        self.broken = True
        self.opening = await self.environment.reset(task)
        self.task, self.steps, self.broken = task, [], False
        return self.opening

    async def step(self, action: str) -> StepResult:
        """Take an action and remember where it led."""
        self.broken = True
        result = await self.environment.step(action)
        self.steps.append(Step(action, result.observation, result.done))
        self.broken = False
        return result

    async def restore(self, prefix: Trajectory) -> Observation:
        """Go to the end of `prefix` by the environment's own means."""
        self.broken = True
        observation = await restore(self.environment, prefix.task, prefix.actions)
        self.task, self.opening, self.steps = prefix.task, prefix.observation, list(prefix.steps)
        self.broken = False
        return observation

    async def close(self) -> None:
        """Close the environment; a dead one may fail to, which must not hide what killed it."""
        with contextlib.suppress(Exception):
            await self.environment.close()


class Lease:
    """One environment, held by one rollout; the only view of it that planners get."""

    def __init__(self, slot: _Slot) -> None:
        self._slot = slot
        self.caught_up = 0
        """Environment steps that bringing it to the asked state took."""

    @property
    def opening(self) -> Observation:
        """The episode's first observation."""
        assert self._slot.opening is not None
        return self._slot.opening

    @property
    def instruction(self) -> str:
        """The task's instruction, from the environment where it is known only after reset.

        Raises:
            EnvironmentFailure: Neither the task nor the environment says what to do.
        """
        assert self._slot.task is not None
        own = getattr(self._slot.environment, "instruction", None)
        instruction = self._slot.task.instruction or own
        if not instruction:
            raise EnvironmentFailure(
                f"task {self._slot.task.id} has no instruction: set Task.instruction, or give the "
                "environment an `instruction` attribute after reset"
            )
        return str(instruction)

    @property
    def guide(self) -> Guide | None:
        """What a policy is told about the environment."""
        return getattr(self._slot.environment, "guide", None)

    async def step(self, action: str) -> StepResult:
        """Take an action."""
        return await self._slot.step(action)


class EnvironmentPool:
    """Environments of one kind, leased one at a time.

    Args:
        factory: Makes an environment; called in a thread, since a constructor may read files.
        size: Most environments alive at once; default: the environment's `pool_size`, else 8.
    """

    def __init__(self, factory: Callable[[], Environment], size: int | None = None) -> None:
        self._factory = factory
        self._size = size
        self._idle: list[_Slot] = []
        self._alive = 0
        self._changed = asyncio.Condition()
        self._closed = False

    @asynccontextmanager
    async def lease(
        self, task: Task, prefix: Trajectory | None = None, seconds: float | None = None
    ) -> AsyncIterator[Lease]:
        """Lease an environment at the beginning of `task`, or at the end of `prefix`.

        Args:
            task: The task to be in.
            prefix: A recorded beginning of it to have behind it.
            seconds: Deadline for getting there, from when an environment is free.

        Raises:
            TimeoutError: It took longer than `seconds`.
            RestoreMismatch: The state differs from the recorded one.
            ConfigurationError: The environment cannot be restored and `prefix` has steps.
        """
        slot = await self._take(task, prefix)
        while not slot.alive:
            slot.broken = True
            await self._give_back(slot)
            slot = await self._take(task, prefix)
        try:
            lease = Lease(slot)
            async with asyncio.timeout(seconds):
                lease.caught_up = await _bring_to(slot, task, prefix)
            yield lease
        except RestoreMismatch:
            slot.broken = True
            raise
        finally:
            # Shielded: a cancelled rollout must not take its place in the pool with it.
            await asyncio.shield(asyncio.ensure_future(self._give_back(slot)))

    async def aclose(self) -> None:
        """Close every idle environment; leased ones are closed when they come back."""
        async with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for slot in idle:
            await slot.close()

    async def _take(self, task: Task, prefix: Trajectory | None) -> _Slot:
        async with self._changed:
            while not self._closed:
                if self._idle:
                    slot = max(self._idle, key=lambda idle: idle.shared(task, prefix))
                    self._idle.remove(slot)
                    return slot
                if self._size is None or self._alive < self._size:
                    self._alive += 1
                    return await self._open()
                await self._changed.wait()
        raise ConfigurationError("the environment pool is closed: open resources() again")

    async def _open(self) -> _Slot:
        try:
            environment = await asyncio.to_thread(self._factory)
        except BaseException:
            self._alive -= 1
            self._changed.notify()
            raise
        if self._size is None:
            self._size = int(getattr(environment, "pool_size", DEFAULT_POOL_SIZE))
        return _Slot(environment)

    async def _give_back(self, slot: _Slot) -> None:
        async with self._changed:
            if not slot.broken and not self._closed:
                self._idle.append(slot)
                self._changed.notify()
                return
        await slot.close()
        async with self._changed:
            self._alive -= 1
            self._changed.notify()


async def _bring_to(slot: _Slot, task: Task, prefix: Trajectory | None) -> int:
    """Bring a slot to the end of `prefix`; return the environment steps taken."""
    steps = () if prefix is None else prefix.steps
    shared = slot.shared(task, prefix)
    own = hasattr(slot.environment, "restore")
    if 0 <= shared == len(slot.steps) and (shared == len(steps) or not own):
        return await _replay(slot, task, steps, shared)
    if prefix is not None and steps and (own or not getattr(slot.environment, "restorable", True)):
        shown = await slot.restore(prefix)
        _compare(task, len(steps), shown, prefix.last)
        return 0
    opening = await slot.reset(task)
    if prefix is not None:
        _compare(task, 0, opening, prefix.observation)
    return await _replay(slot, task, steps, 0)


async def _replay(slot: _Slot, task: Task, steps: Sequence[Step], start: int) -> int:
    for k in range(start, len(steps)):
        result = await slot.step(steps[k].action)
        _compare(task, k + 1, result.observation, steps[k].observation)
        if result.done != steps[k].done:
            raise RestoreMismatch(
                f"task {task.id}, step {k + 1}: the episode's end came out differently when "
                "replayed: the environment is not deterministic"
            )
    return len(steps) - start


def _compare(task: Task, k: int, shown: Observation, recorded: Observation) -> None:
    if shown.fingerprint != recorded.fingerprint:
        raise RestoreMismatch(
            f"task {task.id}, step {k}: {_difference(shown, recorded)}: the environment is not "
            "deterministic"
        )


def _difference(shown: Observation, recorded: Observation) -> str:
    """Say how a state came out differently, beginning shortly before the first difference."""
    if shown.text == recorded.text:
        return "replayed, other actions are valid than were recorded"
    pairs = enumerate(zip(shown.text, recorded.text, strict=False))
    shorter = min(len(shown.text), len(recorded.text))
    parting = next((k for k, (one, other) in pairs if one != other), shorter)
    start = max(parting - 20, 0)
    here, there = shown.text[start : start + 80], recorded.text[start : start + 80]
    return f"replayed to {here!r}, recorded was {there!r}"
