"""How much longer 32 rollouts take than one, on an endpoint that answers after a fixed time.

The scripted endpoint answers every request after `--latency` seconds however many are in flight,
so the ratio shows what this project adds; it has a process of its own, as a real one would. One
rollout and Best-of-N alternate, and the ratio is that of the medians. Run it so:
``python benchmarks/concurrency.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from contextlib import suppress
from multiprocessing.connection import Connection

from armap_agents import FunctionReward, register_reward, resources
from armap_agents.graphs import best_of_n
from armap_agents.graphs.context import PlannerContext
from armap_agents.testing import scripted_policy
from armap_agents.tools.game24.environment import puzzle_task


def serve(latency: float, address: Connection) -> None:
    """Serve the scripted endpoint until `address` is closed at the other end."""

    async def run() -> None:
        async with scripted_policy(latency=latency) as server:
            address.send(server.url)
            with suppress(EOFError):
                await asyncio.to_thread(address.recv)

    asyncio.run(run())


async def measure(n: int, rounds: int, url: str) -> tuple[list[float], list[float]]:
    """Return the seconds of one rollout and of n, round by round."""
    task = puzzle_task([4, 9, 10, 13]).to_dict()
    one: list[float] = []
    many: list[float] = []
    fresh: list[tuple[int, list[float]]] = [(1, []), (n, [])]
    with tempfile.TemporaryDirectory() as runs:
        async with resources(runs):
            for count, seconds in [*fresh, *[(1, one), (n, many)] * rounds]:
                context = PlannerContext(
                    policy_url=url,
                    policy_model="scripted",
                    policy_concurrency=256,
                    reward="length",
                    n=count,
                )
                started = time.perf_counter()
                await best_of_n.graph.ainvoke({"task": task}, context=context)
                seconds.append(time.perf_counter() - started)
    return one, many


def main() -> None:
    """Print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    options = parser.parse_args()
    register_reward("length", lambda: FunctionReward(lambda t: -len(t), "length"))
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe()
    server = processes.Process(target=serve, args=(options.latency, there))
    server.start()
    there.close()
    try:
        one, many = asyncio.run(measure(options.n, options.rounds, here.recv()))
    finally:
        here.close()
        server.join()
    for name, seconds in (("one rollout", one), (f"{options.n} rollouts", many)):
        middle, low, high = statistics.median(seconds), min(seconds), max(seconds)
        print(f"{name:12} {middle:.3f} s  ({low:.3f} to {high:.3f})")
    print(f"{'ratio':12} {statistics.median(many) / statistics.median(one):.2f}")


if __name__ == "__main__":
    main()
