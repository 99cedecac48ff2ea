"""Does the reward model learn? Pair accuracy on states that exhaustive search labels.

The pairs are none that the generator made: for each puzzle of a split, prefixes of equal length,
one of which can still reach 24 and one of which cannot, by exhaustive search. Half of them share
all but the last step. Accuracy is averaged over puzzles, its interval resamples puzzles. Pairs
whose two states both occur in the training data (seen) are counted apart from the rest (unseen).
Training labels are self-made; the solver labels these pairs and measures the labels' noise.

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
from functools import cache
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from armap_agents.cli.train import train_with_progress
from armap_agents.errors import ArmapError, ConfigurationError
from armap_agents.evaluation.selectors import fit_logistic
from armap_agents.reward import load_reward
from armap_agents.reward.loaded import LoadedReward
from armap_agents.tools.game24 import Game24, legal_steps
from armap_agents.tools.game24.arithmetic import TARGET, Numbers, numbers_left
from armap_agents.tools.game24.environment import play
from armap_agents.tools.game24.solver import solvable
from armap_agents.training.config import TrainConfig
from armap_agents.training.domains.game24 import Game24Domain
from armap_agents.training.generate import GenerateConfig, generate_data
from armap_agents.training.identity import write_whole
from armap_agents.training.records import Dataset, load_dataset
from armap_agents.trajectory import Task, Trajectory

Score = Callable[[list[Trajectory]], list[float]]

DEPTHS = {3: "full", 2: "two steps", 1: "one step"}


@dataclass(frozen=True)
class EvaluationPair:
    """Two prefixes of one puzzle, the first solvable and the second not."""

    task: str
    solvable: Trajectory
    dead: Trajectory


@dataclass
class Tree:
    """A puzzle's states at each depth with the actions that lead there, one way per state."""

    task: Task
    levels: list[dict[Numbers, tuple[str, ...]]]
    children: dict[Numbers, list[tuple[str, Numbers]]]

    @classmethod
    def grow(cls, task: Task) -> Tree:
        """Enumerate every state of a puzzle."""
        levels: list[dict[Numbers, tuple[str, ...]]] = [{numbers_left(task.data["numbers"]): ()}]
        children: dict[Numbers, list[tuple[str, Numbers]]] = {}
        for _ in range(3):
            following: dict[Numbers, tuple[str, ...]] = {}
            for state, actions in levels[-1].items():
                children[state] = list(legal_steps(state))
                for action, left in children[state]:
                    following.setdefault(left, (*actions, action))
            levels.append(following)
        return cls(task, levels, children)

    def pair(self, depth: int, siblings: bool, rng: Random) -> EvaluationPair | None:
        """Draw a pair at a depth; siblings share all but the last step."""
        if siblings:
            parents = [
                state
                for state in self.levels[depth - 1]
                if len({solvable(left) for _, left in self.children[state]}) == 2
            ]
            if not parents:
                return None
            parent = rng.choice(parents)
            path = self.levels[depth - 1][parent]
            good = [a for a, left in self.children[parent] if solvable(left)]
            bad = [a for a, left in self.children[parent] if not solvable(left)]
            return self._pair((*path, rng.choice(good)), (*path, rng.choice(bad)))
        states = self.levels[depth]
        good_paths = [actions for state, actions in states.items() if solvable(state)]
        bad_paths = [actions for state, actions in states.items() if not solvable(state)]
        if not good_paths or not bad_paths:
            return None
        return self._pair(rng.choice(good_paths), rng.choice(bad_paths))

    def _pair(self, good: Sequence[str], bad: Sequence[str]) -> EvaluationPair:
        return EvaluationPair(self.task.id, play(self.task, good), play(self.task, bad))


