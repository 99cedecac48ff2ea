"""What scoring costs: batches against one at a time, a server against the process, one step more.

Every ratio is of two timings of this run, alternating, since machines are shared; the trajectories
are episodes of a careless shopper in the embedded shop, N of them for each task as Best-of-N has
them, and longer ones made of several:

    python benchmarks/reward.py                              # an untrained MiniLM with heads
    python benchmarks/reward.py --model runs/webshop/reward  # a trained model
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from agents import careless_shopper
from rich.console import Console

from armap_agents import Trajectory, make_environment
from armap_agents.reward import load_reward
from armap_agents.reward.model import load_network, new_network, save_network
from armap_agents.reward.render import render
from armap_agents.reward.settings import EnvironmentSettings, Settings
from armap_agents.training.domain import domain
from armap_agents.training.explore import finish, opening

console = Console()

CLIENTS = 16


async def episodes(tasks: int, n: int) -> list[Trajectory]:
    """Play `n` episodes on each of so many tasks."""
    shop = make_environment("webshop", render=False)
    played = []
    for task in shop.tasks("dev")[:tasks]:
        for k in range(n):
            begun = await opening(shop, task)
            chooser = careless_shopper(begun, Random(f"{task.id} {k}"))
            played.append(await finish(shop, begun, chooser))
    await shop.close()
    return played


def longer(trajectories: Sequence[Trajectory], steps: int) -> list[Trajectory]:
    """Make open trajectories of `steps` steps out of the steps of several; no two share a step."""
    pool = [step for trajectory in trajectories for step in trajectory.steps if not step.done]
    first = trajectories[0]
    return [
        Trajectory(first.task, f"{first.instruction} ({k})", first.observation, tuple(chosen))
        for k in range(len(pool) // steps)
        if (chosen := pool[k * steps : (k + 1) * steps])
    ]


def untrained(folder: Path) -> Path:
    """Write a model folder of the default backbone with untrained heads."""
    network = new_network("minilm", None, {}, seed=0)
    rendering = domain("webshop").rendering
    spec = network.backbone.spec
    settings = Settings(
        {
            "kind": spec.kind,
            "weights": spec.weights,
            "sha256": spec.sha256,
            "options": dict(spec.options),
        },
        {"webshop": EnvironmentSettings(rendering)},
    )
    save_network(network, settings, folder)
    return folder


async def timed(work: Callable[[], Awaitable[Any]]) -> float:
    """Return the wall seconds of some work."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def compared(
    ours: Callable[[], Awaitable[Any]], baseline: Callable[[], Awaitable[Any]], rounds: int
) -> tuple[float, float]:
    """Return the median seconds of two ways to do the same, in turn."""
    pairs = [(await timed(baseline), await timed(ours)) for _ in range(rounds)]
    return statistics.median(o for _, o in pairs), statistics.median(b for b, _ in pairs)


async def batching(folder: Path, trajectories: Sequence[Trajectory], rounds: int) -> None:
    """Compare the scorer with scoring one trajectory at a time, nothing remembered."""
    network, settings = load_network(folder)
    rendering = settings.of("webshop").rendering

    async def one_at_a_time() -> None:
        with torch.inference_mode():
            for trajectory in trajectories:
                network([network.backbone.parts(render(trajectory, rendering))])

    async def scorer() -> None:
        model = load_reward(folder)
        began = time.perf_counter()
        await model.ascore(trajectories)
        spent.append(time.perf_counter() - began)
        await model.aclose()

    spent: list[float] = []
    _, alone = await compared(scorer, one_at_a_time, rounds)
    together = statistics.median(spent)
    parts = sum(len(network.backbone.parts(render(t, rendering))) for t in trajectories)
    console.print(
        f"scorer: {len(trajectories) / together:.0f} trajectories/s, one at a time "
        f"{len(trajectories) / alone:.0f}/s: [bold]{alone / together:.1f} times[/] "
        f"({parts / len(trajectories):.1f} parts each)"
    )


async def extending(
    folder: Path, steps: int, trajectories: Sequence[Trajectory], rounds: int
) -> None:
    """Compare scoring a prefix that is one step longer with scoring it afresh."""
    prefixes = longer(trajectories, steps)[:24]
    begun = [prefix.prefix(steps - 1) for prefix in prefixes]

    async def after(known: Sequence[Trajectory]) -> float:
        model = load_reward(folder)
        await model.ascore(known)
        seconds = await timed(lambda: model.ascore(prefixes))
        await model.aclose()
        return seconds

    seconds = [(await after(begun), await after([])) for _ in range(rounds)]
    one_more, fresh = (statistics.median(column) for column in zip(*seconds, strict=True))
    console.print(
        f"prefix of {steps} steps: one step more costs [bold]{one_more / fresh:.3f}[/] of scoring "
        f"it afresh ({1000 * one_more / len(prefixes):.1f} ms, {1000 * fresh / len(prefixes):.1f})"
    )


async def serving(folder: Path, trajectories: Sequence[Trajectory], rounds: int) -> None:
    """Compare a server with sixteen clients with the same model in this process."""
    shares = [list(trajectories[k::CLIENTS]) for k in range(CLIENTS)]
    ratios = []
    for _ in range(rounds):
        with served(folder) as address:
            clients = [await asyncio.to_thread(load_reward, address) for _ in shares]
            remote = await timed(
                lambda clients=clients: asyncio.gather(  # type: ignore[misc]
                    *(c.ascore(share) for c, share in zip(clients, shares, strict=True))
                )
            )
            for client in clients:
                await client.aclose()
        model = load_reward(folder)
        local = await timed(lambda model=model: model.ascore(trajectories))  # type: ignore[misc]
        await model.aclose()
        ratios.append((local / remote, remote))
    ratio, seconds = sorted(ratios)[len(ratios) // 2]
    console.print(
        f"server, {CLIENTS} clients: {len(trajectories) / seconds:.0f} trajectories/s, "
        f"[bold]{ratio:.2f}[/] of the rate in this process"
    )


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a model on a free port for the length of a block; give its address."""
    armap = str(Path(sys.executable).parent / "armap")
    with subprocess.Popen(
        [armap, "serve", "reward", str(folder), "--port", "0"], stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            yield _address(server)
        finally:
            server.terminate()


def _address(server: subprocess.Popen[str]) -> str:
    assert server.stderr is not None
    for line in server.stderr:
        if "http://" in line:
            return line[line.index("http://") :].split()[0].rstrip(".;")
    raise SystemExit("the server did not start")


def main(
    model: Annotated[Path | None, typer.Option(help="Of the shop; default: untrained.")] = None,
    tasks: Annotated[int, typer.Option(help="Tasks.")] = 16,
    n: Annotated[int, typer.Option("--n", help="Episodes per task.")] = 16,
    rounds: Annotated[int, typer.Option(help="Of each comparison.")] = 3,
) -> None:
    """Measure."""
    with TemporaryDirectory() as temporary:
        folder = model or untrained(Path(temporary) / "model")
        asyncio.run(_all(folder, tasks, n, rounds))


async def _all(folder: Path, tasks: int, n: int, rounds: int) -> None:
    trajectories = await episodes(tasks, n)
    await batching(folder, trajectories, rounds)
    for steps in (8, 24):
        await extending(folder, steps, trajectories, rounds)
    await serving(folder, trajectories, rounds)


if __name__ == "__main__":
    typer.run(main)
