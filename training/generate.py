"""Generate a data folder: explore → refine → corrupt → pairs and values, task by task.

A visit to a task is the unit of work: what it gives is written together, in the order of the tasks,
whatever was done side by side. A run that was killed goes on with the first unit that is not
written. Without a policy the files depend on the configuration alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from armap_agents.environment import Environment
from armap_agents.errors import ArmapError, ConfigurationError, EnvironmentFailure, PolicyError
from armap_agents.locks import only_writer
from armap_agents.policy import Policy
from armap_agents.pool import DEFAULT_POOL_SIZE
from armap_agents.training.domain import Domain
from armap_agents.training.folder import DataFolder, Unit
from armap_agents.training.recipe import GenerateConfig
from armap_agents.training.seat import Seat, in_thread
from armap_agents.training.task import TaskGenerator
from armap_agents.trajectory import Task

__all__ = ["GenerateConfig", "generate_data"]

Progress = Callable[[int, int, Counter[str]], None]
"""Called with the pairs there are, the pairs wanted, and all counts so far."""

WITH_POLICY = 128
"""The most tasks at work where a policy makes them wait."""

WITHOUT_POLICY = 4
"""The most tasks at work where environments alone do, on the cores of this machine."""

EXPECTED = 20
"""Pairs that a task is taken to give before the first has given any."""

LOST_IN_A_ROW = 5
"""Visits one after the other, every episode of which is lost, that end generation."""


class _Visits:
    """The tasks in the order in which they are visited: shuffled anew each time round.

    Args:
        tasks: At least one.
        seed: Of the order.
    """

    def __init__(self, tasks: list[Task], seed: int) -> None:
        self.tasks = tasks
        self._seed = seed
        self._rounds: dict[int, list[Task]] = {}

    def at(self, position: int) -> tuple[Task, str]:
        """Return the task that is visited at a position, and the visit's seed."""
        number, index = divmod(position, len(self.tasks))
        if number not in self._rounds:
            order = list(self.tasks)
            Random(f"{self._seed} round {number}").shuffle(order)
            self._rounds[number] = order
        task = self._rounds[number][index]
        return task, f"{self._seed} {number} {task.id}"


async def generate_data(
    domain: Domain,
    make: Callable[[], Environment],
    out: Path,
    config: GenerateConfig,
    policy: Policy | None = None,
    writer: Policy | None = None,
    progress: Progress = lambda *_: None,
    concurrency: int | None = None,
    make_unseen: Callable[[], Environment] | None = None,
) -> dict[str, Any]:
    """Make or complete a data folder.

    Args:
        domain: What generation knows about the environment.
        make: Makes an environment; one serves one task at a time.
        out: The data folder.
        config: What to make; a folder begun with another configuration is refused.
        policy: Explores and picks wrong actions in its share.
        writer: Words instructions and intents and writes failing counterparts in its share;
            default: the policy.
        progress: Called after each task.
        concurrency: Tasks at work side by side; never more than environments may be alive.
        make_unseen: Makes an environment for continuations; default: they share the others.

    Returns:
        The report, as written to ``report.json``.

    Raises:
        ConfigurationError: `out` holds data of another configuration or is being written, the
            environment's tasks give no pairs, or its instructions cannot ask for so many things.
        ArmapError: Policy or environment fail again and again; what is written stays.
    """
    if config.constraints not in (None, 1) and getattr(domain, "asks_one_thing", False):
        raise ConfigurationError(
            f"instructions of {domain.environment} ask for one thing, not for "
            f"{config.constraints}: leave out --constraints"
        )
    config = replace(config, continuations=config.continuations or domain.continuations)
    with only_writer(out):
        async with AsyncExitStack() as opened:
            first = Seat(make)
            opened.push_async_callback(first.close)
            environment = await first.environment()
            visits = _Visits(await asyncio.to_thread(domain.tasks, environment), config.seed)
            if not visits.tasks:
                raise ConfigurationError(f"{domain.environment} has no task that may be explored")
            folder = await asyncio.to_thread(DataFolder, out, domain.environment, asdict(config))
            opened.callback(folder.close)
            most = WITHOUT_POLICY if policy is None and writer is None else WITH_POLICY
            size = int(getattr(environment, "pool_size", DEFAULT_POOL_SIZE))
            seats = [first, *(Seat(make) for _ in range(min(concurrency or most, size) - 1))]
            unseen = {seat: Seat(make_unseen) if make_unseen else seat for seat in seats}
            for seat in {*seats[1:], *unseen.values()} - {first}:
                opened.push_async_callback(seat.close)

            def generator(position: int, seat: Seat) -> TaskGenerator:
                task, seed = visits.at(position)
                return TaskGenerator(
                    domain, seat, unseen[seat], task, config, seed, policy, writer or policy
                )

            line = _Line(generator, seats, folder.units)
            opened.push_async_callback(line.close)
            await _fill(folder, line, visits, config.pairs, progress)
            return await asyncio.to_thread(folder.report, len(visits.tasks))


