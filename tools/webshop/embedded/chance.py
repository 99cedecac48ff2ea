"""Chance that falls the same on every machine and every Python."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """Draws from a stream named by a text.

    `random.Random.random` is the one method whose values Python promises to keep for a seed, so
    everything here is made of it.

    Args:
        name: Names the stream; equal names give equal draws.
    """

    def __init__(self, name: str):
        self._random = random.Random(name)

    def below(self, limit: int) -> int:
        """Return a number from 0 to limit - 1."""
        return int(self._random.random() * limit)

    def happens(self, probability: float) -> bool:
        """Return True with the probability."""
        return self._random.random() < probability

    def pick(self, items: Sequence[T]) -> T:
        """Return one of the items."""
        return items[self.below(len(items))]

    def some(self, items: Sequence[T], count: int) -> list[T]:
        """Return `count` different items (all, if there are fewer) in their order."""
        left = list(range(len(items)))
        chosen = [left.pop(self.below(len(left))) for _ in range(min(count, len(items)))]
        return [items[k] for k in sorted(chosen)]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in random order."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in items]
