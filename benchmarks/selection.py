"""Who picks best? Reward models against every trivial selector on the same stored candidates.

`candidates` plays N episodes a task with an agent that needs no LLM, into a folder like that of
`armap evaluate`; a folder of `armap evaluate … --planner best_of_n` serves as well. `judge` has
reward models pick among them, and prints the share of the oracle gap that each closes, beside the
trivial selectors', and how that depends on N:

    python benchmarks/selection.py candidates webshop --out runs/selection/webshop
    python benchmarks/selection.py judge runs/selection/webshop 'trained=runs/webshop/reward-{seed}'
    armap serve policy -- python benchmarks/selection.py judge runs/selection/webshop --prompt

The agents: a careless shopper, who searches for what the instruction calls the product, opens one
of the first ten hits, takes options as told or not, and buys; the same with the whole instruction
as query (`--agent verbatim`), after which word overlap tells nothing; a wanderer in ScienceWorld,
who carries out one random intent after another; anywhere else the random intents of data
generation, or with `--agent uniform` draws from the listed actions.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Annotated, Any

import numpy as np
import typer
from agents import Agent, agent_of
from judge_prompt import JudgePrompt
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from armap_agents import make_environment
from armap_agents.cli.evaluate import parse_seeds, parse_tasks, untrained_selectors
from armap_agents.cli.options import parse_pairs
from armap_agents.environment import Environment
from armap_agents.errors import ConfigurationError
from armap_agents.evaluation import RunSpec, rescore
from armap_agents.evaluation.quality import CandidateQuality, candidate_quality
from armap_agents.evaluation.results import read_results, read_scores
from armap_agents.evaluation.runner import evaluate
from armap_agents.evaluation.selectors import RESCORED, Draw, learned
from armap_agents.evaluation.spec import planner_of, read_spec, task_groups
from armap_agents.evaluation.summary import BEST_OF_N, draws_of
from armap_agents.evaluation.table import failures, percent, selector_name
from armap_agents.evaluation.truth import Environments
from armap_agents.reward import load_reward
from armap_agents.training.explore import finish, opening
from armap_agents.trajectory import Task

app = typer.Typer(no_args_is_help=True, help=__doc__)
console = Console(width=100)

SIZES = (1, 2, 4, 8, 16, 32)


class Episodes:
    """Plays N episodes of a task; a `RunFunction` of the evaluation.

    Args:
        agent: Begins each episode.
        environments: Where they are played.
    """

    def __init__(self, agent: Agent, environments: Environments) -> None:
        self._agent = agent
        self._environments = environments

    async def __call__(self, spec: RunSpec, task: Task, seed: int, label: str) -> Mapping[str, Any]:
        """Return N episodes as candidates; the first stands for the answer."""
        async with self._environments.lease() as environment:
            played = []
            for k in range(spec.n):
                begun = await opening(environment, task)
                choose = self._agent(begun, Random(f"{seed} {task.id} {k}"))
                played.append((await finish(environment, begun, choose)).to_dict())
        steps = sum(len(trajectory["steps"]) for trajectory in played)
        return {
            "trajectory": played[0],
            "score": None,
            "candidates": [
                {"trajectory": trajectory, "score": None, "error": None} for trajectory in played
            ],
            "usage": {"environment_steps": steps, "rollouts": spec.n},
            "seconds": 0.0,
            "run": None,
        }


@app.command()
def candidates(
    environment: Annotated[str, typer.Argument(help="Registered name.")],
    out: Annotated[Path, typer.Option(help="Folder; an interrupted one is completed.")],
    split: Annotated[str, typer.Option(help="Split of the tasks.")] = "test",
    tasks: Annotated[str | None, typer.Option(help="Ids and ranges; default: all.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Episodes per task.")] = 32,
    seeds: Annotated[str, typer.Option(help="Separated by commas.")] = "0",
    agent: Annotated[
        str, typer.Option(help="own: the environment's; uniform; in webshop also verbatim.")
    ] = "own",
    e: Annotated[list[str], typer.Option("-E", help="Option of the environment, key=value.")] = [],  # noqa: B006
) -> None:
    """Play episodes and ask for their true scores."""
    options = parse_pairs(e)
    known = [task.id for task in make_environment(environment, **options).tasks(split)]
    spec = RunSpec.from_dict(
        {
            "environment": environment,
            "environment_options": options,
            "split": split,
            "tasks": parse_tasks(tasks, known),
            "planners": [BEST_OF_N],
            "seeds": parse_seeds(seeds),
            "n": n,
            "policy_model": f"{agent} agent",
        }
    )
    asyncio.run(_candidates(spec, out, agent))


async def _candidates(spec: RunSpec, out: Path, agent: str) -> None:
    def make() -> Environment:
        return make_environment(spec.environment, **spec.environment_options)

    size = min(8, int(getattr(await asyncio.to_thread(make), "pool_size", 8)))
    environments = Environments(make, size)
    episodes = Episodes(agent_of(spec.environment, agent), environments)
    with Progress(console=Console(stderr=True)) as bars:
        bar = bars.add_task("playing", total=None)
        try:
            summary = await evaluate(
                spec,
                out,
                episodes,
                concurrency=size,
                progress=lambda done, total, _: bars.update(bar, completed=done, total=total),
            )
        finally:
            await environments.aclose()
    for line in failures(summary):
        console.print(line)


@app.command()
def judge(
    folder: Annotated[Path, typer.Argument(help="Of `candidates`, or of `armap evaluate`.")],
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=MODEL]…",
            help="Reward models; {seed} in MODEL stands for each of --seeds. None: the rest.",
        ),
    ] = [],  # noqa: B006
    seeds: Annotated[str, typer.Option(help="Separated by commas.")] = "0",
    prompt: Annotated[
        bool, typer.Option(help="Ask a language model as well (ARMAP_POLICY_URL and _MODEL).")
    ] = False,
    also: Annotated[
        list[Path], typer.Option(help="Another such folder: its tasks are added to these.")
    ] = [],  # noqa: B006
    together: Annotated[
        bool, typer.Option(help="Add the mean of each family's standardised scores.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="JSON of all figures.")] = None,
) -> None:
    """Have every selector pick among stored candidates, and say what it gets."""
    families = {
        name: {f"{name} {s}": source.replace("{seed}", str(s)) for s in parse_seeds(seeds)}
        if "{seed}" in source
        else {name: source}
        for name, source in (model.split("=", 1) for model in models)
    }
    every = {name: source for family in families.values() for name, source in family.items()}
    for own in (folder, *also):
        asyncio.run(_score(own, every, prompt))
    draws, values = stored([folder, *also])
    if together:
        for name, family in list(families.items()):
            joined = f"{name}, all {len(family)} together"
            values[f"{RESCORED}:{joined}"] = mean_of([values[f"{RESCORED}:{m}"] for m in family])
            families[joined] = {joined: ""}
    sizes = by_size(*pooled(draws, values, families))
    whole = sizes[max(sizes)]
    console.print(_table(whole, sizes))
    alone = candidate_quality(draws, [0.0] * len(draws), values)["selectors"]
    by_seed = {name: alone[f"{RESCORED}:{name}"] for name in every if name not in families}
    for name, quality in by_seed.items():
        console.print(f"{name}: {percent(quality['gap_closed'], quality['gap_closed_ci95'])}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        found = {
            "quality": _without_planner(whole),
            "by_size": {size: _without_planner(quality) for size, quality in sizes.items()},
            "by_seed": by_seed,
        }
        out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def _without_planner(quality: CandidateQuality) -> dict[str, Any]:
    """Return the figures but for the planner's own share of the gap: here no planner chose."""
    return {name: value for name, value in quality.items() if not name.startswith("gap_closed")}


