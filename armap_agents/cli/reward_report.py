"""`armap reward report`: what a reward model is worth on a data folder."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from armap_agents.errors import ConfigurationError

if TYPE_CHECKING:
    from armap_agents.training.report_accuracy import Accuracy
    from armap_agents.training.report_environment import EnvironmentReport
    from armap_agents.training.reward_report import Report

PICTURE, JSON_FILE = "reward-report.png", "reward-report.json"


def report(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Model folder, address, or registered reward model."),
    ],
    data: Annotated[list[Path], typer.Argument(metavar="DATA…", help="What generate wrote.")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures there.", dir_okay=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help=f"Folder for {JSON_FILE} and {PICTURE}.", file_okay=False),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Judge on all tasks, not the held-out ones alone.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, help="Most pairs, and most values, per environment.")
    ] = 5000,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
) -> None:
    """Say how far a reward model can be trusted: accuracy, artefacts, values, calibration."""
    console = Console()
    found = report_with_progress(model, data, everything=everything, limit=limit, seed=seed)
    for name, part in found["environments"].items():
        print_environment(name, part, found, console)
    text = json.dumps(found, indent=2, allow_nan=False) + "\n"
    if json_file is not None:
        _write(json_file, text)
    if out is not None:
        _write(out / JSON_FILE, text)
        try:
            from armap_agents.training.report_picture import draw
        except ImportError:
            console.print("For a picture: pip install 'armap-agents[report]'", markup=False)
        else:
            draw(found, out / PICTURE)


def report_with_progress(
    model: str, data: list[Path], *, everything: bool = False, limit: int = 5000, seed: int = 0
) -> Report:
    """Make a report behind a progress bar.

    Raises:
        ArmapError: The model or the data is missing or damaged.
    """
    from armap_agents.reward import load_reward
    from armap_agents.reward_model import registered_reward
    from armap_agents.training.reward_report import reward_report, training_of
    from armap_agents.training.split import read_folders

    dataset = read_folders(data)
    loaded = registered_reward(model) or load_reward(model)
    training = training_of(Path(model), dataset)
    columns = (
        TextColumn("report"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("prefixes scored"),
        TimeRemainingColumn(),
    )

    async def run() -> Report:
        with Progress(*columns, console=Console(stderr=True)) as bar:
            shown = bar.add_task("report", total=None)
            try:
                return await reward_report(
                    loaded,
                    dataset,
                    training,
                    everything=everything,
                    limit=limit,
                    seed=seed,
                    progress=lambda done, of: bar.update(shown, completed=done, total=of),
                )
            finally:
                close = getattr(loaded, "aclose", None)
                if close is not None:
                    await close()

    return asyncio.run(run())


def print_environment(name: str, part: EnvironmentReport, found: Report, console: Console) -> None:
    """Print one environment's figures as tables."""
    title = f"{name}: {part['pairs']:,} pairs of {part['tasks']:,} tasks"
    table = Table("pairs", "accuracy", "95 % interval", "pairs", "tasks", title=title)
    accuracy = part["accuracy"]
    _row(table, "all", accuracy["all"])
    groups = ("depth", "ending", "source", "kind", "states")
    for group in groups:
        table.add_section()
        for label, figure in (accuracy[group] or {}).items():  # type: ignore[literal-required]
            _row(table, f"{group} {label}", figure)
    console.print(table)
    if part["left_out"]:
        console.print(f"{part['left_out']:,} more were left out: see --limit.", style="dim")
    if accuracy["states_reason"]:
        console.print(f"Seen and unseen states: {accuracy['states_reason']}.", style="dim")
    console.print(f"Tasks: {found['tasks']}.", style="dim")
    _print_controls(part, console)
    _print_values(part, console)
    _print_calibration(part, console)


def _print_controls(part: EnvironmentReport, console: Console) -> None:
    controls = part["controls"]
    title = f"artefact controls, target ≤ {controls['target']:.2f}"
    table = Table("judged by", "accuracy", "95 % interval", "pairs", "tasks", title=title)
    _row(table, "the model, no instruction", controls["without"])
    if controls["shuffled"] is not None:
        _row(table, "the model, another task's instruction", controls["shuffled"])
    _row(table, "a logistic model on surface features", controls["surface"])
    table.add_section()
    for rule, figure in controls["rules"].items():
        _row(table, f"rule: {rule.replace('_', ' ')}", figure)
    console.print(table)
    if controls["shuffled_reason"]:
        console.print(f"Another task's instruction: {controls['shuffled_reason']}.", style="dim")
    console.print(
        f"Trivially easy pairs: {controls['easy']:.1%}, target ≤ {controls['easy_target']:.0%}."
    )


def _print_values(part: EnvironmentReport, console: Console) -> None:
    values = part["values"]
    if values["reason"]:
        console.print(f"Prefix values: {values['reason']}.", style="dim")
        return
    table = Table("AUROC of prefix values", "pooled", "within depth", "where estimable, by depth")
    for threshold, found in values["thresholds"].items():
        estimable = {d: a["value"] for d, a in found["depth"].items() if a["value"] is not None}
        by_depth = ", ".join(f"{depth}: {value:.3f}" for depth, value in estimable.items())
        pooled, within = found["pooled"], found["within"]
        table.add_row(
            f"return: {threshold}",
            _figure(pooled["value"], pooled["reason"]),
            _figure(within["value"], within["reason"]),
            by_depth or "–",
        )
    console.print(table)


def _print_calibration(part: EnvironmentReport, console: Console) -> None:
    table = Table("calibration", "expected error", "predicted", "happened (base rate)", "n")
    for what, found in part["calibration"].items():
        table.add_row(
            what,
            _figure(found["ece"], found["reason"]),
            _figure(found["mean"], "–"),
            _figure(found["base_rate"], "–"),
            f"{found['count']:,}",
        )
    console.print(table)
    table = Table("scores", "mean", "sd", "5 %", "median", "95 %", "n")
    for sort, scores in part["scores"].items():
        marks = (scores["quantiles"].get(q) for q in ("0.05", "0.5", "0.95"))
        figures = (scores["mean"], scores["std"], *marks)
        table.add_row(sort, *(_figure(f, "–") for f in figures), f"{scores['count']:,}")
    console.print(table)


def _row(table: Table, label: str, figure: Accuracy) -> None:
    interval = figure["ci95"]
    table.add_row(
        label,
        _figure(figure["accuracy"], "–"),
        "–" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}",
        f"{figure['pairs']:,}",
        f"{figure['tasks']:,}",
    )


def _figure(value: float | None, otherwise: str | None) -> str:
    return (otherwise or "–") if value is None else f"{value:.3f}"


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {path}: {error.strerror}; name another place"
        ) from None
