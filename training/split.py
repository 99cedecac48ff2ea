"""Reading data folders, and which of their records a model learns from and which are held out.

Held-out records are to say how a model does on what it never saw. So whole tasks are held out, or
where a domain says what an instruction is about (a shop's product), all that is about the same;
and no trajectory is learned from under an instruction under which a held-out record shows it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import compress
from pathlib import Path
from typing import TypeVar

from armap_agents.errors import ConfigurationError
from armap_agents.training.domain import domain, has_domain
from armap_agents.training.pairs import LESS
from armap_agents.training.records import Dataset, Pair, PrefixValue, load_dataset
from armap_agents.trajectory import Trajectory

SPLIT = "split.json"
"""In a model's folder: which tasks it learned from and which were held out."""

_Record = TypeVar("_Record", Pair, PrefixValue)

Key = tuple[str, str]
"""Environment and id of a task: ids alone may coincide."""


def read_folders(folders: Iterable[Path], sources: Sequence[str] = ()) -> Dataset:
    """Return the records of data folders; those that are held out together share their `task`.

    Where a domain says what a trajectory is about (`Domain.group`), that stands for the task: every
    opening of a shop leads to every product, so that tasks alone would keep nothing apart. A record
    is about what the trajectory is about that fulfils its instruction.

    Args:
        folders: Data folders.
        sources: Keep pairs with labels of these sources alone, and a folder's values only where
            pairs of it are kept; none named, all.

    Raises:
        ConfigurationError: A folder is missing or damaged.
    """
    found, used = Dataset(), list[bool]()
    for data in map(load_dataset, folders):
        found.trajectories |= data.trajectories
        found.pairs += data.pairs
        found.values += data.values
        kept = not sources or any(pair.source in sources for pair in data.pairs)
        used += [kept] * len(data.values)
    named = {pair.environment for pair in found.pairs} | {v.environment for v in found.values}
    for name in sorted(named):
        group = getattr(domain(name), "group", None) if has_domain(name) else None
        if group is not None:
            _group(found, name, group)
    found.pairs = [pair for pair in found.pairs if not sources or pair.source in sources]
    found.values = list(compress(found.values, used))
    return found


def _group(data: Dataset, environment: str, group: Callable[[Trajectory], str | None]) -> None:
    """Put what records of an environment are about in the place of their task."""

    @cache
    def about(trajectory: str) -> str | None:
        return group(data.trajectories[trajectory])

    asked: dict[tuple[str, str], str] = {}
    for pair in data.pairs:
        if pair.environment == environment and pair.kind != LESS and (own := about(pair.chosen)):
            asked.setdefault((pair.task, pair.instruction), own)

    def grouped(record: _Record, trajectory: str) -> _Record:
        if record.environment != environment:
            return record
        own = asked.get((record.task, record.instruction)) or about(trajectory)
        return replace(record, task=own or record.task)

    data.pairs = [grouped(pair, pair.chosen) for pair in data.pairs]
    data.values = [grouped(value, value.trajectory) for value in data.values]


@dataclass(frozen=True)
class Split:
    """Which tasks a model learns from and which are held out.

    Attributes:
        learned: Tasks to learn from.
        held_out: Tasks to judge by.
    """

    learned: frozenset[Key]
    held_out: frozenset[Key]

    def of(self, data: Dataset) -> tuple[Dataset, Dataset]:
        """Return the records to learn from and the held-out ones.

        Args:
            data: What `read_folders` returned.
        """
        learn, kept = part_of(data, self.learned), part_of(data, self.held_out)
        held: list[Pair | PrefixValue] = [*kept.pairs, *kept.values]
        shown = {side for record in held for side in _shown(record)}
        learn.pairs = [pair for pair in learn.pairs if shown.isdisjoint(_shown(pair))]
        learn.values = [value for value in learn.values if shown.isdisjoint(_shown(value))]
        return learn, kept

    def to_json(self) -> str:
        """Return the split as JSON; the same tasks give the same text."""
        return json.dumps({name: sorted(keys) for name, keys in vars(self).items()}) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Split:
        """Rebuild a split; raises ValueError, KeyError or TypeError where it is none."""
        noted = json.loads(text)
        return cls(*(frozenset((e, t) for e, t in noted[n]) for n in ("learned", "held_out")))


def draw_split(data: Dataset, held_out: float, fraction: float, seed: int) -> Split:
    """Return a random split.

    Args:
        data: What `read_folders` returned.
        held_out: Share of the tasks to hold out.
        fraction: Share of the other tasks to learn from.
        seed: Draws.

    Raises:
        ConfigurationError: There are too few tasks to hold any out.
    """
    tasks, kept = split_tasks(data, held_out, seed)
    return Split(frozenset(share_of(tasks, fraction)), frozenset(kept))


def _shown(record: Pair | PrefixValue) -> Iterator[tuple[str, str]]:
    """Yield trajectory and instruction of what a record shows."""
    if isinstance(record, PrefixValue):
        yield record.trajectory, record.instruction
        return
    other = record.rejected_instruction
    yield record.chosen, record.instruction
    yield record.rejected, record.instruction if other is None else other


def split_tasks(data: Dataset, share: float, seed: int) -> tuple[list[Key], list[Key]]:
    """Return the tasks to train on, in a fixed random order, and the held-out ones.

    Each environment keeps its own share; nothing but the tasks and the seed matters.

    Raises:
        ConfigurationError: The share holds out none or all, or there are too few tasks for it.
    """
    if not 0 < share < 1:
        raise ConfigurationError(
            f"--held-out {share:g} leaves nothing to judge by, or to learn from: give a share "
            "between 0 and 1"
        )
    tasks: defaultdict[str, set[Key]] = defaultdict(set)
    for pair in data.pairs:
        tasks[pair.environment].add((pair.environment, pair.task))
    learn: list[Key] = []
    kept: list[Key] = []
    for environment, keys in sorted(tasks.items()):
        drawn = sorted(keys, key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest())
        count = math.ceil(share * len(drawn))
        if not 0 < count < len(drawn):
            raise ConfigurationError(
                f"the data has too few tasks of {environment} to hold some out ({len(drawn)}): "
                "generate more, or give another --held-out"
            )
        kept += drawn[:count]
        learn += drawn[count:]
    return learn, kept


def share_of(tasks: Sequence[Key], share: float) -> list[Key]:
    """Return the first of each environment's tasks: smaller shares lie inside larger ones."""
    counts = Counter(environment for environment, _ in tasks)
    left = {environment: math.ceil(share * count) for environment, count in counts.items()}
    taken = []
    for key in tasks:
        if left[key[0]]:
            left[key[0]] -= 1
            taken.append(key)
    return taken


def part_of(data: Dataset, tasks: Iterable[Key]) -> Dataset:
    """Return the records of some tasks."""
    wanted = set(tasks)
    return Dataset(
        data.trajectories,
        [pair for pair in data.pairs if (pair.environment, pair.task) in wanted],
        [value for value in data.values if (value.environment, value.task) in wanted],
    )
