"""`armap plan`: one task, one planner, and the answer where a person can read it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from armap_agents.cli.options import (
    EnvironmentName,
    EnvironmentOptions,
    Objective,
    PolicyApiKeyEnv,
    PolicyModel,
    PolicyStyle,
    PolicyUrl,
    Reward,
    Seed,
    parse_pairs,
    parse_weights,
)
from armap_agents.cli.planners import planner_context, planner_graph
from armap_agents.environment import find_task, make_environment
from armap_agents.resources import resources

if TYPE_CHECKING:
    from armap_agents.graphs.context import PlannerContext


def plan(
    environment: EnvironmentName,
    task: Annotated[str, typer.Argument(metavar="TASK", help="Task id; see `armap tasks`.")],
    planner: Annotated[str, typer.Option(help="greedy, sampling or best_of_n.")] = "best_of_n",
    split: Annotated[
        str, typer.Option(help="Splits to look for the task in, separated by commas.")
    ] = "test,dev,train",
    n: Annotated[int, typer.Option("--n", min=1, help="Rollouts.")] = 16,
    temperature: Annotated[float, typer.Option(min=0, help="Of the policy.")] = 0.7,
    seed: Seed = 0,
    reward: Reward = None,
    objective: Objective = [],  # noqa: B006 - typer copies defaults
    policy_url: PolicyUrl = None,
    policy_model: PolicyModel = None,
    policy_api_key_env: PolicyApiKeyEnv = None,
    policy_style: PolicyStyle = "chat",
    run: Annotated[str | None, typer.Option(help="Name of the run; default: a new one.")] = None,
    e: EnvironmentOptions = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Plan one task and show the answer."""
    context = planner_context(
        {
            "environment_options": parse_pairs(e),
            "policy_url": policy_url,
            "policy_model": policy_model,
            "policy_api_key_env": policy_api_key_env,
            "policy_style": policy_style,
            "reward": reward,
            "objective": parse_weights(objective),
            "n": n,
            "temperature": temperature,
            "seed": seed,
            "run": run,
        }
    )
    found = find_task(
        make_environment(environment, **context.environment_options), task, split.split(",")
    )
    out = asyncio.run(_run(planner, {"task": found.to_dict()}, context))
    _show(out)


async def _run(planner: str, inputs: dict[str, Any], context: PlannerContext) -> dict[str, Any]:
    from armap_agents.graphs.nodes import open_policy

    graph = planner_graph(planner)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    state: dict[str, Any] = {}
    total = 1 if planner == "greedy" else context.n
    async with resources():
        await (await open_policy(context)).check()
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("rollouts", total=total)
            stream: Any = graph.astream(inputs, context=context, stream_mode=["updates", "values"])
            async for mode, event in stream:
                if mode == "values":
                    state = event
                elif "rollout" in event:
                    progress.advance(bar)
    return state


def _show(out: dict[str, Any]) -> None:
    trajectory, usage = out["trajectory"], out["usage"]
    console = Console()
    console.print(f"[bold]{escape(trajectory['instruction'])}[/]")
    table = Table("step", "action", "observation")
    table.add_row("0", "", escape(trajectory["observation"]["text"]))
    for k, step in enumerate(trajectory["steps"], 1):
        table.add_row(str(k), escape(step["action"]), escape(step["observation"]["text"]))
    console.print(table)
    failed = sum(c["trajectory"]["status"] == "failed" for c in out["candidates"])
    score = "" if out["score"] is None else f"reward {out['score']:.3f}, "
    console.print(
        f"{score}{len(out['candidates'])} rollouts ({failed} failed), "
        f"{usage['completions']} completions, "
        f"{usage['prompt_tokens'] + usage['completion_tokens']} tokens; run {out['run']}"
    )
