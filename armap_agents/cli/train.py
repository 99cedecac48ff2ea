"""`armap train`: a reward model from data folders."""

from __future__ import annotations

import json
import math
import os
import re
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from armap_agents.cli.options import Seed, parse_pairs
from armap_agents.errors import ConfigurationError
from armap_agents.training.config import DEFAULT_MINUTES, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from armap_agents.reward.settings import Settings
    from armap_agents.training.trainer import Status


class Kind(Enum):
    """The choices of `--backbone`; `armap_agents.reward.backbones` says what they are."""

    MINILM = "minilm"
    HF_TEXT = "hf-text"
    VILA = "vila"


class Loss(Enum):
    """The choices of `--loss`; `armap_agents.training.loss` says what they are."""

    PAIRWISE = "pairwise"
    BINARY = "binary"


class Centring(Enum):
    """The choices of `--centring`; `armap_agents.training.loss` says what they are."""

    SQUARED = "squared"
    PAPER = "paper"


class Source(Enum):
    """The choices of `--sources`; `armap_agents.training.records` says what they are."""

    PERTURB = "perturb"
    LLM = "llm"
    ENVIRONMENT = "environment"
    SEARCH_REWARD = "search-reward"
    SEARCH_ENVIRONMENT = "search-environment"


DEFAULT = TrainConfig()


def train(
    data: Annotated[
        list[Path], typer.Argument(metavar="DATA...", help="What `armap generate` wrote.")
    ],
    out: Annotated[Path, typer.Option(help="Model folder; an interrupted run goes on.")],
    backbone: Annotated[Kind, typer.Option(help="Kind of the backbone.")] = Kind.MINILM,
    weights: Annotated[
        str | None,
        typer.Option(help="Its weights: a pulled model, or a folder.", show_default="the kind's"),
    ] = None,
    b: Annotated[
        list[str],
        typer.Option("-B", metavar="KEY=VALUE", help="Option of the backbone, such as rank=32."),
    ] = [],  # noqa: B006 - typer copies defaults
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="Time budget. Of several budgets the one that is used up first ends training.",
            show_default=f"{DEFAULT_MINUTES:g} without another budget",
        ),
    ] = None,
    cpu_minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="Budget of CPU time, for a machine in shared use."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Budget of optimiser steps: reproducible.")
    ] = None,
    rows: Annotated[
        int, typer.Option(min=2, help="Trajectories encoded at once, at most.")
    ] = DEFAULT.rows,
    positions: Annotated[
        int, typer.Option(min=1, help="Tokens encoded at once, at most: bounds memory.")
    ] = DEFAULT.positions,
    accumulate: Annotated[
        int, typer.Option(min=1, help="As many of these make one step.")
    ] = DEFAULT.accumulate,
    loss: Annotated[Loss, typer.Option(help="What scores are trained to be.")] = Loss.PAIRWISE,
    centring: Annotated[
        Centring, typer.Option(help="How scores are kept around 0.")
    ] = Centring.SQUARED,
    margin: Annotated[
        float, typer.Option(min=0, help="Least difference of scores, where a pair states none.")
    ] = DEFAULT.margin,
    value_weight: Annotated[
        float, typer.Option(min=0, help="Weight of the loss on prefix values.")
    ] = DEFAULT.value_weight,
    learning_rate: Annotated[float, typer.Option(min=0, help="At its peak.")] = (
        DEFAULT.learning_rate
    ),
    head_learning_rate: Annotated[
        float | None,
        typer.Option(min=0, help="Of the new layers.", show_default="the same"),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Stop after as many of the ten evaluations without a better held-out accuracy, "
            "and keep the best weights.",
        ),
    ] = None,
    held_out: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the tasks kept from training.")
    ] = DEFAULT.held_out,
    fraction: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the other tasks that is used.")
    ] = DEFAULT.fraction,
    sources: Annotated[
        list[Source],
        typer.Option(help="Label source to use; may be repeated.", show_default="all"),
    ] = [],  # noqa: B006 - typer copies defaults
    images: Annotated[
        bool | None,
        typer.Option("--images/--no-images", help="Show screenshots.", show_default="vila: yes"),
    ] = None,
    knowledge: Annotated[
        Path | None,
        typer.Option(
            help="JSON list of \\[pattern, text]: what is known about instructions that match."
        ),
    ] = None,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Less memory, more time: for large backbones.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Train a reward model on self-made pairs and prefix values.

    On several GPUs: `torchrun --nproc-per-node N --no-python armap train …`.
    """
    # Before torch starts: idle OpenMP threads that spin steal the cores from others.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    objective: Any = loss.value
    form: Any = centring.value
    labelled: Any = tuple(source.value for source in sources)
    config = TrainConfig(
        backbone=backbone.value,
        weights=weights,
        options=parse_pairs(b),
        minutes=minutes,
        cpu_minutes=cpu_minutes,
        steps=steps,
        rows=rows,
        positions=positions,
        accumulate=accumulate,
        loss=objective,
        centring=form,
        margin=margin,
        value_weight=value_weight,
        learning_rate=learning_rate,
        head_learning_rate=head_learning_rate,
        patience=patience,
        held_out=held_out,
        fraction=fraction,
        sources=labelled,
        images=images,
        knowledge=read_knowledge(knowledge) if knowledge else (),
        checkpointing=checkpointing,
        seed=seed,
    )
    settings = train_with_progress(data, out, config)
    table = Table("steps", "accuracy on held-out pairs", title=f"reward model in {out}")
    for name, accuracy in settings.accuracy.items():
        table.add_row(name, f"{accuracy:.3f}")
    Console().print(table)


def read_knowledge(path: Path) -> tuple[tuple[str, str], ...]:
    """Read what is known about some tasks: patterns of instructions, and texts.

    Raises:
        ConfigurationError: The file is missing or no such list.
    """
    try:
        rules = [(pattern, text) for pattern, text in json.loads(path.read_text("utf-8"))]
        for pattern, text in rules:
            re.compile(pattern)
            if not isinstance(text, str):
                raise TypeError(f"{text!r} is no text")
    except (OSError, ValueError, TypeError, re.error) as error:
        raise ConfigurationError(
            f'{path} is no list of knowledge ({error}): write [["pattern", "text"], ...]'
        ) from None
    return tuple(rules)


def train_with_progress(
    data: Sequence[Path], out: Path, config: TrainConfig, threads: int | None = None
) -> Settings:
    """Train behind a progress bar, on all cores or on so many threads; returns the settings.

    Raises:
        ArmapError: The data is damaged, `out` belongs to another run, or torch is missing.
    """
    from armap_agents.training.train import train as run

    columns = (
        TextColumn("train"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %, {task.fields[state]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        shown = bar.add_task("train", total=1.0, state="reading the data")

        def show(status: Status) -> None:
            state = (
                f"step {status.step}, loss {status.loss:.3f}, accuracy {status.accuracy:.3f}, "
                f"{status.pairs_per_second:.0f} pairs/s"
            )
            if not math.isnan(status.held_out):
                state += f", held out {status.held_out:.3f}"
            bar.update(shown, completed=status.done, state=state)

        settings = run(data, out, config, show, threads)
        bar.update(shown, completed=1.0)
    return settings
