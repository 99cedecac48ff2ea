"""Pairs whose labels are not self-made: by the true score, or by a reward model on what it found.

For the ablation of label sources and as upper bounds; off unless asked for, and never mixed into a
self-made folder. Sources, as each pair notes them:

- ``environment``: explored episodes, ordered by their true scores.
- ``search-environment``: episodes that a search finished, with a soft label by their true scores.
- ``search-reward``: the same with a soft label by a calibrated reward model's `preference`.

Episodes with true scores that stand in a pair give `PrefixValue`s of one continuation too, their
true score. Training tasks alone are labelled.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, Literal

from armap_agents.environment import Environment
from armap_agents.errors import ConfigurationError
from armap_agents.evaluation.truth import Environments
from armap_agents.locks import only_writer
from armap_agents.reward_model import RewardModel
from armap_agents.training.datacard import FILES
from armap_agents.training.episodes import (
    Found,
    acted_out,
    find_episodes,
    recorded,
    true_scores,
)
from armap_agents.training.folder import DataFolder, Unit
from armap_agents.training.records import Pair, PrefixValue, Source, bare
from armap_agents.trajectory import JSON, Trajectory, content_hash

By = Literal["environment", "reward"]
"""Whose word the labels are."""

Valued = list[tuple[Trajectory, float]]
"""Episodes of one task with their true or learned scores."""

Preference = Callable[[float, float], float]
"""The chance that the episode with the first score is better than the one with the second."""

Value = Callable[[Environments, Found, Counter[str]], Awaitable[Valued]]
"""Finds a task's episodes and scores them."""

Progress = Callable[[int, int, Counter[str]], None]
"""Takes the tasks done, the tasks in all, and what was made so far."""

MEANINGS: dict[Source, str] = {
    "environment": "explored episodes, ordered by the environment's true score",
    "search-environment": "episodes of searches; the label is the chance that the better one "
    "succeeds first where true scores a and b are chances of success, (1 + a - b)/2",
    "search-reward": "episodes of searches; the label is a reward model's preference",
}


def graded(a: float, b: float) -> float:
    """Return the chance that a success of chance `a` beats one of chance `b`, ties split evenly.

    a(1 − b) + ½(ab + (1 − a)(1 − b)) = (1 + a − b)/2.
    """
    return (1 + a - b) / 2


def certain(a: float, b: float) -> float:
    """Return 1 for the higher score, 0 for the lower one, ½ for a tie."""
    return 0.5 if a == b else float(a > b)


def pairs_of(
    episodes: Valued, preference: Preference, source: Source, most: int, rng: Random
) -> list[Pair]:
    """Return pairs of a task's episodes, the likelier better one first; ties make none.

    Args:
        episodes: Distinct, finished, judged against the same instruction.
        preference: From two scores to a label.
        source: Where the labels come from.
        most: How many, drawn at random from all.
        rng: Draws.
    """
    pairs = []
    for (a, score), (b, other) in combinations(episodes, 2):
        label = preference(score, other)
        if label == 0.5:
            continue
        better, worse = (a, b) if label > 0.5 else (b, a)
        pairs.append(
            Pair(
                environment=better.task.environment,
                instruction=better.instruction,
                chosen=better.id,
                chosen_steps=len(better),
                rejected=worse.id,
                rejected_steps=len(worse),
                task=better.task.id,
                source=source,
                kind="lower reward" if source == "search-reward" else "lower true score",
                label=max(label, 1 - label),
            )
        )
    return pairs if len(pairs) <= most else rng.sample(pairs, most)