async def _score(folder: Path, sources: Mapping[str, str], prompt: bool) -> None:
    spec = await asyncio.to_thread(read_spec, folder)
    selectors = await untrained_selectors(spec)
    if prompt:
        url, model = os.environ["ARMAP_POLICY_URL"], os.environ["ARMAP_POLICY_MODEL"]
        selectors["judge"] = JudgePrompt(url, model)
    loaded = {name: await asyncio.to_thread(load_reward, s) for name, s in sources.items()}
    console.print(f"{', '.join([*selectors, *loaded])} score …", style="dim")
    await rescore(folder, selectors | loaded)
    for reward in loaded.values():
        await reward.aclose()


Values = dict[str, list[NDArray[np.float64]]]
"""Each selector's value of every candidate, ``(candidates,)`` per draw."""


def stored(folders: Sequence[Path]) -> tuple[list[Draw], Values]:
    """Return the candidates of all folders, and what each selector of them all thinks of them.

    Runs that failed have no candidates to pick among: they are set aside, and counted aloud.

    Raises:
        ConfigurationError: No run is left.
    """
    every: list[Draw] = []
    values: Values = {}
    failed = 0
    for folder in folders:
        spec = read_spec(folder)
        results = read_results(folder).values()
        own_runs = [run for run in results if planner_of(run.planner) == BEST_OF_N]
        runs = [run for run in own_runs if run.error is None]
        failed += len(own_runs) - len(runs)
        draws, own = draws_of(spec.environment, runs, read_scores(folder), task_groups(spec))
        common = own.keys() & values.keys() if every else own.keys()
        values = {name: [*values.get(name, []), *own[name]] for name in own if name in common}
        every += draws
    if failed:
        console.print(f"failed runs set aside: {failed}; the folder's command tries them again")
    if not every:
        names = ", ".join(map(str, folders))
        raise ConfigurationError(f"{names}: no {BEST_OF_N} run to judge, evaluate with it first")
    return every, values


