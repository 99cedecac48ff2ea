"""Does the reward model learn? Pair accuracy on states that exhaustive search labels.

The pairs are none that the generator made (`solved_pairs.py`). Training labels are self-made; the
solver labels these pairs and measures the labels' noise.

Controls stand beside each model: the same model without the instruction, the same with one that
asks for another number, and a logistic model of surface features of the numbers left, fitted to the
same training pairs. **The instruction cannot matter here**: it asks for 24 in every training pair
and every evaluated one, so these two controls say how far a constant can be disturbed, not whether
the model reads instructions. What the model must beat is the surface features.

    python benchmarks/learning.py --out runs/learning                # all of it, three seeds
    python benchmarks/learning.py --out runs/try --seeds 0 --minutes 1 --fractions 1

The budget is CPU time of one thread, so that other work on the machine changes how long training
takes but not what is learned, and two cores never give less; wall seconds are recorded beside.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from solved_pairs import (
    DEPTHS,
    Score,
    distinct_pairs,
    evaluation_pairs,
    measure,
    show,
    state,
    training_states,
)

from armap_agents.cli.train import train_with_progress
from armap_agents.errors import ArmapError, ConfigurationError
from armap_agents.evaluation.selectors import fit_logistic
from armap_agents.reward import load_reward
from armap_agents.reward.loaded import LoadedReward
from armap_agents.tools.game24 import Game24
from armap_agents.tools.game24.arithmetic import TARGET
from armap_agents.tools.game24.solver import solvable
from armap_agents.training.config import TrainConfig
from armap_agents.training.domains.game24 import Game24Domain
from armap_agents.training.generate import GenerateConfig, generate_data
from armap_agents.training.identity import write_whole
from armap_agents.training.records import Dataset, load_dataset
from armap_agents.trajectory import Trajectory


def baselines() -> dict[str, Score]:
    """Return the trivial scorers that need no training."""
    rng = Random(0)

    def small(trajectory: Trajectory) -> float:
        numbers = state(trajectory)
        return sum(n.denominator == 1 and 0 < n <= TARGET for n in numbers) / len(numbers)

    return {
        "random": lambda trajectories: [rng.random() for _ in trajectories],
        "string check": lambda trajectories: [
            float(trajectory.actions[-1].endswith("= 24")) for trajectory in trajectories
        ],
        "small integers left": lambda trajectories: [small(t) for t in trajectories],
    }


def without_instruction(trajectory: Trajectory) -> Trajectory:
    """Return the prefix judged against no words at all."""
    return replace(trajectory, instruction="")


def another_target(trajectory: Trajectory) -> Trajectory:
    """Return the prefix judged against a number from 1 to 100 other than 24, one a puzzle."""
    others = [number for number in range(1, 101) if number != TARGET]
    wanted = Random(trajectory.task.id).choice(others)
    text = trajectory.instruction.replace(f"make {TARGET}.", f"make {wanted}.")
    return replace(trajectory, instruction=text)


def surface(trajectory: Trajectory) -> list[float]:
    """Return largest, smallest, sum, whole numbers, and distance of each of these three from 24.

    How many numbers are left is the depth, which both sides of a pair share.
    """
    numbers = state(trajectory)
    sizes = [float(size) for size in (max(numbers), min(numbers), sum(numbers))]
    whole = float(sum(n.denominator == 1 for n in numbers))
    return [*sizes, whole, *(abs(size - TARGET) for size in sizes)]


def surface_model(data: Dataset) -> Score:
    """Return a logistic model of the surface features, fitted to the training pairs by depth."""
    weights: dict[int, NDArray[np.float64]] = {}
    for depth in DEPTHS:
        pairs = [pair for pair in data.pairs if pair.chosen_steps == depth]
        if not pairs:
            continue
        chosen = [surface(data.trajectories[p.chosen].prefix(depth)) for p in pairs]
        rejected = [surface(data.trajectories[p.rejected].prefix(depth)) for p in pairs]
        difference = np.array(chosen) - np.array(rejected)
        scale = np.sqrt(np.mean(difference**2, axis=0))
        scale[scale < 1e-12] = np.inf  # a feature that never differs says nothing
        x = difference / scale
        sides = np.concatenate([x, -x])  # both orders, so that no side is preferred
        weights[depth] = fit_logistic(sides, np.repeat([1.0, 0.0], len(x))) / scale
    return lambda trajectories: [
        float(weights[len(t)] @ np.array(surface(t))) if len(t) in weights else 0.0
        for t in trajectories
    ]


def controls(folder: Path, options: Options) -> dict[str, Any]:
    """Return the accuracy of each control of a finished run, measured as the model's is."""
    data, model = load_dataset(folder / "data"), load_reward(folder / "reward")

    def changed(change: Callable[[Trajectory], Trajectory]) -> Score:
        return lambda trajectories: model.score([change(t) for t in trajectories])

    scorers = {
        "without instruction": changed(without_instruction),
        "another target": changed(another_target),
        "surface features": surface_model(data),
    }
    seen = training_states(data)
    return {
        name: measure(score, options.split, options.pairs, seen) for name, score in scorers.items()
    }


def value_auroc(model: LoadedReward, split: str, count: int) -> dict[str, float]:
    """Return how well prefix values tell solvable states from dead ones, within and over depths."""
    figures: dict[str, float] = {}
    everything: tuple[list[float], list[float]] = ([], [])
    for depth in (1, 2):
        pairs = evaluation_pairs(split, depth, count)
        flat = [trajectory for pair in pairs for trajectory in (pair.solvable, pair.dead)]
        values = model.value(flat)
        figures[DEPTHS[depth]] = auroc(values[::2], values[1::2])
        everything[0].extend(values[::2])
        everything[1].extend(values[1::2])
    return figures | {"pooled": auroc(*everything)}


