"""`armap demo`: the whole loop on Game of 24, from nothing to a table; what `make run` calls."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer
from rich.console import Console

from armap_agents.cli.evaluate import evaluate_spec, show
from armap_agents.cli.generate import generate_with_progress
from armap_agents.cli.options import Seed
from armap_agents.cli.planners import run_planner
from armap_agents.cli.train import train_with_progress
from armap_agents.environment import make_environment
from armap_agents.errors import ConfigurationError
from armap_agents.evaluation.spec import RunSpec
from armap_agents.policy import PolicyConfig
from armap_agents.serving import policy_server, pull
from armap_agents.serving.progress import progress_line
from armap_agents.training.generate import GenerateConfig

ENVIRONMENT = "game24"
REWARD_BACKBONE = "all-minilm-l6-v2"
PLANNERS = ("sampling", "best_of_n")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything; must be new.")] = Path(
        "runs/demo"
    ),
    port: Annotated[int, typer.Option(help="Port of the policy's endpoint.")] = 8000,
    trajectories: Annotated[int, typer.Option(min=100, help="Episodes to explore.")] = 20_000,
    minutes: Annotated[float, typer.Option(min=0.01, help="Of training.")] = 2.0,
    tasks: Annotated[int, typer.Option(min=1, max=100, help="Test puzzles.")] = 20,
    n: Annotated[int, typer.Option("--n", min=1, help="Rollouts per puzzle.")] = 16,
    seed: Seed = 0,
) -> None:
    """Explore, learn a reward model and plan with it: the whole loop on Game of 24."""
    # Before torch starts: idle OpenMP threads that spin would steal the cores from the server.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if out.exists() and any(out.iterdir()):
        out = _free_folder(out)
    asyncio.run(_demo(out, port, trajectories, minutes, tasks, n, seed))


def _free_folder(out: Path) -> Path:
    for number in range(2, 1000):
        candidate = out.with_name(f"{out.name}-{number}")
        if not candidate.exists():
            return candidate
    raise ConfigurationError(f"{out} is taken a thousand times: clean up, or name another --out")


async def _demo(
    out: Path, port: int, trajectories: int, minutes: float, tasks: int, n: int, seed: int
) -> None:
    from armap_agents.training.train import TrainConfig

    console, started = Console(stderr=True), monotonic()

    def step(number: int, text: str) -> None:
        passed = str(timedelta(seconds=round(monotonic() - started)))
        console.print(f"[bold]{number}/5[/] {text} [dim]({passed})[/]", highlight=False)

    step(1, "models: SmolLM2-135M-Instruct acts, MiniLM-L6 will judge")
    for name in ("smollm2-135m-instruct", REWARD_BACKBONE):
        with progress_line(console) as report:
            await asyncio.to_thread(pull, name, report)
    step(2, "the policy, frozen, behind a vLLM endpoint of its own")
    with ExitStack() as waiting:
        report = waiting.enter_context(progress_line(console))
        async with policy_server(port=port, report=report) as server:
            waiting.close()
            step(3, f"explore training puzzles and write pairs: {trajectories:,} episodes")
            await generate_with_progress(
                ENVIRONMENT,
                {},
                out / "data",
                GenerateConfig(trajectories=trajectories, seed=seed, policy_model=server.model),
                PolicyConfig(server.url, server.model),
            )
            step(4, f"train a reward model on the pairs: {minutes:g} minutes")
            config = TrainConfig(backbone=REWARD_BACKBONE, minutes=minutes, seed=seed)
            await asyncio.to_thread(train_with_progress, out / "data", out / "reward", config)
            step(5, f"plan {tasks} test puzzles that nothing above has seen, {n} rollouts each")
            ids = [task.id for task in make_environment(ENVIRONMENT).tasks("test")][:tasks]
            spec = RunSpec(
                environment=ENVIRONMENT,
                split="test",
                tasks=tuple(ids),
                planners=PLANNERS,
                seeds=(seed,),
                n=n,
                policy_url=server.url,
                policy_model=server.model,
                reward=str(out / "reward"),
            )
            summary = await evaluate_spec(spec, out / "evaluation", run_planner)
    show(summary, out / "evaluation")
    passed = str(timedelta(seconds=round(monotonic() - started)))
    console.print(f"[bold]Done in {passed}.[/] To look further:", highlight=False)
    console.print(
        f"  armap serve policy                               the endpoint again, in another shell\n"
        f"  armap plan game24 921 --reward {out / 'reward'} \\\n"
        f"      --policy-url {server.url} --policy-model {server.model}\n"
        f"  less {out / 'data' / 'README.md'}, {out / 'reward' / 'README.md'}",
        markup=False,
        highlight=False,
    )
