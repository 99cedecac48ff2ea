"""A summary as one picture: what each planner scores, and who picks best among the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from armap_agents.evaluation.intervals import Interval
from armap_agents.evaluation.selectors import REWARD
from armap_agents.evaluation.summary import BEST_OF_N, Summary
from armap_agents.evaluation.table import selector_name

PLAIN, STRONG, BOUND = "#4c6a92", "#c4552d", "#7a7a7a"

Row = tuple[str, float, Interval | None, str]
"""Label, value, its interval, colour."""


def draw(summary: Summary, path: Path) -> None:
    """Write the picture as PNG.

    Args:
        summary: What `evaluate` returned.
        path: File to write; its folder must exist.
    """
    best: Any = summary["planners"].get(BEST_OF_N, {"selectors": {}})
    selectors: list[Row] = [
        (
            selector_name(name),
            selector["gap_closed"],
            selector["gap_closed_ci95"],
            STRONG if name == REWARD else PLAIN,
        )
        for name, selector in best["selectors"].items()
        if selector["gap_closed"] is not None
    ]
    panels = 2 if selectors else 1
    figure = Figure(figsize=(6.5 * panels, 4.2), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    first = next(iter(summary["planners"].values()))
    planners: list[Row] = [
        (name, planner["score"], planner["ci95"], STRONG if name == BEST_OF_N else PLAIN)
        for name, planner in summary["planners"].items()
    ]
    if "oracle" in best:
        planners.append(("best candidate", best["oracle"], best["oracle_ci95"], BOUND))
    _dots(axes[0], planners)
    axes[0].set_xlim(left=0)
    axes[0].set_title(f"{summary['environment']}: score on {first['n_tasks']} tasks", loc="left")
    axes[0].set_xlabel("true score in %, with 95 % interval")
    if selectors:
        axes[1].axvspan(0, 100, color=BOUND, alpha=0.08, linewidth=0)
        _dots(axes[1], sorted(selectors, key=lambda row: row[1], reverse=True))
        axes[1].set_title(f"Who picks best among the same {summary['n']}?", loc="left")
        axes[1].set_xlabel("share of the possible gain in %\n0: chance, 100: perfect")
    figure.savefig(path, dpi=150)


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
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
