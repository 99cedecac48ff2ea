"""What ScienceWorld's adapter costs beside the bare simulator, and what restoring a state costs.

Three contestants play the same episodes in processes of their own with the same Java options: the
adapter (`ScienceWorld.step` on an event loop), the bare simulator (step, score and done through
py4j, as `ScienceWorldEnv` starts it) and `ScienceWorldEnv.step`. Each episode of 25 random valid
actions is played by all three in an order drawn anew, so that what else the machine does (also a
contestant's compiler, which goes on after its turn) hits all alike; ratios are given per round, as
their median and range. Then the ends of such episodes are restored in a running process by reset
and replay, and by a pool whose environment is in that state already.
Run it so: ``python benchmarks/scienceworld_steps.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import time
from collections.abc import Sequence
from typing import Any

from armap_agents import Task, Trajectory
from armap_agents.environment import restore
from armap_agents.pool import EnvironmentPool
from armap_agents.tools.scienceworld import ScienceWorld
from armap_agents.tools.scienceworld.jvm import OPTIONS
from armap_agents.tools.scienceworld.tasks import find
from armap_agents.trajectory import Step

TASKS = [
    Task(task_id, "scienceworld")
    for task_id in (
        "task-1-boil/14",
        "task-3-find-animal/150",
        "task-10-use-thermometer/270",
        "task-4-grow-plant/63",
        "task-2a-test-conductivity/450",
    )
]
STEPS = 25

WARM_UP = 2
"""Rounds before the measured ones, for Java's compiler."""


def wrapper() -> Any:
    """Start the package's own wrapper with the options that the adapter gives its process."""
    from scienceworld import ScienceWorldEnv

    os.environ["JAVA_TOOL_OPTIONS"] = " ".join(OPTIONS)
    try:
        return ScienceWorldEnv(envStepLimit=10_000)
    finally:
        del os.environ["JAVA_TOOL_OPTIONS"]


def spread(values: Sequence[float], unit: str = "") -> str:
    """Write values as their median and range."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.3g}{unit} ({low:.3g} to {high:.3g}, n = {len(values)})"


async def walk(pool: EnvironmentPool, task: Task, rng: random.Random) -> Trajectory:
    """Take random valid actions; the pool's environment is left at their end."""
    async with pool.lease(task) as lease:
        walked = Trajectory(task, lease.instruction, lease.opening)
        for _ in range(STEPS):
            action = rng.choice(walked.last.actions or ())
            result = await lease.step(action)
            walked = walked.extended(Step(action, result.observation, result.done))
    return walked


async def compare(pool: EnvironmentPool, rounds: int) -> None:
    """Print the steps a second of the three contestants and their ratios."""
    plain, full, adapter = wrapper(), wrapper(), ScienceWorld(move_limit=10_000)

    async def begin(task: Task) -> None:
        task_type, variation = find(task.id)
        for reference in (plain, full):
            reference.load(task_type.simulator, variation, "easy")
            reference.server.step("look around")
        await adapter.reset(task)

    async def bare_step(action: str) -> None:
        plain.server.step(action)
        plain.server.getScore()
        plain.server.getCompleted()

    async def wrapper_step(action: str) -> None:
        full.step(action)

    contestants = [("adapter", adapter.step), ("bare", bare_step), ("wrapper", wrapper_step)]
    rates: dict[str, list[float]] = {name: [] for name, _ in contestants}
    for played in range(-WARM_UP, rounds):
        seconds = dict.fromkeys(rates, 0.0)
        rng = random.Random(played)
        for walked in [await walk(pool, task, rng) for task in TASKS]:
            await begin(walked.task)
            for name, step in rng.sample(contestants, len(contestants)):
                start = time.perf_counter()
                for action in walked.actions:
                    await step(action)
                seconds[name] += time.perf_counter() - start
        if played >= 0:
            for name, taken in seconds.items():
                rates[name].append(len(TASKS) * STEPS / taken)
    await adapter.close()
    plain.close()
    full.close()
    for name, values in rates.items():
        print(f"{name}: {spread(values, ' steps/s')}")
    for other in ("bare", "wrapper"):
        ratios = [a / b for a, b in zip(rates["adapter"], rates[other], strict=True)]
        print(f"adapter / {other}: {spread(ratios)}")


async def restoring(pool: EnvironmentPool, rounds: int) -> None:
    """Print what bringing an environment to the end of 25 steps takes."""
    replays: list[float] = []
    leases: list[float] = []
    adapter = ScienceWorld(goal_free=True)
    for played in range(-WARM_UP, rounds):
        for task in TASKS:
            walked = await walk(pool, task, random.Random(played))
            start = time.perf_counter()
            async with pool.lease(task, walked):
                held = time.perf_counter() - start
            start = time.perf_counter()
            await restore(adapter, task, walked.actions)
            if played >= 0:
                leases.append(1e3 * held)
                replays.append(time.perf_counter() - start)
    await adapter.close()
    print(f"restore {STEPS} steps by reset and replay: {spread(replays, ' s')}")
    print(f"lease of a prefix that the pool holds: {spread(leases, ' ms')}")


async def run(rounds: int) -> None:
    """Run both parts."""
    pool = EnvironmentPool(lambda: ScienceWorld(actions="valid", goal_free=True), size=1)
    await compare(pool, rounds)
    await restoring(pool, rounds)
    await pool.aclose()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds of 125 steps")
    asyncio.run(run(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
