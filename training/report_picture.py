"""A reward report as one picture: a row of four panels for each environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from armap_agents.training.report_accuracy import Accuracy
from armap_agents.training.report_environment import EnvironmentReport
from armap_agents.training.reward_report import Report

PLAIN, STRONG, BOUND = "#4c6a92", "#c4552d", "#7a7a7a"

CURVES = {"preference": PLAIN, "probability": STRONG, "value": "#5b8c5a"}

Row = tuple[str, Accuracy, str]
"""Label, figure, colour."""


def draw(report: Report, path: Path) -> None:
    """Write the picture as PNG.

    Args:
        report: What `reward_report` returned.
        path: File to write; its folder must exist.
    """
    environments = report["environments"]
    heights = [max(4.8, 0.27 * len(_accuracy_rows(part))) for part in environments.values()]
    figure = Figure(figsize=(20, sum(heights)), layout="constrained")
    grid = figure.subplots(len(heights), 4, squeeze=False, height_ratios=heights)
    for axes, (name, part) in zip(grid, environments.items(), strict=True):
        _accuracy(axes[0], name, part)
        _controls(axes[1], part)
        _reliability(axes[2], part)
        _scores(axes[3], part)
    figure.savefig(path, dpi=110)


def _accuracy_rows(part: EnvironmentReport) -> list[Row]:
    accuracy = part["accuracy"]
    depths = {f"{d} step" if d == "1" else f"{d} steps": a for d, a in accuracy["depth"].items()}
    states = {f"{name} states": a for name, a in (accuracy["states"] or {}).items()}
    groups = (accuracy["ending"], depths, states)
    rows: list[Row] = [("all pairs", accuracy["all"], STRONG)]
    rows += [(label, figure, PLAIN) for group in groups for label, figure in group.items()]
    return rows


def _accuracy(axes: Any, name: str, part: EnvironmentReport) -> None:
    _dots(axes, _accuracy_rows(part))
    axes.set_title(f"{name}: {part['pairs']:,} pairs of {part['tasks']:,} tasks", loc="left")
    axes.set_xlabel("pair accuracy, with 95 % interval over tasks")


def _controls(axes: Any, part: EnvironmentReport) -> None:
    controls = part["controls"]
    rows: list[Row] = [
        ("the model", part["accuracy"]["all"], STRONG),
        ("no instruction", controls["without"], PLAIN),
    ]
    if controls["shuffled"] is not None:
        rows.append(("another's instruction", controls["shuffled"], PLAIN))
    rows.append(("surface model", controls["surface"], PLAIN))
    rows += [
        (f"rule: {name.replace('_', ' ')}", figure, BOUND)
        for name, figure in controls["rules"].items()
    ]
    _dots(axes, rows)
    axes.axvline(controls["target"], color=BOUND, linestyle="--", linewidth=1)
    axes.set_title(f"Artefacts; trivially easy: {controls['easy']:.0%}", loc="left")
    axes.set_xlabel(f"accuracy on the same pairs; dashed: target {controls['target']:.2f}")


def _reliability(axes: Any, part: EnvironmentReport) -> None:
    axes.plot([0, 1], [0, 1], color=BOUND, linestyle="--", linewidth=1)
    for name, colour in CURVES.items():
        found = part["calibration"][name]
        bars = [bar for bar in found["bins"] if bar["count"]]
        if not bars:
            continue
        label = f"{name}: error {found['ece']:.3f}, base rate {found['base_rate']:.2f}"
        sizes = [12 + 120 * bar["count"] / found["count"] for bar in bars]
        x, y = ([bar[key] for bar in bars] for key in ("predicted", "observed"))
        axes.plot(x, y, color=colour, linewidth=1.2, label=label)
        axes.scatter(x, y, s=sizes, color=colour)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=9, frameon=False, loc="upper left")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.25)  # room for the legend
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_title("Reliability", loc="left")
    axes.set_xlabel("predicted chance; area: share of the sample")
    axes.set_ylabel("what happened")
    axes.spines[["top", "right"]].set_visible(False)


def _scores(axes: Any, part: EnvironmentReport) -> None:
    edges = part["edges"]
    colours = {"chosen": PLAIN, "rejected": STRONG, "finished": BOUND}
    for name, found in part["scores"].items():
        if found["count"]:
            shares = [count / found["count"] for count in found["histogram"]]
            axes.stairs(shares, edges, label=f"{name} ({found['count']:,})", color=colours[name])
    axes.legend(fontsize=9, frameon=False)
    axes.set_title("Scores", loc="left")
    axes.set_xlabel("score")
    axes.set_ylabel("share")
    axes.spines[["top", "right"]].set_visible(False)


def _dots(axes: Any, rows: Sequence[Row]) -> None:
    for y, (_, figure, colour) in enumerate(rows):
        if figure["accuracy"] is None:
            continue
        if figure["ci95"] is not None:
            axes.plot(figure["ci95"], [y, y], color=colour, linewidth=3, alpha=0.4)
        axes.plot(figure["accuracy"], y, "o", color=colour, markersize=7)
        axes.annotate(
            f"{figure['accuracy']:.2f}",
            (figure["accuracy"], y),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.axvline(0.5, color=BOUND, linewidth=1, alpha=0.5)
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.8)
    axes.set_xlim(-0.02, 1.04)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
