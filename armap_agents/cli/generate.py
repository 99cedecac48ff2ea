"""`armap generate`: self-made training data for an environment."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from armap_agents.cli.options import (
    EnvironmentName,
    EnvironmentOptions,
    PolicyApiKeyEnv,
    PolicyConcurrency,
    PolicyModel,
    PolicyStyle,
    PolicyTimeout,
    PolicyUrl,
    Seed,
    parse_pairs,
)
from armap_agents.environment import make_environment
from armap_agents.errors import ConfigurationError
from armap_agents.policy import Policy, PolicyConfig
from armap_agents.resources import resources
from armap_agents.training.domain import domain
from armap_agents.training.folder import is_complete
from armap_agents.training.generate import GenerateConfig, generate_data

DEFAULTS = GenerateConfig()


def generate(
    environment: EnvironmentName,
    out: Annotated[Path, typer.Option(help="Data folder; an interrupted one is completed.")],
    pairs: Annotated[
        int, typer.Option(min=1, help="Whole tasks are added until there are so many pairs.")
    ] = DEFAULTS.pairs,
    seed: Seed = DEFAULTS.seed,
    policy_share: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of the episodes that the policy plays.",
            show_default=str(DEFAULTS.policy_share),
        ),
    ] = None,
    uniform_share: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share that uniform random actions play; what is left follows random intents.",
        ),
    ] = DEFAULTS.uniform_share,
    temperatures: Annotated[
        tuple[float, float], typer.Option(help="Lowest and highest temperature of the policy.")
    ] = DEFAULTS.temperatures,
    written_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the instructions that an LLM words.")
    ] = DEFAULTS.written_share,
    llm_share: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of the good episodes of which an LLM makes a bad one."
        ),
    ] = DEFAULTS.llm_share,
    constraints: Annotated[
        int | None,
        typer.Option(min=1, help="Things that an instruction asks for at once; default: drawn."),
    ] = DEFAULTS.constraints,
    episodes: Annotated[
        int, typer.Option(min=1, help="Explored at each visit to a task.")
    ] = DEFAULTS.episodes,
    negatives: Annotated[
        int,
        typer.Option(min=1, help="Wanted per good episode; in game24, per depth of each."),
    ] = DEFAULTS.negatives,
    partial_share: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of the pairs that prefixes are paired of as well."),
    ] = DEFAULTS.partial_share,
    values: Annotated[
        int, typer.Option(min=0, help="Prefixes of an episode that get a Monte-Carlo value.")
    ] = DEFAULTS.values,
    continuations: Annotated[
        int | None,
        typer.Option(min=1, help="K, played for each value; default: the environment's."),
    ] = DEFAULTS.continuations,
    policy_url: PolicyUrl = None,
    policy_model: PolicyModel = None,
    policy_api_key_env: PolicyApiKeyEnv = None,
    policy_style: PolicyStyle = "chat",
    policy_timeout: PolicyTimeout = PolicyConfig.timeout,
    policy_concurrency: PolicyConcurrency = PolicyConfig.max_concurrency,
    writer_url: Annotated[
        str | None, typer.Option(help="Endpoint of the LLM that writes; default: the policy's.")
    ] = None,
    writer_model: Annotated[
        str | None, typer.Option(help="Name under which it is served; default: the policy's.")
    ] = None,
    writer_api_key_env: Annotated[
        str | None,
        typer.Option(
            help="NAME of the variable that holds the writer's key; default: the policy's, where "
            "both have the same address."
        ),
    ] = None,
    e: EnvironmentOptions = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Explore, write instructions, corrupt, and write pairs of better and worse trajectories.

    Without a policy the environment is explored by random intents and uniform random actions.
    """
    low, high = temperatures
    if not 0 <= low <= high:
        raise ConfigurationError(f"--temperatures {low:g} {high:g}: give the lower one first")
    config = GenerateConfig(
        pairs=pairs,
        seed=seed,
        policy_share=DEFAULTS.policy_share if policy_share is None else policy_share,
        uniform_share=uniform_share,
        temperatures=temperatures,
        written_share=written_share,
        llm_share=llm_share,
        constraints=constraints,
        episodes=episodes,
        negatives=negatives,
        partial_share=partial_share,
        values=values,
        continuations=continuations,
    )

    def endpoint(
        what: str, url: str | None, model: str | None, key: str | None
    ) -> PolicyConfig | None:
        if (url is None) != (model is None):
            raise ConfigurationError(f"a {what} needs both --{what}-url and --{what}-model")
        if url is None or model is None:
            return None
        return PolicyConfig(
            url,
            model,
            key,
            cast(Literal["chat", "completion"], policy_style),  # `PolicyConfig` refuses others
            timeout=policy_timeout,
            max_concurrency=policy_concurrency,
        )

    policy = endpoint("policy", policy_url, policy_model, policy_api_key_env)
    if policy_share and policy is None:
        raise ConfigurationError(
            f"--policy-share {policy_share:g} needs a policy: give --policy-url and --policy-model"
        )
    if policy and config.policy_share + config.uniform_share > 1:
        raise ConfigurationError(
            f"--policy-share {config.policy_share:g} and --uniform-share {uniform_share:g} are "
            "more than all episodes: lower one"
        )
    writer = endpoint(
        "writer",
        writer_url or (policy_url if writer_model else None),
        writer_model or (policy_model if writer_url else None),
        # The policy's key is not for another host.
        writer_api_key_env or (policy_api_key_env if writer_url in (None, policy_url) else None),
    )
    if not (config.policy_share or config.written_share or config.llm_share):
        policy = writer = None  # an endpoint that nothing is asked of need not answer
    report = asyncio.run(
        generate_with_progress(environment, parse_pairs(e), out, config, policy, writer)
    )
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
    writer: PolicyConfig | None = None,
) -> dict[str, Any]:
    """Make or complete a data folder behind a progress bar; returns the report.

    Args:
        environment: Registered name.
        options: Of the environment; they come over those that exploring it needs.
        out: The data folder.
        config: What to make; models and options are filled in here.
        policy: Explores.
        writer: Words instructions and writes failing counterparts; default: the policy.

    Raises:
        ArmapError: The environment has no generator, or the policy does not answer.
    """
    columns = (
        TextColumn("generate"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("pairs, {task.fields[state]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    knowledge = domain(environment)
    chosen = {**knowledge.options, **options}
    make = partial(make_environment, environment, **chosen)
    unseen = {**chosen, **getattr(knowledge, "continued_options", {})}
    make_unseen = None if unseen == chosen else partial(make_environment, environment, **unseen)
    words = writer or policy
    config = replace(
        config,
        options=chosen,
        policy_model=policy.model if policy else None,
        writer_model=words.model if words else None,
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        shown = bar.add_task("generate", total=config.pairs, state="exploring")
        before: int | None = None

        def show(pairs: int, wanted: int, counts: Counter[str]) -> None:
            nonlocal before
            before = pairs if before is None else before
            rate = (pairs - before) / max(bar.tasks[shown].elapsed or 0.0, 0.1)
            state = f"{counts['explored']:,} episodes, {rate:.1f} pairs a second"
            bar.update(shown, completed=min(pairs, wanted), state=state)

        generated = partial(
            generate_data,
            knowledge,
            make,
            out,
            config,
            progress=show,
            make_unseen=make_unseen,
        )
        if words is None:
            return await generated()
        async with resources() as live:
            asked = {
                endpoint: Policy(endpoint, live.http)
                for endpoint in (policy, writer)
                if endpoint is not None
            }
            if not await asyncio.to_thread(is_complete, out, config.pairs):
                for endpoint in asked.values():
                    await endpoint.check()
            acting = asked[policy] if policy else None
            writing = asked[writer] if writer else None
            report = await generated(policy=acting, writer=writing)
            for endpoint in asked.values():
                if endpoint.failure is not None:
                    bar.console.print(
                        f"some calls failed, the last: {endpoint.failure}", markup=False
                    )
            return report
