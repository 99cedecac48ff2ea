"""How much faster a search gets with W leaves at once, and what it costs beside its policy.

A scripted endpoint in a process of its own answers every request after `--latency` seconds,
however many are in flight; the environment is a game of `--depth` moves with ten actions each. The
same 64-rollout search runs with W = 1, 8 and 16, and once with sixteen actions, since the first
iteration can evaluate no more leaves than the root has actions. Then it runs 8 wide without
latency, for the CPU time of this process, with and without SQLite checkpoints and once more with a
policy inside the process, so that the HTTP client's share can be seen; then with 2,000 nodes, for
the size of its files.
Run it so: ``python benchmarks/search.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from concurrency import serve
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from armap_agents import (
    Observation,
    StepResult,
    Task,
    Trajectory,
    Usage,
    register_environment,
    register_reward,
    resources,
)
from armap_agents.graphs import mcts
from armap_agents.graphs.context import PlannerContext
from armap_agents.policy import Answer, Proposal, Proposals

ACTIONS = tuple(f"go {letter}" for letter in "abcdefghijklmnop")


class Maze:
    """Every action leads one room further; the last room ends the episode."""

    name = "maze"
    pool_size = 64
    instruction = "Reach the last room."

    def __init__(self, depth: int, actions: int) -> None:
        self._depth = depth
        self._actions = ACTIONS[:actions]
        self._path: list[str] = []

    def tasks(self, split: str) -> list[Task]:
        """There is one."""
        return [Task("0", "maze", split)]

    async def reset(self, task: Task) -> Observation:
        """Go back to the entrance."""
        return await self.restore(task, ())

    async def restore(self, task: Task, actions: Sequence[str]) -> Observation:
        """Go to the room that the actions lead to."""
        self._path = list(actions)
        return self._seen()

    async def step(self, action: str) -> StepResult:
        """Go one room further."""
        self._path.append(action)
        return StepResult(self._seen(), len(self._path) >= self._depth)

    async def close(self) -> None:
        """Nothing is open."""

    def _seen(self) -> Observation:
        return Observation(f"You are in room {'-'.join(self._path) or 'entrance'}.", self._actions)


class HashReward:
    """A reward in [0, 1) that looks random and is the same every time."""

    fingerprint = "hash"

    async def ascore(self, trajectories: list[Trajectory]) -> list[float]:
        """Score each trajectory by its id."""
        return [
            int(hashlib.sha256(t.id.encode()).hexdigest()[:6], 16) / 16**6 for t in trajectories
        ]

    async def avalue(self, prefixes: list[Trajectory]) -> list[float]:
        """Value each prefix by its id."""
        return await self.ascore(prefixes)


class InProcess:
    """A policy without any endpoint: the first action, and all of them with equal priors.

    Args:
        latency: Seconds before each answer.
    """

    def __init__(self, latency: float) -> None:
        self._latency = latency

    async def act(self, trajectory: Trajectory, **_: Any) -> Answer:
        """Take the first action."""
        await asyncio.sleep(self._latency)
        return Answer(ACTIONS[0], ACTIONS[0], Usage(completions=1), True)

    async def propose(self, trajectory: Trajectory, k: int, **_: Any) -> Proposals:
        """Propose all of them."""
        await asyncio.sleep(self._latency)
        actions = trajectory.last.actions or ()
        return Proposals(tuple(Proposal(a, 1 / len(actions)) for a in actions), Usage())


class Measured:
    """One search: its run, wall seconds, CPU seconds of this process, bytes of its files."""

    def __init__(
        self, run: str, wall: float, cpu: float, checkpoint: int, trace: int, nodes: int
    ) -> None:
        self.run, self.wall, self.cpu = run, wall, cpu
        self.checkpoint, self.trace, self.nodes = checkpoint, trace, nodes


async def search(
    url: str,
    depth: int,
    *,
    actions: int = 10,
    sqlite: bool = False,
    in_process: float | None = None,
    runs: Path | None = None,
    **options: Any,
) -> Measured:
    """Run one search and measure it.

    Args:
        url: The endpoint.
        depth: Of the maze.
        actions: Of each of its rooms.
        sqlite: Checkpoint it.
        in_process: Latency of a policy in this process, instead of the endpoint's.
        runs: Where the run is kept; None throws it away.
        options: Of the context.
    """
    context = PlannerContext(
        policy_url=url,
        policy_model="scripted",
        policy_concurrency=256,
        environment_options={"depth": depth, "actions": actions},
        proposals=actions,
        reward="hash",
        **options,
    )
    async with AsyncExitStack() as stack:
        if runs is None:
            runs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        opened = await stack.enter_async_context(resources(runs))
        if in_process is not None:
            await opened.get(("policy", context.policy()), partial(_in_process, in_process))
        saver, config = None, {}
        if sqlite:
            path = str(runs / "checkpoints.sqlite")
            saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(path))
            config = {"configurable": {"thread_id": "0"}}
        graph: Any = mcts.builder.compile(checkpointer=saver)
        task = {"environment": "maze", "id": "0"}
        wall, cpu = time.perf_counter(), time.process_time()
        out = await graph.ainvoke({"task": task}, config, context=context)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        trace, checkpoint = await asyncio.to_thread(sizes, runs, out["run"])
        return Measured(out["run"], wall, cpu, checkpoint, trace, len(out["tree"]))


def sizes(runs: Path, run: str) -> tuple[int, int]:
    """Return the bytes of a run's trace and of the checkpoints."""
    checkpoints = sum(file.stat().st_size for file in runs.glob("checkpoints.sqlite*"))
    return (runs / run / "trace.jsonl").stat().st_size, checkpoints


