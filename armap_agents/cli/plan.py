"""`armap plan`: one task, one planner, and the answer where a person can read it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from armap_agents.cli.options import (
    EnvironmentOptions,
    Objective,
    PolicyApiKeyEnv,
    PolicyModel,
    PolicyStyle,
    PolicyUrl,
    Reward,
    on_command_line,
    parse_pairs,
    parse_weights,
)
from armap_agents.cli.planners import (
    parse_variant,
    planner_context,
    planner_graph,
    refuse_unread,
)
from armap_agents.cli.planning import plan_task, recorded_run, replay_run, show
from armap_agents.environment import find_task, make_environment
from armap_agents.errors import ConfigurationError
from armap_agents.graphs import PLANNERS


def plan(
    ctx: typer.Context,
    environment: Annotated[
        str | None, typer.Argument(metavar="ENV", help="Registered environment, such as game24.")
    ] = None,
    task: Annotated[
        str | None, typer.Argument(metavar="TASK", help="Task id; see `armap tasks`.")
    ] = None,
    planner: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(PLANNERS)}; every other option of the context goes in brackets "
            "behind it, separated by semicolons: mcts\\[backup=mean;normalisation=none]."
        ),
    ] = "best_of_n",
    split: Annotated[
        str, typer.Option(help="Splits to look for the task in, separated by commas.")
    ] = "test,dev,train",
    n: Annotated[
        int | None, typer.Option("--n", help="Draws of sampling and Best-of-N; default 16.")
    ] = None,
    rollouts: Annotated[
        int | None, typer.Option(help="Budget of mcts and reflexion; default 32.")
    ] = None,
    completions: Annotated[
        int | None, typer.Option(help="Budget of sampled completions; default none.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(help="Budget of tokens read and written; default none.")
    ] = None,
    environment_steps: Annotated[
        int | None, typer.Option(help="Budget of actions in environments; default none.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Budget of time; default none.")] = None,
    stop_objective: Annotated[
        float | None, typer.Option(help="Objective that is good enough to stop; default none.")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option(help="Leaves that mcts evaluates at once; default 8.")
    ] = None,
    selection: Annotated[
        str | None, typer.Option(help="uct, puct or armap (the paper's); default puct.")
    ] = None,
    exploration: Annotated[
        float | None, typer.Option(help="Constant of its bonus; default: the rule's.")
    ] = None,
    proposals: Annotated[
        int | None, typer.Option(help="Actions proposed at a node; default 10.")
    ] = None,
    value_weight: Annotated[
        float | None,
        typer.Option(help="λ of prefix values, 0 to 1; default 0.5 where the model has them."),
    ] = None,
    width: Annotated[int | None, typer.Option(help="Of the beam; default 5.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of the policy; default 0.7.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every draw; default 0.")] = None,
    reward: Reward = None,
    objective: Objective = [],  # noqa: B006 - typer copies defaults
    policy_url: PolicyUrl = None,
    policy_model: PolicyModel = None,
    policy_api_key_env: PolicyApiKeyEnv = None,
    policy_style: PolicyStyle = "chat",
    run: Annotated[str | None, typer.Option(help="Name of the run; default: a new one.")] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with a run that was interrupted.")
    ] = None,
    replay: Annotated[
        str | None, typer.Option(metavar="RUN", help="Run again from the recorded answers.")
    ] = None,
    e: EnvironmentOptions = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Plan one task and show the answer; Ctrl-C finishes the step under way, --resume goes on."""
    options = {
        "policy_url": policy_url,
        "policy_model": policy_model,
        "policy_api_key_env": policy_api_key_env,
        "policy_style": policy_style,
        "reward": reward,
        "objective": parse_weights(objective) or None,
        "n": n,
        "rollouts": rollouts,
        "completions": completions,
        "tokens": tokens,
        "environment_steps": environment_steps,
        "seconds": seconds,
        "stop_objective": stop_objective,
        "parallel": parallel,
        "selection": selection,
        "exploration": exploration,
        "proposals": proposals,
        "value_weight": value_weight,
        "width": width,
        "temperature": temperature,
        "seed": seed,
    }
    said = on_command_line(ctx)
    # What environment variables say the context reads by itself, where nothing was recorded.
    given = {key: value for key, value in options.items() if key in said}
    if replay is not None:
        _refuse_beside("--replay", said, ["replay"])
        _replay(replay)
        return
    if resume is not None:
        _refuse_beside("--resume", said, ["resume", *options])
        name, found, recorded = recorded_run(resume, resumes=True)
        refuse_unread(name, given)
        # What was recorded stands; what is asked for now has the last word.
        context = planner_context(recorded | given | {"run": resume})
    elif environment is None or task is None:
        raise ConfigurationError(
            "say what to plan: `armap plan ENV TASK`, or `armap plan --resume RUN`"
        )
    else:
        name, chosen = _chosen(planner, given)
        context = planner_context(chosen | {"environment_options": parse_pairs(e), "run": run})
        found = find_task(
            make_environment(environment, **context.environment_options), task, split.split(",")
        ).to_dict()
    show(asyncio.run(plan_task(name, found, context)))


def _chosen(label: str, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the planner and its options, those in its brackets and those of the command line.

    Raises:
        ConfigurationError: There is no such planner, it does not read one of them, or one is
            given twice.
    """
    name, own = parse_variant(label)
    planner_graph(name)
    twice = sorted(own.keys() & given.keys())
    if twice:
        raise ConfigurationError(f"{twice[0]} is given twice: in {label} or as an option, not both")
    refuse_unread(name, {**given, **own})
    return name, {**given, **own}


def _replay(run: str) -> None:
    out, compared = asyncio.run(replay_run(run))
    show(out)
    Console(stderr=True).print(compared, highlight=False, soft_wrap=True)


def _refuse_beside(option: str, said: Mapping[str, str], allowed: Iterable[str]) -> None:
    """Raise `ConfigurationError` where something on the command line would have no effect."""
    others = [written for name, written in said.items() if name not in set(allowed)]
    if others:
        raise ConfigurationError(
            f"{option} goes by what the run recorded: leave out {', '.join(others)}"
        )