async def label_data(
    make: Callable[[], Environment],
    source: Path,
    out: Path,
    by: By,
    *,
    model: RewardModel | None = None,
    options: JSON = None,
    most: int = 16,
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Label episodes of training tasks into a data folder, or complete one.

    Args:
        make: Makes an environment of nobody else's.
        source: A data folder, or a folder of runs.
        out: The data folder; the source is left as it is.
        by: Whose word the labels are.
        model: The reward model whose word it is.
        options: Of the environment; noted.
        most: Pairs of a task.
        seed: Draws the pairs.
        progress: Called after each task.

    Returns:
        The report, as written to ``report.json``.

    Raises:
        ConfigurationError: There is nothing that may be labelled so, or `out` holds other data.
        EnvironmentFailure: An environment died.
    """
    environment = make()
    counts: Counter[str] = Counter()
    found, searched = await asyncio.to_thread(find_episodes, source, environment, counts)
    label, value, noted = _labeller(environment, by, searched, model)
    config = {
        "source": label,
        "reward": None if model is None or by == "environment" else model.fingerprint,
        "options": options or {},
        "most": most,
        "seed": seed,
        "episodes": content_hash(
            [[f.task.id, f.explored, [run.name for run in f.runs]] for f in found]
        ),
    }
    with only_writer(out):
        async with AsyncExitStack() as opened:
            environments = Environments(make, 1)
            opened.push_async_callback(environment.close)
            opened.push_async_callback(environments.aclose)
            folder = await asyncio.to_thread(DataFolder, out, environment.name, config)
            opened.callback(folder.close)
            for each in found[folder.units :]:
                unit = Unit()
                episodes = await value(environments, each, unit.counts)
                rng = Random(f"{seed} {each.task.id}")
                _fill(unit, episodes, pairs_of(episodes, noted, label, most, rng), label)
                await asyncio.to_thread(folder.append, each.task.id, unit)
                progress(folder.units, len(found), folder.counts)
            describe = partial(card, source=label)
            return await asyncio.to_thread(folder.report, len(found), describe, counts)


def _labeller(
    environment: Environment, by: By, searched: bool, model: RewardModel | None
) -> tuple[Source, Value, Preference]:
    """Return the source, what scores a task's episodes, and what turns scores into labels."""
    if by == "environment":
        if not hasattr(environment, "true_score"):
            raise ConfigurationError(
                f"environment {environment.name!r} has no true_score() to label by: use a reward "
                "model"
            )
        if searched:
            return "search-environment", _truly_searched, graded
        return "environment", _truly_explored, certain
    if not searched:
        raise ConfigurationError(
            "a reward model labels what a search found: give a folder of runs, not of data"
        )
    if model is None:
        raise ConfigurationError("labels by a reward model need one: give --reward MODEL")
    bound = model.of(environment.name) if hasattr(model, "of") else model
    if not hasattr(bound, "preference"):
        raise ConfigurationError(
            "the reward model is not calibrated, so that its scores say nothing of chances: train "
            "it with tasks held out"
        )
    return "search-reward", partial(_learned, model), bound.preference


async def _truly_explored(environments: Environments, found: Found, counts: Counter[str]) -> Valued:
    return await _true(environments, await acted_out(environments, found, counts), counts)


async def _truly_searched(environments: Environments, found: Found, counts: Counter[str]) -> Valued:
    return await _true(environments, await asyncio.to_thread(recorded, found), counts)


async def _true(
    environments: Environments, episodes: Sequence[Trajectory], counts: Counter[str]
) -> Valued:
    scored = await true_scores(environments, episodes, counts) if episodes else []
    return [(bare(trajectory), score) for trajectory, score in scored]


async def _learned(
    model: RewardModel, environments: Environments, found: Found, counts: Counter[str]
) -> Valued:
    episodes = await asyncio.to_thread(recorded, found)
    return list(zip(map(bare, episodes), await model.ascore(episodes), strict=True))


def _fill(unit: Unit, episodes: Valued, pairs: Sequence[Pair], source: Source) -> None:
    """Put a task's records together."""
    paired = {side for pair in pairs for side in (pair.chosen, pair.rejected)}
    unit.counts["episodes"] += len(episodes)
    for trajectory, score in episodes:
        if trajectory.id not in paired:
            continue
        unit.trajectories[trajectory.id] = trajectory
        if source != "search-reward":
            unit.values[trajectory.id,] = PrefixValue(
                environment=trajectory.task.environment,
                instruction=trajectory.instruction,
                trajectory=trajectory.id,
                steps=len(trajectory),
                continuations=1,
                successes=score,
                task=trajectory.task.id,
            )
    for pair in pairs:
        unit.pairs[pair.chosen, pair.rejected] = pair


def card(report: dict[str, Any], source: Source) -> str:
    """Return the data card: whose word the labels are, and what they may be used for."""
    config = report["config"]
    truth = (
        f"They are the word of the reward model {config['reward']}."
        if source == "search-reward"
        else "They use the environment's true score, on training tasks alone: an upper bound, and "
        "not self-made. No figure of a model trained on them may stand for the method."
    )
    return "\n".join(
        [
            f"{FILES}# Labelled pairs for {report['environment']}",
            "",
            f"Made by `armap label {report['environment']}` with seed {config['seed']} on "
            f"{report['tasks']:,} tasks, at most {config['most']} pairs each. Labels: `{source}`, "
            f"{MEANINGS[source]}. {truth}",
            "",
            "| what | count |",
            "|---|---|",
            *(f"| {name} | {count:,} |" for name, count in report["counts"].items()),
            "",
            f"Options of the environment: {config['options'] or 'none'}. Versions: "
            + ", ".join(f"{name} {number}" for name, number in report["versions"].items())
            + ".",
            "",
        ]
    )
