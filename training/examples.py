"""From records to examples: rendered once, shared where they read the same, tokenised when needed.

A prefix that stands in ten pairs, or that ten trajectories have in common, is one item. Items are
cut into parts on demand and the newest are remembered, so that a large data set starts at once and
takes little memory.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from typing import TypeVar

from armap_agents.errors import ConfigurationError
from armap_agents.reward.backbones import Part
from armap_agents.reward.render import Rendered, RenderedStep, Rendering, render
from armap_agents.training.domain import domain, has_domain
from armap_agents.training.records import Dataset, Pair, PrefixValue, Source, load_dataset
from armap_agents.trajectory import Image, Status

_Record = TypeVar("_Record", Pair, PrefixValue)

REMEMBERED = 8192
"""Items whose parts are kept."""

Start = tuple[str, str, RenderedStep]
"""Environment, instruction and first step: items that share them are encoded together cheaply."""


@dataclass(frozen=True)
class Item:
    """A rendered prefix.

    Attributes:
        environment: Registered name of the environment.
        rendered: What the backbone reads.
    """

    environment: str
    rendered: Rendered

    @property
    def start(self) -> Start:
        """What its chosen and rejected relatives have in common with it."""
        return self.environment, self.rendered.instruction, self.rendered.steps[0]


@dataclass(frozen=True)
class Comparison:
    """A pair of items.

    Attributes:
        chosen: Index of the better one.
        rejected: Index of the worse one.
        steps: How many steps the better one has.
        label: Chance that it is better.
        margin: Least difference of scores to aim at.
        source: Where the label comes from.
    """

    chosen: int
    rejected: int
    steps: int
    label: float
    margin: float
    source: Source


class Examples:
    """The items of a data set with what is known of them.

    Args:
        data: Records.
        renderings: How each environment's trajectories are written.
        parts: Cuts a rendered trajectory into parts, such as `Backbone.parts`.

    Attributes:
        items: Each distinct rendered prefix.
        pairs: Each distinct pair of two that differ.
        values: Mean Monte-Carlo return of an item, 0 to 1, where it has one.
        finished: How many trajectories each item is that is a whole episode.

    Raises:
        ConfigurationError: A screenshot that is to be shown is no picture.
    """

    def __init__(
        self,
        data: Dataset,
        renderings: Mapping[str, Rendering],
        parts: Callable[[Rendered], list[Part]],
    ) -> None:
        self.items: list[Item] = []
        self.finished: Counter[int] = Counter()
        self._index: dict[Item, int] = {}
        self._steps: dict[RenderedStep, RenderedStep] = {}
        self._known: dict[tuple[str, int, str], int] = {}
        self._data, self._renderings = data, renderings
        self._parts = lru_cache(REMEMBERED)(lambda item: parts(self.items[item].rendered))
        compared = map(self._comparison, data.pairs)
        distinct = {(p.chosen, p.rejected): p for p in compared if p.chosen != p.rejected}
        self.pairs = list(distinct.values())
        totals: defaultdict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for value in data.values:
            total = totals[
                self._item(value.environment, value.trajectory, value.steps, value.instruction)
            ]
            total[0] += value.successes
            total[1] += value.continuations
        self.values = {item: won / played for item, (won, played) in totals.items() if played}

    def parts(self, item: int) -> list[Part]:
        """Return an item's parts; those of the items asked for last are remembered."""
        return self._parts(item)

    def characters(self, item: int) -> int:
        """Return about how long an item is, without tokenising it."""
        rendered = self.items[item].rendered
        return sum(len(step.text) for step in rendered.steps) + len(rendered.instruction)

    def _comparison(self, pair: Pair) -> Comparison:
        asked, other = pair.instruction, pair.rejected_instruction
        if other is None:
            other = asked
        return Comparison(
            self._item(pair.environment, pair.chosen, pair.chosen_steps, asked),
            self._item(pair.environment, pair.rejected, pair.rejected_steps, other),
            pair.chosen_steps,
            pair.label,
            pair.margin,
            pair.source,
        )

    def _item(self, environment: str, trajectory: str, steps: int, instruction: str) -> int:
        reference = (trajectory, steps, instruction)
        if reference not in self._known:
            prefix = self._data.prefix(trajectory, steps, instruction)
            rendered = render(prefix, self._renderings[environment])
            # One object for each distinct step: a prefix shares all of its own with longer ones.
            shared = tuple(self._steps.setdefault(step, step) for step in rendered.steps)
            item = Item(environment, Rendered(rendered.instruction, shared))
            if item not in self._index:
                check_images(step.image for step in shared)
                self._index[item] = len(self.items)
                self.items.append(item)
            self._known[reference] = self._index[item]
            if prefix.status is not Status.OPEN:
                self.finished[self._index[item]] += 1
        return self._known[reference]


@lru_cache(65536)
def _is_picture(image: Image) -> bool:
    from PIL import Image as Picture

    try:
        with Picture.open(BytesIO(image.data)) as picture:
            picture.verify()
    except Exception:  # whatever the decoders of a dozen formats meet
        return False
    return True


def check_images(images: Iterable[Image | None]) -> None:
    """Look at screenshots before training meets them.

    Raises:
        ConfigurationError: One is no picture.
    """
    for image in images:
        if image is not None and not _is_picture(image):
            raise ConfigurationError(
                f"image {image.sha256} of the data is no picture: delete the trajectories that "
                "show it, make the data again, or train with --no-images"
            )


def read_folders(folders: Iterable[Path]) -> Dataset:
    """Return the records of data folders; those that are held out together share their `task`.

    Where a domain says what a trajectory is about (`Domain.group`), that stands for the task: every
    opening of a shop leads to every product, so that tasks alone would keep nothing apart.

    Raises:
        ConfigurationError: A folder is missing or damaged.
    """
    found = Dataset()
    for data in map(load_dataset, folders):
        found.trajectories |= data.trajectories
        found.pairs += data.pairs
        found.values += data.values
    named = {pair.environment for pair in found.pairs} | {v.environment for v in found.values}
    domains = {name: domain(name) for name in named if has_domain(name)}
    groups = {name: own.group for name, own in domains.items() if hasattr(own, "group")}

    @cache
    def group(environment: str, trajectory: str) -> str | None:
        own: str | None = groups[environment](found.trajectories[trajectory])
        return own

    def grouped(record: _Record, trajectory: str) -> _Record:
        if record.environment not in groups:
            return record
        return replace(record, task=group(record.environment, trajectory) or record.task)

    found.pairs = [grouped(pair, pair.chosen) for pair in found.pairs]
    found.values = [grouped(value, value.trajectory) for value in found.values]
    return found


Key = tuple[str, str]
"""Environment and id of a task: ids alone may coincide."""


def split_tasks(data: Dataset, share: float, seed: int) -> tuple[list[Key], list[Key]]:
    """Return the tasks to train on, in a fixed random order, and the held-out ones.

    Each environment keeps its own share; nothing but the tasks and the seed matters.

    Raises:
        ConfigurationError: There are too few tasks to hold any out.
    """
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
                "generate more, or give --held-out between 0 and 1"
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
