"""Which examples meet in which training step.

A pack is bounded twice: by trajectories, because with few minutes more steps beat larger ones, and
by the positions of its distinct parts, which is what memory and time go by. Pairs that start alike
(the same instruction and opening; for environments whose newest observation is everything, the same
state) come together, so that a step compares more than it encodes; packs are filled with pairs of
similar length. Monte-Carlo values ride along, also those of prefixes that are in the pack only as
the beginning of something longer. (Items with a value alone were tried as a quarter of each pack:
they cost more than they taught.) The packs are a function of the seed and of where the last one
ended: a resumed run goes on with exactly those that were left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from armap_agents.reward.backbones import Part
from armap_agents.training.examples import Examples, Start

GROUP = 8
"""Most pairs in a row that start alike."""

BLOCK = 8
"""Most such rows of similar length, within a factor of 2, one after the other."""

SHORT = 64
"""Characters below which length makes no difference."""


@dataclass(frozen=True)
class Pack:
    """The pairs of one forward pass.

    Attributes:
        pairs: Their indices.
        epoch: Epoch in which the pack after this one begins.
        offset: Pairs of that epoch before it.
    """

    pairs: tuple[int, ...]
    epoch: int
    offset: int


@dataclass(frozen=True)
class Batch:
    """A pack as tensors.

    Attributes:
        items: The parts of each distinct trajectory.
        chosen: Item of each pair's better side, ``int64 [pairs]``.
        rejected: Item of its worse side, ``int64 [pairs]``.
        label: Chance that the better side is better, ``float32 [pairs]``.
        margin: Its margin, ``float32 [pairs]``.
        valued: Items with a value, ``int64 [valued]``.
        values: Their values, ``float32 [valued]``.
        parts: How many distinct parts the items have.
    """

    items: list[list[Part]]
    chosen: Tensor
    rejected: Tensor
    label: Tensor
    margin: Tensor
    valued: Tensor
    values: Tensor
    parts: int


class Batches:
    """The packs of training, in order.

    Args:
        examples: What to train on; at least one pair.
        rows: Trajectories in a pack, at most.
        positions: Positions of a pack's distinct parts, at most, unless one pair takes more.
        seed: Draws the order.
    """

    def __init__(self, examples: Examples, rows: int, positions: int, seed: int) -> None:
        self._examples = examples
        self._rows = rows
        self._positions = positions
        self._seed = seed
        self._groups: defaultdict[tuple[int, Start], list[int]] = defaultdict(list)
        for index, pair in enumerate(examples.pairs):
            length = max(SHORT, examples.characters(pair.chosen)).bit_length()
            self._groups[length, examples.items[pair.chosen].start].append(index)
        self._valued: defaultdict[Start, list[int]] = defaultdict(list)
        for item in examples.values:
            self._valued[examples.items[item].start].append(item)

    def packs(self, epoch: int = 0, offset: int = 0) -> Iterator[Pack]:
        """Yield the packs from a place on, without end."""
        while True:
            order = self._order(epoch)
            while offset < len(order):
                count = self._fitting(order, offset)
                pairs = tuple(order[offset : offset + count])
                offset += count
                more = offset < len(order)
                yield Pack(pairs, epoch if more else epoch + 1, offset if more else 0)
            epoch, offset = epoch + 1, 0

    def batch(self, pack: Pack) -> Batch:
        """Return a pack's tensors, on the CPU."""
        pairs = [self._examples.pairs[index] for index in pack.pairs]
        place: dict[int, int] = {}
        for pair in pairs:
            for item in (pair.chosen, pair.rejected):
                place.setdefault(item, len(place))
        keys = {part.key for item in place for part in self._examples.parts(item)}
        valued = self._riding(place, keys)
        for item in valued:
            place.setdefault(item, len(place))
        return Batch(
            [self._examples.parts(item) for item in place],
            torch.tensor([place[pair.chosen] for pair in pairs]),
            torch.tensor([place[pair.rejected] for pair in pairs]),
            torch.tensor([pair.label for pair in pairs], dtype=torch.float32),
            torch.tensor([pair.margin for pair in pairs], dtype=torch.float32),
            torch.tensor([place[item] for item in valued], dtype=torch.int64),
            torch.tensor([self._examples.values[item] for item in valued], dtype=torch.float32),
            len(keys),
        )

    def _riding(self, items: Iterable[int], keys: set[bytes]) -> list[int]:
        """Return the items with a value that need no part beyond those of the pack."""
        starts = dict.fromkeys(self._examples.items[item].start for item in items)
        return [
            item
            for start in starts
            for item in self._valued.get(start, ())
            if all(part.key in keys for part in self._examples.parts(item))
        ]

    def _order(self, epoch: int) -> list[int]:
        rng = Random(f"{self._seed} pairs {epoch}")
        chunks = []
        for (length, _), group in self._groups.items():
            members = group.copy()
            rng.shuffle(members)
            chunks += [(length, members[i : i + GROUP]) for i in range(0, len(members), GROUP)]
        rng.shuffle(chunks)
        similar: defaultdict[int, list[list[int]]] = defaultdict(list)
        for length, chunk in chunks:
            similar[length].append(chunk)
        blocks = [
            some[i : i + BLOCK] for some in similar.values() for i in range(0, len(some), BLOCK)
        ]
        rng.shuffle(blocks)
        return [index for block in blocks for chunk in block for index in chunk]

    def _fitting(self, order: Sequence[int], first: int) -> int:
        """Return how many pairs from `first` on make a pack, at least one."""
        items: set[int] = set()
        keys: set[bytes] = set()
        positions = 0
        for count in range(len(order) - first):
            pair = self._examples.pairs[order[first + count]]
            items |= {pair.chosen, pair.rejected}
            for item in (pair.chosen, pair.rejected):
                for part in self._examples.parts(item):
                    if part.key not in keys:
                        keys.add(part.key)
                        positions += part.length
            if count and (len(items) > self._rows or positions > self._positions):
                return count
        return len(order) - first