def mean_of(models: Sequence[list[NDArray[np.float64]]]) -> list[NDArray[np.float64]]:
    """Return the mean of several models' values, each standardised over all candidates.

    Args:
        models: Each model's values, ``(candidates,)`` per draw; -inf where a candidate failed.
    """
    standardised = []
    for values in models:
        scored = np.concatenate(values)
        scored = scored[np.isfinite(scored)]
        standardised.append([(array - scored.mean()) / scored.std() for array in values])
    return [np.mean(of_draw, axis=0) for of_draw in zip(*standardised, strict=True)]


def pooled(
    draws: Sequence[Draw], values: Values, families: Mapping[str, Mapping[str, str]]
) -> tuple[list[Draw], Values]:
    """Return every draw once for each seed, so that a family of models is one selector.

    Args:
        draws: The candidates.
        values: Of every selector, models by themselves.
        families: Name of each family with its models, as many as there are seeds or one alone.
    """
    seeds = max((len(family) for family in families.values()), default=1)
    every = [replace(draw, seed=seed) for seed in range(seeds) for draw in draws]
    kept: Values = {name: own * seeds for name, own in values.items() if not learned(name)}
    for name, family in families.items():
        own = [array for model in family for array in values[f"{RESCORED}:{model}"]]
        kept[f"{RESCORED}:{name}"] = own * (seeds // len(family))
    return every, kept


def by_size(draws: Sequence[Draw], values: Values) -> dict[int, CandidateQuality]:
    """Return how good all selectors are among the first n candidates, for each n."""
    most = min(len(draw.candidates) for draw in draws)
    found = {}
    for size in sorted({*(size for size in SIZES if size < most), most}):
        first = [replace(draw, candidates=draw.candidates[:size]) for draw in draws]
        own = {name: [array[:size] for array in arrays] for name, arrays in values.items()}
        found[size] = candidate_quality(first, [0.0] * len(first), own)
    return found


def _table(whole: CandidateQuality, sizes: Mapping[int, CandidateQuality]) -> Table:
    table = Table("picked by", "share of the gap (95 %)", "regret", "pairs", "minus best rule")
    for size in sizes:
        table.add_column(f"N={size}", justify="right")
    oracle = (f"{100 * quality['oracle']:.1f}" for quality in sizes.values())
    table.add_row("one who knows", "100 %", "0.000", "", "", *oracle)
    selectors = whole["selectors"]
    for name in sorted(selectors, key=lambda n: -(selectors[n]["score"] or 0.0)):
        found = selectors[name]
        if found["score"] is None:
            continue
        claim = whole["claims"].get(name)
        scores = (quality["selectors"][name]["score"] or 0.0 for quality in sizes.values())
        table.add_row(
            selector_name(name),
            percent(found["gap_closed"], found["gap_closed_ci95"]),
            f"{found['regret']:.3f}",
            "–" if found["concordance"] is None else f"{found['concordance']:.3f}",
            percent(claim["difference"], claim["ci95"]) if claim else "",
            *(f"{100 * score:.1f}" for score in scores),
        )
    table.caption = (
        f"A candidate in the mean {percent(whole['mean'])}, the best {percent(whole['oracle'])}"
        f"; {whole['distinct_candidates']:.1f} of {whole['candidates']} differ. "
        "N: true score × 100 of what is picked among the first N."
    )
    return table


if __name__ == "__main__":
    app()
