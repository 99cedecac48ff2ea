"""`armap evaluate`: planners on many tasks, with intervals, into a folder that can be resumed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from armap_agents.cli.options import (
    EnvironmentName,
    EnvironmentOptions,
    Objective,
    PolicyApiKeyEnv,
    PolicyModel,
    PolicyStyle,
    PolicyUrl,
    Reward,
    parse_pairs,
    parse_weights,
)
from armap_agents.cli.planners import (
    needs_reward,
    parse_planners,
    parse_variant,
    planner_graph,
    refuse_unread,
    reward_of,
    run_planner,
    variant_context,
)
from armap_agents.environment import make_environment
from armap_agents.errors import ConfigurationError
from armap_agents.evaluation import Cosine, rescore
from armap_agents.evaluation.runner import RunFunction
from armap_agents.evaluation.runner import evaluate as run_tasks
from armap_agents.evaluation.spec import RunSpec, planner_of
from armap_agents.evaluation.summary import BEST_OF_N, Summary
from armap_agents.evaluation.table import print_summary
from armap_agents.resources import resources
from armap_agents.reward_model import FunctionReward, RewardModel, ScoreFunction
from armap_agents.serving import is_pulled

UNTRAINED = "all-minilm-l6-v2"
"""The encoder whose untrained similarity every reward model is compared with."""


def evaluate(
    environment: EnvironmentName,
    out: Annotated[Path, typer.Option(help="Folder of results; an interrupted one is resumed.")],
    split: Annotated[str, typer.Option(help="Split of the tasks.")] = "test",
    tasks: Annotated[
        str | None,
        typer.Option(help="Task ids and ranges of them, such as 901-920,950; default: all."),
    ] = None,
    planner: Annotated[
        str,
        typer.Option(
            help="Planners, separated by commas; options of one alone stand in brackets: "
            "mcts\\[completions=96]."
        ),
    ] = "greedy,sampling,best_of_n",
    n: Annotated[int, typer.Option("--n", min=1, help="Rollouts per task.")] = 16,
    temperature: Annotated[float, typer.Option(min=0, help="Of the policy.")] = 0.7,
    seed: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0",
    reward: Reward = None,
    objective: Objective = [],  # noqa: B006 - typer copies defaults
    policy_url: PolicyUrl = None,
    policy_model: PolicyModel = None,
    policy_api_key_env: PolicyApiKeyEnv = None,
    policy_style: PolicyStyle = "chat",
    max_steps: Annotated[int | None, typer.Option(min=1, help="Most actions in a rollout.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Tasks side by side.")] = 8,
    e: EnvironmentOptions = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Run planners on tasks and say what they score, with intervals and costs."""
    options = parse_pairs(e)
    known = [task.id for task in make_environment(environment, **options).tasks(split)]
    spec = RunSpec.from_dict(
        {
            "environment": environment,
            "environment_options": options,
            "split": split,
            "tasks": parse_tasks(tasks, known),
            "planners": parse_planners(planner),
            "seeds": parse_seeds(seed),
            "n": n,
            "temperature": temperature,
            "policy_url": policy_url,
            "policy_model": policy_model,
            "policy_style": policy_style,
            "policy_api_key_env": policy_api_key_env,
            "reward": reward,
            "objective": parse_weights(objective),
            "limits": {} if max_steps is None else {"max_steps": max_steps},
        }
    )
    show(asyncio.run(evaluate_spec(spec, out, run_planner, concurrency)), out)


async def evaluate_spec(
    spec: RunSpec, out: Path, run: RunFunction, concurrency: int = 8
) -> Summary:
    """Check policy and reward model, run the spec with a progress bar, and return the summary.

    Traces go to ``out/runs``, so that evaluations with other options never meet in one run.

    Raises:
        ArmapError: Something that the spec names is missing or does not work.
    """
    from armap_agents.graphs.nodes import open_policy, open_reward

    for label in spec.planners:
        planner_graph(planner_of(label))
        variant_context(spec, label, spec.seeds[0])
        refuse_unread(*parse_variant(label))
    context = variant_context(spec, spec.planners[0], spec.seeds[0])
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    async with resources(runs=out / "runs"):
        identity: dict[str, Any] = {}
        await (await open_policy(context)).check()
        if any(map(needs_reward, spec.planners)):
            names = {reward_of(spec, seed) for seed in spec.seeds}
            models = [
                await open_reward(context.model_copy(update={"reward": name}))
                for name in sorted(name or "" for name in names)
            ]
            identity["reward_fingerprint"] = ",".join(model.fingerprint for model in models)
        with ExitStack() as stack:
            bars = stack.enter_context(Progress(*columns, console=Console(stderr=True)))
            bar = bars.add_task("evaluating", total=None)

            def report(finished: int, total: int, failed: int) -> None:
                words = f"evaluating, {failed} failed" if failed else "evaluating"
                bars.update(bar, completed=finished, total=total, description=words)

            summary = await run_tasks(
                spec, out, run, concurrency=concurrency, progress=report, identity=identity
            )
        if BEST_OF_N not in map(planner_of, spec.planners):
            return summary
        return await rescore(out, await untrained_selectors(spec))


async def untrained_selectors(spec: RunSpec) -> dict[str, RewardModel]:
    """Return the trivial selectors that look at observations, by name: what `rescore` takes."""
    environment = make_environment(spec.environment, **spec.environment_options)
    rules: dict[str, ScoreFunction] = getattr(environment, "selectors", {})
    found: dict[str, RewardModel] = {name: FunctionReward(r, name) for name, r in rules.items()}
    if is_pulled(UNTRAINED) and find_spec("torch"):
        from armap_agents.reward.untrained import UntrainedEncoder

        encoder = await asyncio.to_thread(UntrainedEncoder, UNTRAINED)
        found["cosine"] = Cosine(encoder.encode, encoder.fingerprint)
    return found


def show(summary: Summary, out: Path) -> None:
    """Print the tables, draw the picture where matplotlib is there, and say where things lie."""
    console = Console()
    print_summary(summary, console)
    files = "results.jsonl, summary.json"
    try:
        from armap_agents.evaluation.picture import draw
    except ImportError:
        console.print("For a picture: pip install 'armap-agents[report]'", markup=False)
    else:
        draw(summary, out / "summary.png")
        files += ", summary.png"
    console.print(f"Everything is in {out}: {files}", markup=False)


def parse_tasks(text: str | None, known: Sequence[str]) -> list[str]:
    """Return the task ids that ``901-920,950`` means.

    Args:
        text: Ids and ranges of the listing, separated by commas; None for all.
        known: Every id of the split, in its order; a range runs from one of them to another.

    Raises:
        ConfigurationError: An id is not in the split.
    """
    if text is None:
        return list(known)
    place = {task_id: k for k, task_id in enumerate(known)}
    chosen: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        first, _, last = part.partition("-")
        if part in place:
            chosen.append(part)
        elif first in place and last in place and place[first] <= place[last]:
            chosen += known[place[first] : place[last] + 1]
        else:
            raise ConfigurationError(
                f"no tasks {part!r} in this split: its ids go from {known[0]} to {known[-1]}"
            )
    return chosen


def parse_seeds(text: str) -> list[int]:
    """Return the seeds that ``0,1,2`` means.

    Raises:
        ConfigurationError: One of them is not a number from 0 up.
    """
    seeds = [part.strip() for part in text.split(",")]
    if not all(seed.isdecimal() for seed in seeds):
        raise ConfigurationError(f"--seed {text!r}: write numbers from 0 up, such as 0,1,2")
    return [int(seed) for seed in seeds]
