"""The reward report: what a model is worth on a data folder, environment by environment.

First everything is collected that the model has to be asked, then it is asked once in batches, and
the figures are made of its answers. Where the model's folder says which tasks were kept from
training, the report is on these alone.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TypedDict, TypeVar

import numpy as np

from armap_agents.errors import ConfigurationError
from armap_agents.reward_model import RewardModel
from armap_agents.training.records import Dataset, Pair, PrefixValue
from armap_agents.training.report_accuracy import Prefix
from armap_agents.training.report_calibration import returns_of, singles
from armap_agents.training.report_controls import shuffled_instructions
from armap_agents.training.report_environment import (
    Answers,
    EnvironmentReport,
    Questions,
    environment_report,
    rendering_of,
)
from armap_agents.training.split import SPLIT, Key, Split
from armap_agents.trajectory import Trajectory

SCHEMA_VERSION = 1

BATCH = 256
"""Prefixes asked about at a time: enough to sort by length, few enough to show progress."""

NO_VALUES = "the model gives no prefix values"

Progress = Callable[[int, int], None]
"""Takes how many prefixes were asked about, and of how many."""

_Record = TypeVar("_Record")


@dataclass(frozen=True)
class Training:
    """What of the data a model was trained on.

    Attributes:
        pairs: Those that it was trained on.
        tasks: Tasks that it was trained on.
    """

    pairs: frozenset[Pair]
    tasks: frozenset[Key]


class Report(TypedDict):
    """What `reward_report` found; pure JSON. `tasks` says in words which tasks it is on."""

    schema_version: int
    model: str
    tasks: str
    environments: dict[str, EnvironmentReport]


def training_of(folder: Path, data: Dataset) -> Training | None:
    """Return what of the data a model was trained on, as its folder notes it.

    Args:
        folder: The model's; something else, such as an address, says nothing.
        data: What `read_folders` returned, of the folders that it was trained on or of others.

    Returns:
        None where the folder says nothing.

    Raises:
        ConfigurationError: The folder's note is damaged.
    """
    noted, path = folder / "training.json", folder / SPLIT
    if not (noted.is_file() and path.is_file()):
        return None
    try:
        split = Split.from_json(path.read_text("utf-8"))
        sources = json.loads(noted.read_text("utf-8"))["sources"]
        used = [pair for pair in data.pairs if not sources or pair.source in sources]
        learn, _ = split.of(replace(data, pairs=used))
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(
            f"{folder} has a damaged {noted.name} or {path.name} ({error!r}): delete both to "
            "report on all tasks"
        ) from None
    return Training(frozenset(learn.pairs), split.learned)


async def reward_report(
    model: RewardModel,
    data: Dataset,
    training: Training | None = None,
    *,
    everything: bool = False,
    limit: int = 5000,
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> Report:
    """Report on a reward model.

    Args:
        model: Any reward model; one with `avalue`, `probability` and `preference` is asked for
            these too.
        data: What it is judged on.
        training: What it was trained on, where that is known; the report is then on other tasks.
        everything: Judge on all tasks, even those that it was trained on.
        limit: Most pairs, and most prefixes with values, per environment; a random choice of more.
        seed: Of that choice, and of the shuffled instructions.
        progress: Called after every batch.

    Raises:
        ConfigurationError: The data has no pairs on the tasks in question, or the model fails.
    """
    asked, words = questions(model, data, training, everything=everything, limit=limit, seed=seed)
    scored = list(dict.fromkeys(p for each in asked.values() for p in each.scored()))
    valued = list(dict.fromkeys(p for each in asked.values() for p in each.returns))
    total = len(scored) + len(valued)
    scores = await _ask(model.ascore, data, scored, lambda n: progress(n, total))
    answers = Answers(scores, {}, NO_VALUES)
    avalue = getattr(model, "avalue", None)
    if avalue is not None and valued:
        values = await _ask(avalue, data, valued, lambda n: progress(len(scored) + n, total))
        answers = Answers(scores, values)
    progress(total, total)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model.fingerprint,
        "tasks": words,
        "environments": {
            name: environment_report(name, model, data, each, answers)
            for name, each in asked.items()
        },
    }


def questions(
    model: RewardModel,
    data: Dataset,
    training: Training | None,
    *,
    everything: bool,
    limit: int,
    seed: int,
) -> tuple[dict[str, Questions], str]:
    """Return what to ask about each environment, and in words which tasks that covers.

    Raises:
        ConfigurationError: There is no pair to judge.
    """
    if training is None:
        words = "all of the data's; nothing says whether the model was trained on some of them"
    elif everything:
        words = "all, those that the model was trained on among them"
    else:
        words = "those held out from the model's training, and any that it never met"

    def judged(record: Pair | PrefixValue) -> bool:
        key = (record.environment, record.task)
        return training is None or everything or key not in training.tasks

    kept = [pair for pair in data.pairs if pair.label != 0.5 and judged(pair)]
    if not kept:
        raise ConfigurationError(
            f"the data has no pairs to judge on the tasks in question ({words}): report on --all "
            "tasks, or generate more"
        )
    asked = {}
    for name in sorted({pair.environment for pair in kept}):
        own = [pair for pair in kept if pair.environment == name]
        pairs = _some(own, limit, seed)
        trained = None
        if training is not None:
            trained = [p for p in data.pairs if p.environment == name and p in training.pairs]
        returns = returns_of(v for v in data.values if v.environment == name and judged(v))
        some = _some(list(returns), limit, seed)
        asked[name] = Questions(
            pairs=pairs,
            trained=trained,
            shuffled=shuffled_instructions(pairs, rendering_of(model, name), seed),
            returns={prefix: returns[prefix] for prefix in some},
            successes=singles(data, pairs, returns),
            left_out=len(own) - len(pairs) + len(returns) - len(some),
        )
    return asked, words


def _some(records: Sequence[_Record], limit: int, seed: int) -> list[_Record]:
    if len(records) <= limit:
        return list(records)
    return [records[k] for k in sorted(Random(seed).sample(range(len(records)), limit))]


async def _ask(
    ask: Callable[[list[Trajectory]], Awaitable[Sequence[float]]],
    data: Dataset,
    prefixes: Sequence[Prefix],
    show: Callable[[int], None],
) -> dict[Prefix, float]:
    answers: dict[Prefix, float] = {}
    for start in range(0, len(prefixes), BATCH):
        batch = prefixes[start : start + BATCH]
        found = await ask([prefix.of(data) for prefix in batch])
        answers.update(zip(batch, map(float, found), strict=True))
        show(len(answers))
    if not np.isfinite(list(answers.values())).all():
        raise ConfigurationError(
            "the model's answers are not finite: train it again with a smaller --learning-rate"
        )
    return answers
