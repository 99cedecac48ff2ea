"""Which tasks there are, and which split each belongs to: index facts read from JSON, without Java.

The simulator has 30 tasks in 7,207 variations and divides each task's variations into a train, a
dev and a test range. ETO drew its own lists from 24 of the tasks, and results are reported on those
(`seen`, `unseen`). The two divisions overlap, so the splits that this project trains and tunes on
are derived here, and tests hold them to their definitions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from armap_agents.errors import ConfigurationError
from armap_agents.trajectory import Task

Row = tuple[str, int]
"""A task's name and a variation of it."""


@dataclass(frozen=True)
class TaskType:
    """One of the 30 tasks.

    Attributes:
        name: As in ETO's lists, such as ``task-1-boil``.
        simulator: As the simulator calls it, such as ``boil``.
        dev: First variation of the dev range; the train range begins at 0.
        test: First variation of the test range.
        variations: How many there are.
        max_steps: Most actions of an episode: ETO's limit, else 100.
    """

    name: str
    simulator: str
    dev: int
    test: int
    variations: int
    max_steps: int


def _facts(name: str) -> Any:
    return json.loads(files("armap_agents.tools.scienceworld").joinpath(name).read_text("utf-8"))


@cache
def task_types() -> dict[str, TaskType]:
    """Return the 30 tasks by name."""
    types = (TaskType(**fields) for fields in _facts("tasks.json")["tasks"])
    return {task_type.name: task_type for task_type in types}


def find(task_id: str) -> tuple[TaskType, int]:
    """Return what an id such as ``task-1-boil/21`` names.

    Raises:
        ConfigurationError: There is no such task or variation.
    """
    name, _, number = task_id.partition("/")
    task_type = task_types().get(name)
    if task_type is None:
        raise ConfigurationError(
            f"ScienceWorld has no task {task_id!r}: ids are like task-1-boil/21; list them with "
            "`armap tasks scienceworld --split test`"
        )
    if not (number.isdecimal() and int(number) < task_type.variations):
        raise ConfigurationError(
            f"{name} has the variations 0 to {task_type.variations - 1}, not {number!r}: "
            f"write e.g. {name}/0"
        )
    return task_type, int(number)


def _ranged(begin: Callable[[TaskType], int], end: Callable[[TaskType], int]) -> tuple[Row, ...]:
    return tuple(
        (task_type.name, variation)
        for task_type in task_types().values()
        for variation in range(begin(task_type), end(task_type))
    )


def _eto(name: str) -> tuple[Row, ...]:
    names = list(task_types())
    rows = (row.split("/") for line in _facts("eto_splits.json")[name] for row in line.split())
    return tuple((names[int(place)], int(variation)) for place, variation in rows)


def _without(split: str, *others: str) -> tuple[Row, ...]:
    excluded = {row for other in others for row in rows(other)}
    return tuple(row for row in rows(split) if row not in excluded)


def _seen_short() -> tuple[Row, ...]:
    ids = (task_id.split("/") for task_id in _facts("seen_short.json")["tasks"])
    return tuple((name, int(variation)) for name, variation in ids)


_SPLITS: dict[str, Callable[[], tuple[Row, ...]]] = {
    "train": lambda: _ranged(lambda _: 0, lambda task_type: task_type.dev),
    "dev": lambda: _ranged(lambda task_type: task_type.dev, lambda task_type: task_type.test),
    "test": lambda: _ranged(
        lambda task_type: task_type.test, lambda task_type: task_type.variations
    ),
    "seen": lambda: _eto("seen"),
    "unseen": lambda: _eto("unseen"),
    "eto-train": lambda: _eto("eto-train"),
    "train-pool": lambda: _without("eto-train", "seen", "unseen", "dev", "test"),
    "dev-clean": lambda: _without("dev", "seen", "unseen"),
    "seen-short": _seen_short,
}

SPLITS = tuple(_SPLITS)
"""``train``, ``dev``, ``test``: the package's ranges. ``seen``, ``unseen``, ``eto-train``: ETO's
lists. ``train-pool``: what may be trained on, ``eto-train`` without any row that is evaluated.
``dev-clean``: what constants are fixed on, ``dev`` without ``seen`` and ``unseen``. ``seen-short``:
60 rows of ``seen`` with at most 30 steps, for studies on a CPU."""


@cache
def rows(split: str) -> tuple[Row, ...]:
    """Return a split's rows; ETO's lists keep their order.

    Raises:
        ConfigurationError: There is no such split.
    """
    if split not in _SPLITS:
        raise ConfigurationError(f"scienceworld has no split {split!r}: use {', '.join(SPLITS)}")
    return _SPLITS[split]()


def list_tasks(split: str) -> list[Task]:
    """Return a split's tasks; what each asks is known after reset."""
    return [
        Task(
            id=f"{name}/{variation}",
            environment="scienceworld",
            split=split,
            max_steps=task_types()[name].max_steps,
        )
        for name, variation in rows(split)
    ]
