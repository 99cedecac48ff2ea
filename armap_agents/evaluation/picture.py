"""A summary as one picture: what each planner scores, and who picks best among the candidates."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from armap_agents.evaluation.intervals import Interval
from armap_agents.evaluation.quality import CandidateQuality
from armap_agents.evaluation.selectors import REWARD
from armap_agents.evaluation.summary import Summary
from armap_agents.evaluation.table import best_of_n, selector_name

PLAIN, STRONG, BOUND = "#4c6a92", "#c4552d", "#7a7a7a"

Row = tuple[str, float, Interval | None, str]
"""Label, value, its interval, colour."""


def draw(summary: Summary, path: Path) -> None:
    """Write the picture as PNG.

    Args:
        summary: What `evaluate` returned.
        path: File to write; its folder must exist.
    """
    judged = best_of_n(summary)
    selectors: list[Row] = [] if judged is None else _selectors(judged[1])
    planners: list[Row] = [
        (_broken(label), planner["score"], planner["ci95"], STRONG if planner["scored"] else PLAIN)
        for label, planner in summary["planners"].items()
    ]
    if judged is not None:
        name = f"best of {judged[1]['candidates']} candidates"
        planners.append((name, judged[1]["oracle"], judged[1]["oracle_ci95"], BOUND))
    panels = 2 if selectors else 1
    lines = max(label.count("\n") + 1 for label, *_ in planners)
    height = 1.4 + max(0.4 * max(7, len(selectors)), len(planners) * max(0.4, 0.18 * lines))
    figure = Figure(figsize=(6.5 * panels, height), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    tasks = max(planner["n_tasks"] for planner in summary["planners"].values())
    _dots(axes[0], planners)
    axes[0].set_xlim(left=0)
    axes[0].set_title(f"{summary['environment']}: score on {tasks} tasks", loc="left")
    axes[0].set_xlabel("true score in %, with 95 % interval")
    if judged is not None and selectors:
        axes[1].axvspan(0, 100, color=BOUND, alpha=0.08, linewidth=0)
        _dots(axes[1], sorted(selectors, key=lambda row: row[1], reverse=True))
        axes[1].set_title(f"Who picks best among the same {judged[1]['candidates']}?", loc="left")
        axes[1].set_xlabel("share of the possible gain in %\n0: chance, 100: perfect")
    figure.savefig(path, dpi=150)


def _selectors(quality: CandidateQuality) -> list[Row]:
    return [
        (
            selector_name(name),
            selector["gap_closed"],
            selector["gap_closed_ci95"],
            STRONG if name == REWARD else PLAIN,
        )
        for name, selector in quality["selectors"].items()
        if selector["gap_closed"] is not None
    ]


def _broken(label: str) -> str:
    """Break a long label into lines at its options."""
    return "\n".join(textwrap.wrap(label.replace(";", "; "), 36))


def _dots(axes: Any, rows: Sequence[Row]) -> None:
    for y, (_, value, interval, colour) in enumerate(rows):
        if interval is not None:
            axes.plot([100 * end for end in interval], [y, y], color=colour, linewidth=3, alpha=0.4)
        axes.plot(100 * value, y, "o", color=colour, markersize=8)
        axes.annotate(
            f"{100 * value:.1f}",
            (100 * value, y),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
