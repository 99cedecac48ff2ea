"""`armap generate`: self-made training data for an environment."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from armap_agents.cli.options import (
    EnvironmentName,
    EnvironmentOptions,
    PolicyApiKeyEnv,
    PolicyModel,
    PolicyStyle,
    PolicyUrl,
    Seed,
    parse_pairs,
)
from armap_agents.environment import make_environment
from armap_agents.errors import ConfigurationError
from armap_agents.policy import Policy, PolicyConfig
from armap_agents.resources import resources
from armap_agents.training.domain import domain
from armap_agents.training.generate import GenerateConfig, generate_data


def generate(
    environment: EnvironmentName,
    out: Annotated[Path, typer.Option(help="Data folder; an interrupted one is completed.")],
    trajectories: Annotated[int, typer.Option(min=1, help="Episodes to explore.")] = 20_000,
    seed: Seed = 0,
    policy_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the work that the policy does.")
    ] = 0.02,
    temperature: Annotated[float, typer.Option(min=0, help="Of the policy.")] = 1.0,
    policy_url: PolicyUrl = None,
    policy_model: PolicyModel = None,
    policy_api_key_env: PolicyApiKeyEnv = None,
    policy_style: PolicyStyle = "chat",
    e: EnvironmentOptions = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Explore, write instructions, corrupt, and write pairs of better and worse trajectories.

    Without a policy the environment is explored at random alone.
    """
    if (policy_url is None) != (policy_model is None):
        raise ConfigurationError("a policy needs both --policy-url and --policy-model")
    config = GenerateConfig(
        trajectories=trajectories,
        seed=seed,
        policy_model=policy_model,
        policy_share=policy_share if policy_model else 0.0,
        temperature=temperature,
    )
    policy = None
    if policy_url is not None and policy_model is not None:
        style: Any = policy_style
        policy = PolicyConfig(policy_url, policy_model, policy_api_key_env, style)
    report = asyncio.run(generate_with_progress(environment, parse_pairs(e), out, config, policy))
    table = Table("what", "count", title=f"{environment}: data in {out}")
    for name, count in report["counts"].items():
        table.add_row(name, f"{count:,}")
    Console().print(table)


async def generate_with_progress(
    environment: str,
    options: dict[str, Any],
    out: Path,
    config: GenerateConfig,
    policy: PolicyConfig | None = None,
) -> dict[str, Any]:
    """Make or complete a data folder behind a progress bar; returns the report.

    Raises:
        ArmapError: The environment has no generator, or the policy does not answer.
    """
    columns = (
        TextColumn("generate"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tasks, {task.fields[state]}"),
        TimeRemainingColumn(),
    )
    make = partial(make_environment, environment, **options)
    knowledge = domain(environment)
    with Progress(*columns, console=Console(stderr=True)) as bar:
        shown = bar.add_task("generate", total=None, state="looking for tasks")
        before: int | None = None

        def show(done: int, total: int, counts: Counter[str]) -> None:
            nonlocal before
            before = done if before is None else before
            rate = (done - before) / max(bar.tasks[shown].elapsed or 0.0, 0.1)
            state = f"{counts['pairs']:,} pairs, {rate:.0f} tasks/s"
            bar.update(shown, completed=done, total=total, state=state)

        if policy is None:
            return await generate_data(knowledge, make, out, config, progress=show)
        async with resources() as live:
            asked = Policy(policy, live.http)
            await asked.check()
            return await generate_data(knowledge, make, out, config, asked, show)