def auroc(good: Sequence[float], bad: Sequence[float]) -> float:
    """Return the chance that a good one's value exceeds a bad one's; ties count one half."""
    ordered = sorted(bad)
    below = sum(bisect_left(ordered, g) + bisect_right(ordered, g) for g in good)
    return below / (2 * len(good) * len(bad))


def label_noise(data: Dataset) -> dict[str, dict[str, float]]:
    """Return how often self-made labels are wrong, by number of steps, judged by the solver."""
    wrong: defaultdict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for pair in data.pairs:
        good = solvable(state(data.trajectories[pair.chosen].prefix(pair.chosen_steps)))
        bad = solvable(state(data.trajectories[pair.rejected].prefix(pair.rejected_steps)))
        wrong[f"{pair.chosen_steps} steps"].append((not good, bad))
    return {
        steps: {
            "chosen_dead": fmean(chosen for chosen, _ in labels),
            "rejected_solvable": fmean(rejected for _, rejected in labels),
            "pairs": len(labels),
        }
        for steps, labels in sorted(wrong.items())
    }


def run_one(out: Path, seed: int, fraction: float, options: Options) -> dict[str, Any]:
    """Return a run's figures; what is already there is not made again.

    Raises:
        ConfigurationError: What is there was made with other options.
    """
    folder = out / f"seed-{seed}" / f"fraction-{fraction:.3g}"
    result = folder / "result.json"
    figures: dict[str, Any] = {}
    if result.exists():
        figures = json.loads(result.read_text("utf-8"))
        # Results without options are older and were made with the defaults.
        there = figures.setdefault("options", asdict(Options()))
        if there != asdict(options):
            raise ConfigurationError(
                f"{result} was made with other options ({there}): use them, or another --out"
            )
    if "accuracy" not in figures:
        figures = train_and_measure(folder, seed, fraction, options)
        write_whole(result, json.dumps(figures, indent=2) + "\n")
    if "controls" not in figures:
        figures["distinct_pairs"] = distinct_pairs(options.split, options.pairs)
        figures["controls"] = controls(folder, options)
        write_whole(result, json.dumps(figures, indent=2) + "\n")
    return figures


def train_and_measure(folder: Path, seed: int, fraction: float, options: Options) -> dict[str, Any]:
    """Generate, train and measure once; an interrupted run goes on."""
    config = GenerateConfig(pairs=max(1, round(options.data * fraction)), seed=seed)
    began, cpu = time.monotonic(), time.process_time()
    asyncio.run(generate_data(Game24Domain(), Game24, folder / "data", config))
    generated = {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - cpu}
    settings = TrainConfig(weights=options.weights, cpu_minutes=options.minutes, seed=seed)
    train_with_progress([folder / "data"], folder / "reward", settings, threads=1)
    data = load_dataset(folder / "data")
    model = load_reward(folder / "reward")
    return {
        "options": asdict(options),
        "seed": seed,
        "fraction": fraction,
        "pairs": len(data.pairs),
        "generation": generated,
        "training": json.loads((folder / "reward" / "training.json").read_text("utf-8")),
        "training_used": model.settings.training,
        "held_out_accuracy": model.settings.accuracy,
        "label_noise": label_noise(data),
        "value_auroc": value_auroc(model, options.split, options.pairs),
        "accuracy": measure(model.score, options.split, options.pairs, training_states(data)),
    }


@dataclass(frozen=True)
class Options:
    """What every run of the benchmark shares."""

    weights: str = "all-minilm-l6-v2"
    minutes: float = 6.0
    data: int = 36_000
    split: str = "test"
    pairs: int = 2000


def main(
    out: Annotated[Path, typer.Option(help="Folder of data, models and results; resumable.")],
    seeds: Annotated[str, typer.Option(help="Separated by commas.")] = "0,1,2",
    fractions: Annotated[str, typer.Option(help="Of the data, for the curve.")] = "1,0.2,0.04",
    minutes: Annotated[float, typer.Option(help="Training budget, of CPU time.")] = Options.minutes,
    data: Annotated[int, typer.Option(help="Training pairs at fraction 1.")] = Options.data,
    split: Annotated[str, typer.Option(help="test, or dev to choose constants.")] = Options.split,
    pairs: Annotated[int, typer.Option(help="Evaluation pairs a depth, at least.")] = Options.pairs,
    weights: Annotated[str, typer.Option(help="Pulled model or folder.")] = Options.weights,
) -> None:
    """Measure what a reward model trained on self-made data has learned."""
    options = Options(weights, minutes, data, split, pairs)
    trivial = {name: measure(score, split, pairs, set()) for name, score in baselines().items()}
    distinct = distinct_pairs(split, pairs)
    rows = list(trivial.items())
    results = []
    for fraction in map(float, fractions.split(",")):
        for seed in map(int, seeds.split(",")):
            results.append(run_one(out, seed, fraction, options))
            label = f"{fraction:.3g} of data, seed {seed}"
            rows.append((f"trained, {label}", results[-1]["accuracy"]))
            rows += [(f"{name}, {label}", row) for name, row in results[-1]["controls"].items()]
            show(rows, split, distinct)
    machine = {"cores": len(os.sched_getaffinity(0)), "processor": platform.processor()}
    write_whole(
        out / "learning.json",
        json.dumps(
            {
                "machine": machine,
                "distinct_pairs": distinct,
                "baselines": trivial,
                "trained": results,
                **asdict(options),
            },
            indent=2,
        )
        + "\n",
    )


if __name__ == "__main__":
    try:
        typer.run(main)
    except ArmapError as error:
        sys.exit(str(error))
