"""`armap label`, `armap reward recalibrate`: labels and chances that are not self-made."""

from __future__ import annotations

import asyncio
from collections import Counter
from enum import Enum
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
    Reward,
    Seed,
    parse_pairs,
)
from armap_agents.environment import make_environment

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("tasks{task.fields[state]}"),
    TimeRemainingColumn(),
)

Episodes = Annotated[
    Path,
    typer.Option(
        "--from",
        help="Data folder, whose episodes are acted out again, or folder of searches' runs; "
        "training tasks alone are taken.",
    ),
]


class By(Enum):
    """Whose word the labels are."""

    ENVIRONMENT = "environment"
    REWARD = "reward"


def label(
    environment: EnvironmentName,
    source: Episodes,
    out: Annotated[Path, typer.Option(help="Data folder; an interrupted one is completed.")],
    by: Annotated[
        By,
        typer.Option(
            help="environment: the true score, an upper bound and not self-made; reward: the "
            "preference of --reward, on what searches found."
        ),
    ],
    reward: Reward = None,
    most: Annotated[int, typer.Option("--pairs", min=1, help="Most pairs of a task.")] = 16,
    seed: Seed = 0,
    e: EnvironmentOptions = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Make pairs by true scores of training tasks, or by a reward model on what searches found.

    They go to a data folder of their own, which `armap train` takes beside others.
    """
    report = asyncio.run(
        _label(environment, parse_pairs(e), source, out, by, reward, most=most, seed=seed)
    )
    table = Table("what", "count", title=f"{environment}: labels in {out}")
    for name, count in report["counts"].items():
        table.add_row(name, f"{count:,}")
    Console().print(table)


async def _label(
    environment: str,
    options: dict[str, Any],
    source: Path,
    out: Path,
    by: By,
    reward: str | None,
    *,
    most: int,
    seed: int,
) -> dict[str, Any]:
    from armap_agents.reward import load_reward
    from armap_agents.reward_model import registered_reward
    from armap_agents.training.labels import label_data

    model = None
    if by is By.REWARD and reward is not None:
        model = registered_reward(reward) or await asyncio.to_thread(load_reward, reward)
    with Progress(*COLUMNS, console=Console(stderr=True)) as bar:
        shown = bar.add_task("label", total=None, state="")

        def show(done: int, total: int, counts: Counter[str]) -> None:
            state = f", {counts['pairs']:,} pairs"
            bar.update(shown, completed=done, total=total, state=state)

        return await label_data(
            partial(make_environment, environment, **options),
            source,
            out,
            by.value,
            model=model,
            options=options,
            most=most,
            seed=seed,
            progress=show,
        )


def recalibrate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder.")],
    environment: EnvironmentName,
    source: Episodes,
    out: Annotated[Path, typer.Option(help="New model folder.")],
    e: EnvironmentOptions = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Fit probabilities of success on true scores of training tasks, into a new model folder.

    The scores stay as they are; what they mean becomes the environment's word, and is labelled so.
    The base rate is that of the given episodes: runs of the policy that will plan tell most.
    """
    from armap_agents.reward import load_reward
    from armap_agents.training.recalibrate import recalibrate as run

    loaded = load_reward(model)
    make = partial(make_environment, environment, **parse_pairs(e))
    with Progress(*COLUMNS, console=Console(stderr=True)) as bar:
        shown = bar.add_task("recalibrate", total=None, state="")
        fitted = asyncio.run(
            run(
                loaded,
                model,
                out,
                make,
                source,
                lambda done, total: bar.update(shown, completed=done, total=total),
            )
        )
    Console().print(
        f"{out}: fitted on {fitted.examples:,} episodes, of which {fitted.base_rate:.2%} succeeded"
    )
