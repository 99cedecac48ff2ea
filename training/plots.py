"""The picture of a training run: loss and accuracy over steps."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from armap_agents.training.run_log import read_log

PICTURE = "training.png"

POINTS = 100
"""Points of a smoothed line, about."""


def draw_training(folder: Path) -> str:
    """Draw ``training.png`` from a finished run's log.

    Returns:
        A line of Markdown that shows it, or that says why it is not there.
    """
    if find_spec("matplotlib") is None:
        return (
            "No picture of the training was drawn, matplotlib is missing: install it with "
            "`pip install 'armap-agents[report]'`."
        )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = read_log(folder)
    taken = [line for line in lines if "loss" in line]
    evaluated = [line for line in lines if "held_out_accuracy" in line]
    steps = [line["step"] for line in taken]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for name, label in (("loss", "pairs"), ("value_loss", "prefix values")):
        left.plot(*smoothed(steps, [line[name] for line in taken]), label=label)
    left.set(xlabel="step", ylabel="loss", ylim=(0, None))
    right.plot(*smoothed(steps, [line["accuracy"] for line in taken]), label="training pairs")
    right.plot(
        [line["step"] for line in evaluated],
        [line["held_out_accuracy"] for line in evaluated],
        marker="o",
        label="held-out pairs",
    )
    right.set(xlabel="step", ylabel="pair accuracy", ylim=(0, 1.02))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(folder / PICTURE, dpi=120)
    return f"![Loss and accuracy over steps]({PICTURE})"


Line = NDArray[np.float64]


def smoothed(steps: Sequence[float], values: Sequence[float]) -> tuple[Line, Line]:
    """Return means of neighbouring steps, few enough to be read."""
    groups = max(1, min(POINTS, len(steps)))
    means = [
        np.array([part.mean() for part in np.array_split(np.asarray(row, float), groups)])
        for row in (steps, values)
    ]
    return means[0], means[1]