async def _in_process(latency: float) -> InProcess:
    return InProcess(latency)


async def measure(slow: str, quick: str, options: argparse.Namespace) -> None:
    """Print every figure."""
    rollouts, depth = options.rollouts, options.depth
    await search(quick, depth, rollouts=8)  # imports and connections
    for label, kind in (
        ("over HTTP, puct", {"selection": "puct"}),
        ("over HTTP, uct", {"selection": "uct"}),
        ("over HTTP, puct, 16 actions", {"selection": "puct", "actions": 16}),
        ("in process, puct", {"selection": "puct", "in_process": options.latency}),
    ):
        first = 0.0
        for width in (1, 8, 16):
            found = await search(slow, depth, rollouts=rollouts, parallel=width, **kind)
            first = first or found.wall
            print(
                f"policy {label}, W = {width:2}: {found.wall:6.2f} s for {rollouts} rollouts of "
                f"depth {depth}, {first / found.wall:5.2f} times as fast as W = 1",
                flush=True,
            )
    for label, kind in (
        ("over HTTP", {}),
        ("over HTTP, SQLite", {"sqlite": True}),
        ("policy in process", {"in_process": 0.0}),
        ("policy in process, SQLite", {"in_process": 0.0, "sqlite": True}),
    ):
        cpus = [
            (await search(quick, depth, rollouts=rollouts, parallel=8, **kind)).cpu / rollouts
            for _ in range(3)
        ]
        print(
            f"W = 8, no latency, {label:26} CPU {1000 * min(cpus):.1f} ms a rollout "
            f"(to {1000 * max(cpus):.1f})",
            flush=True,
        )
    big = await search(
        quick, depth, sqlite=True, in_process=0.0, rollouts=options.nodes // 3, parallel=8
    )
    print(
        f"{big.nodes} nodes: checkpoints {big.checkpoint / 1e6:.1f} MB, "
        f"trace {big.trace / 1e6:.1f} MB, {big.wall:.1f} s"
    )


def main() -> None:
    """Start the endpoints, measure, stop them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=64)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    parser.add_argument("--nodes", type=int, default=2000)
    options = parser.parse_args()
    register_environment("maze", Maze)
    register_reward("hash", HashReward)
    processes = multiprocessing.get_context("spawn")
    ends, servers = [], []
    for latency in (options.latency, 0.0):
        here, there = processes.Pipe()
        server = processes.Process(target=serve, args=(latency, there))
        server.start()
        there.close()
        ends.append(here)
        servers.append(server)
    try:
        slow, quick = (end.recv() for end in ends)
        asyncio.run(measure(slow, quick, options))
    finally:
        for end, server in zip(ends, servers, strict=True):
            end.close()
            server.join()


if __name__ == "__main__":
    main()