class _Line:
    """Visits at work side by side, taken from it in their order.

    Args:
        generator: Makes what does the visit at a position in a seat.
        seats: Where they work.
        position: Of the first visit.
    """

    def __init__(
        self, generator: Callable[[int, Seat], TaskGenerator], seats: list[Seat], position: int
    ) -> None:
        self._generator = generator
        self._free: asyncio.Queue[Seat] = asyncio.Queue()
        for seat in seats:
            self._free.put_nowait(seat)
        self._position = position
        self._ahead = 2 * len(seats)  # a slow visit at the head should not make the others wait
        self._visits: deque[asyncio.Task[tuple[Unit, ArmapError | None]]] = deque()

    async def take(self, expected: int) -> tuple[Unit, ArmapError | None]:
        """Return what the next visit gave, and its last failure.

        Args:
            expected: How many visits will be taken, as far as one can tell.
        """
        while len(self._visits) < max(1, min(expected, self._ahead)):
            self._visits.append(asyncio.create_task(self._visit(self._position)))
            self._position += 1
        return await self._visits.popleft()

    async def _visit(self, position: int) -> tuple[Unit, ArmapError | None]:
        seat = await self._free.get()
        try:
            generator = self._generator(position, seat)
            return await generator.run(), generator.failure
        finally:
            self._free.put_nowait(seat)

    async def close(self) -> None:
        """End the visits that nobody takes any more."""
        for visit in self._visits:
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)


async def _fill(
    folder: DataFolder, line: _Line, visits: _Visits, wanted: int, progress: Progress
) -> None:
    """Append visits until there are as many pairs as wanted."""
    lost: list[Unit] = []
    fruitless = 0
    progress(folder.counts["pairs"], wanted, folder.counts)
    while folder.counts["pairs"] < wanted:
        each = (folder.counts["pairs"] + EXPECTED) / (folder.units + 1)
        missing = wanted - folder.counts["pairs"]
        unit, failure = await line.take(-(-missing // max(1, round(each))))
        lost.append(unit)
        if failure is not None and not unit.counts["explored"]:
            # An outage should not eat up tasks: they count only where it is over soon.
            if len(lost) > LOST_IN_A_ROW:
                kind = PolicyError if isinstance(failure, PolicyError) else EnvironmentFailure
                raise kind(
                    f"every episode of {len(lost)} tasks in a row is lost, the last because: "
                    f"{failure}. What is written stays; the same command goes on with it"
                )
            continue
        for done in lost:
            task = visits.at(folder.units)[0]
            await in_thread(partial(folder.append, task.id, done))
            fruitless = 0 if done.counts["pairs"] else fruitless + 1
        lost.clear()
        if fruitless > len(visits.tasks):
            raise ConfigurationError(
                f"{fruitless} tasks in a row gave no new pair: ask for fewer --pairs or "
                "--constraints, or explore more --episodes; "
                f"{folder.path / 'journal.jsonl'} counts why"
            )
        progress(folder.counts["pairs"], wanted, folder.counts)
