"""`armap demo`: the whole loop on Game of 24, from nothing to a table; what `make run` calls."""

from __future__ import annotations

import asyncio
import shutil
import sys
from contextlib import ExitStack
from datetime import timedelta
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer
from rich.console import Console

from armap_agents.cli.evaluate import evaluate_spec, show
from armap_agents.cli.generate import generate_with_progress
from armap_agents.cli.options import Seed
from armap_agents.cli.planners import run_planner
from armap_agents.cli.processes import run_to_end
from armap_agents.environment import make_environment
from armap_agents.errors import ArmapError
from armap_agents.evaluation.spec import RunSpec
from armap_agents.policy import PolicyConfig
from armap_agents.serving import policy_server, pull
from armap_agents.serving.progress import progress_line
from armap_agents.training.generate import GenerateConfig

ENVIRONMENT = "game24"
REWARD_BACKBONE = "all-minilm-l6-v2"
PLANNERS = ("sampling", "best_of_n")

POLICY_SHARE = 0.01
"""Of the work: on two cores the policy plays in a minute what chance plays in a second."""


def demo(
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for everything. An interrupted one goes on, a finished one stays."
        ),
    ] = Path("runs/demo"),
    port: Annotated[int, typer.Option(help="Port of the policy's endpoint.")] = 8000,
    pairs: Annotated[int, typer.Option(min=100, help="Training pairs to make.")] = 20_000,
    minutes: Annotated[float, typer.Option(min=0.01, help="Of training.")] = 2.0,
    tasks: Annotated[int, typer.Option(min=1, max=100, help="Test puzzles.")] = 20,
    n: Annotated[int, typer.Option("--n", min=1, help="Rollouts per puzzle.")] = 32,
    seed: Seed = 0,
) -> None:
    """Explore, learn a reward model and plan with it: the whole loop on Game of 24."""
    asyncio.run(_demo(_unfinished(out), port, pairs, minutes, tasks, n, seed))


def _unfinished(out: Path) -> Path:
    """Return `out`, or the first of ``out-2``, ``out-3``, … that holds no finished run."""
    for number in count(1):
        folder = out if number == 1 else out.with_name(f"{out.name}-{number}")
        if not (folder / "evaluation" / "summary.json").exists():
            return folder
    raise AssertionError


async def _demo(
    out: Path, port: int, pairs: int, minutes: float, tasks: int, n: int, seed: int
) -> None:
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
            step(3, f"explore training puzzles and write {pairs:,} pairs")
            await generate_with_progress(
                ENVIRONMENT,
                {},
                out / "data",
                GenerateConfig(
                    pairs=pairs,
                    seed=seed,
                    policy_share=POLICY_SHARE,
                    written_share=POLICY_SHARE,
                    llm_share=POLICY_SHARE,
                ),
                PolicyConfig(server.url, server.model),
            )
            step(4, f"train a reward model on the pairs: {minutes:g} minutes")
            await _train(out, minutes, seed)
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
    armap = _as_called(sys.argv[0])
    console.print(
        f"  {armap} serve policy\n"
        "      the endpoint again, in another shell\n"
        f"  {armap} plan game24 921 --reward {out / 'reward'} \\\n"
        f"      --policy-url {server.url} --policy-model {server.model}\n"
        f"  less {out / 'data' / 'README.md'}, {out / 'reward' / 'README.md'}",
        markup=False,
        highlight=False,
    )


def _as_called(program: str) -> str:
    """Return a path of this program as one would type it here: it need not be on the PATH."""
    path = Path(program).absolute()
    if path.name == "__main__.py":
        return f"{_as_called(sys.executable)} -m armap_agents"
    if (found := shutil.which(path.name)) and Path(found).absolute() == path:
        return path.name
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


async def _train(out: Path, minutes: float, seed: int) -> None:
    """Train in a process of its own, which Ctrl-C ends at once; a thread could not be stopped."""
    command = [sys.executable, "-m", "armap_agents", "train", str(out / "data")]
    command += ["--out", str(out / "reward"), "--weights", REWARD_BACKBONE]
    command += ["--minutes", str(minutes), "--seed", str(seed)]
    status = await run_to_end(command, {"OMP_WAIT_POLICY": "PASSIVE"})
    if status != 0:
        raise ArmapError("training did not end well; its own message stands above")
