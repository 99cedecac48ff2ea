"""From records to examples: rendered once, shared where they read the same, tokenised when needed.

A prefix that stands in ten pairs, or that ten trajectories have in common, is one item. Items are
cut into parts on demand and the newest are remembered, so that a large data set starts at once and
takes little memory.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from armap_agents.errors import ArmapError, ConfigurationError
from armap_agents.reward.backbones import Part
from armap_agents.reward.render import Rendered, RenderedStep, Rendering, render
from armap_agents.training.pairs import outcomes
from armap_agents.training.records import Dataset, Pair, Source
from armap_agents.trajectory import Image, Status

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
        outcomes: Whether each does all that is asked; None where the pair does not say.
    """

    chosen: int
    rejected: int
    steps: int
    label: float
    margin: float
    source: Source
    outcomes: tuple[bool, bool] | None


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
            outcomes(pair),
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
    from armap_agents.reward.backbones.pictures import open_picture

    try:
        open_picture(image)
    except ArmapError:
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