@cache
def evaluation_pairs(split: str, depth: int, count: int) -> list[EvaluationPair]:
    """Return the fixed pairs of a split at a depth, as many of each puzzle; half are siblings."""
    tasks = Game24().tasks(split)
    per_puzzle = -(-count // len(tasks))
    pairs = []
    for task in tasks:
        tree, rng = Tree.grow(task), Random(f"{task.id} {depth}")
        for index in range(per_puzzle):
            pair = tree.pair(depth, index % 2 == 0, rng)
            if pair is not None:
                pairs.append(pair)
    return pairs


def distinct_pairs(split: str, count: int) -> dict[str, int]:
    """Return how many different pairs of states are compared at each depth; the rest repeat."""
    return {
        name: len(
            {(state(p.solvable), state(p.dead)) for p in evaluation_pairs(split, depth, count)}
        )
        for depth, name in DEPTHS.items()
    }


def state(trajectory: Trajectory) -> Numbers:
    """Return the numbers left."""
    return numbers_left(trajectory.last.text.split(": ")[-1].split())


def training_states(data: Dataset) -> set[Numbers]:
    """Return every state that a pair or value of the data shows."""
    prefixes = {(p.chosen, p.chosen_steps) for p in data.pairs}
    prefixes |= {(p.rejected, p.rejected_steps) for p in data.pairs}
    prefixes |= {(v.trajectory, v.steps) for v in data.values}
    return {state(data.trajectories[id_].prefix(k)) for id_, k in prefixes}


def accuracy(pairs: Sequence[EvaluationPair], score: Score) -> dict[str, list[float]]:
    """Return each puzzle's hits: 1 where the solvable prefix scores higher, 0.5 on ties."""
    flat = [trajectory for pair in pairs for trajectory in (pair.solvable, pair.dead)]
    scores = score(flat)
    hits: defaultdict[str, list[float]] = defaultdict(list)
    for pair, good, bad in zip(pairs, scores[::2], scores[1::2], strict=True):
        hits[pair.task].append(1.0 if good > bad else 0.5 if good == bad else 0.0)
    return dict(hits)


def summary(hits: dict[str, list[float]]) -> dict[str, float | int | list[float]]:
    """Return the mean over puzzles with its bootstrap interval (95 %, 2,000 draws)."""
    if not hits:
        return {"accuracy": float("nan"), "ci95": [float("nan")] * 2, "pairs": 0, "puzzles": 0}
    means = [fmean(values) for values in hits.values()]
    rng = Random(0)
    draws = sorted(fmean(rng.choices(means, k=len(means))) for _ in range(2000))
    return {
        "accuracy": fmean(means),
        "ci95": [draws[50], draws[1949]],
        "pairs": sum(map(len, hits.values())),
        "puzzles": len(means),
    }


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


def measure(score: Score, split: str, count: int, seen: set[Numbers]) -> dict[str, Any]:
    """Return accuracy at each depth: of all pairs, of seen and of unseen states."""
    figures: dict[str, Any] = {}
    for depth, name in DEPTHS.items():
        pairs = evaluation_pairs(split, depth, count)
        known = [state(p.solvable) in seen and state(p.dead) in seen for p in pairs]
        figures[name] = {
            "all": summary(accuracy(pairs, score)),
            "seen": summary(accuracy([p for p, k in zip(pairs, known, strict=True) if k], score)),
            "unseen": summary(
                accuracy([p for p, k in zip(pairs, known, strict=True) if not k], score)
            ),
        }
    return figures


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


def show(rows: Sequence[tuple[str, dict[str, Any]]], split: str, distinct: dict[str, int]) -> None:
    """Print accuracies, one scorer a row, and how many distinct pairs they rest on."""
    counts = ", ".join(f"{name} {count}" for name, count in distinct.items())
    table = Table(
        title=f"Pair accuracy on Game of 24, {split}, judged by exhaustive search",
        caption=f"distinct pairs: {counts}",
    )
    table.add_column("scorer")
    for name in DEPTHS.values():
        for part in ("all", "seen", "unseen"):
            table.add_column(f"{name}\n{part}", justify="right")
    for label, figures in rows:
        cells = []
        for name in DEPTHS.values():
            for part in ("all", "seen", "unseen"):
                figure = figures[name][part]
                low, high = figure["ci95"]
                cells.append(f"{figure['accuracy']:.3f}\n{low:.2f}–{high:.2f}")
        table.add_row(label, *cells)
    Console().print(table)


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
