"""`armap train`: a reward model from a data folder."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from armap_agents.cli.options import Seed

if TYPE_CHECKING:
    from armap_agents.reward.model import Settings
    from armap_agents.training.train import Status, TrainConfig


class Centring(Enum):
    """The choices of `--centring`; `armap_agents.training.loss` says what they are."""

    SQUARED = "squared"
    PAPER = "paper"


def train(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="What `armap generate` wrote.")],
    out: Annotated[Path, typer.Option(help="Model folder; an interrupted run goes on.")],
    backbone: Annotated[
        str, typer.Option(help="Pulled model, or a Hugging Face folder.")
    ] = "all-minilm-l6-v2",
    minutes: Annotated[float, typer.Option(min=0.01, help="Time budget.")] = 6.0,
    cpu_minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="Budget of CPU time instead, for a machine in shared use."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="End after as many steps, if sooner: reproducible.")
    ] = None,
    learning_rate: Annotated[float, typer.Option(min=0, help="At its peak.")] = 5e-4,
    centring: Annotated[
        Centring, typer.Option(help="How scores are kept around 0.")
    ] = Centring.SQUARED,
    seed: Seed = 0,
) -> None:
    """Train a reward model on self-made pairs and prefix values."""
    # Before torch starts: idle OpenMP threads that spin steal the cores from others.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from armap_agents.training.train import TrainConfig

    form: Any = centring.value
    config = TrainConfig(
        backbone=backbone,
        minutes=minutes,
        cpu_minutes=cpu_minutes,
        steps=steps,
        learning_rate=learning_rate,
        centring=form,
        seed=seed,
    )
    settings = train_with_progress(data, out, config)
    table = Table("steps", "accuracy on held-out pairs", title=f"reward model in {out}")
    for name, accuracy in settings.accuracy.items():
        table.add_row(name, f"{accuracy:.3f}")
    Console().print(table)


def train_with_progress(
    data: Path, out: Path, config: TrainConfig, threads: int | None = None
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
            bar.update(shown, completed=status.done, state=state)

        settings = run(data, out, config, show, threads)
        bar.update(shown, completed=1.0)
    return settings
