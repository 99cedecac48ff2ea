"""What shoppers are asked to buy: the synthetic and the human goals, in the official order.

The official code lists the goals in the order of the catalogue and shuffles them once with a fixed
seed, so that an index means the same goal everywhere. Of the full catalogue's millions of synthetic
goals only a few numbers a product are kept; a `Goal` is made when it is asked for. A goal is for
the instruction, the reward and the splits: nothing else of it may reach a planner or reward model.
"""

from __future__ import annotations

import random
from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, overload

import numpy as np
import numpy.typing as npt

from armap_agents.errors import ConfigurationError
from armap_agents.tools.webshop.catalogue import Catalogue, HumanInstruction
from armap_agents.tools.webshop.product import Product, category_parts

Kind = Literal["synthetic", "human"]

SHUFFLE_SEED = 233

PRICE_LIMITS = tuple(10.0 * tens for tens in range(1, 100))
"""US dollars; a goal's limit is drawn from the four next ones above the price."""

NO_PRICE_LIMIT = 1_000_000.0
"""Where the price leaves fewer than two limits to draw from; not mentioned in the instruction."""

MOST_GOALS = 1 << 32

MADE_GOALS = 1024
"""How many goals are kept once they were asked for."""

SPLITS: dict[str, slice] = {
    "all": slice(None),
    "test": slice(0, 500),
    "dev": slice(500, 1500),
    "train": slice(1500, None),
    "std": slice(0, 200),
}
"""Indices of each split: the official ones, and ``std``, which published results use."""

TRAIN_POOL = "train-pool"
"""A split besides: the train goals whose product is asked for by no test or dev goal."""


@dataclass(frozen=True)
class Goal:
    """What one shopper is asked to buy.

    Attributes:
        asin: The product that it was made from.
        instruction: What the shopper is told, the price limit included.
        attributes: What the product should be; at least one.
        price_upper: The most that it may cost, US dollars.
        options: The options to choose, by name, or, for human goals, their values alone.
        weight: How rare the attributes are among all goals: the mean of one over their counts.
        category: The product's `Product.category`.
        query: The product's `Product.query`.
        name: The product's title.
        product_category: The product's `Product.product_category`.
    """

    asin: str
    instruction: str
    attributes: tuple[str, ...]
    price_upper: float
    options: Mapping[str, str] | tuple[str, ...]
    weight: float
    category: str
    query: str
    name: str
    product_category: str

    @cached_property
    def category_parts(self) -> frozenset[str]:
        """The parts of `product_category`."""
        return category_parts(self.product_category)


class Goals(Sequence[Goal]):
    """The goals of a catalogue, in the official order after the shuffle; see `make_goals`.

    Args:
        catalogue: The products.
        sources: What goals are made of: for each product or human instruction that has any, the
            product's position, shape ``(n,)``.
        counts: How many goals each source gives, shape ``(n,)``.
        limits: The price limit of each source, US dollars, shape ``(n,)``.
        human: The human instructions that the sources are, None for synthetic goals.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        sources: npt.NDArray[np.int64],
        counts: npt.NDArray[np.int64],
        limits: npt.NDArray[np.float64],
        human: Sequence[HumanInstruction] | None,
    ) -> None:
        self.kind: Kind = "synthetic" if human is None else "human"
        self._catalogue = catalogue
        self._sources = sources
        self._ends = np.cumsum(counts)
        self._limits = limits
        self._human = human
        total = int(self._ends[-1]) if len(self._ends) else 0
        if total > MOST_GOALS:
            raise ConfigurationError(
                f"the catalogue has {total} synthetic goals, too many to list: use human goals"
            )
        self._order = array("I", range(total))
        random.Random(SHUFFLE_SEED).shuffle(self._order)
        self._made = lru_cache(maxsize=MADE_GOALS)(self._make)

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Goal: ...

    @overload
    def __getitem__(self, index: slice) -> list[Goal]: ...

    def __getitem__(self, index: int | slice) -> Goal | list[Goal]:
        if isinstance(index, slice):
            return [self._made(number) for number in self._order[index]]
        return self._made(self._order[index])

    def split(self, name: str) -> Sequence[int]:
        """Return the indices of a split's goals, ascending.

        Args:
            name: One of `SPLITS` or ``train-pool``.

        Raises:
            ConfigurationError: There is no such split.
        """
        if name == TRAIN_POOL:
            positions = self._positions()
            held_out = positions[: SPLITS["train"].start]
            kept = ~np.isin(positions, held_out)  # of the held-out goals none
            return array("I", np.flatnonzero(kept).astype(np.uint32).tobytes())
        if name not in SPLITS:
            known = ", ".join([*SPLITS, TRAIN_POOL])
            raise ConfigurationError(f"webshop has no split {name!r}: use {known}")
        return range(*SPLITS[name].indices(len(self)))

    def asins(self, split: str) -> frozenset[str]:
        """Return the ASINs that a split's goals were made from."""
        positions = self._positions()[np.array(self.split(split), dtype=np.int64)]
        return frozenset(self._catalogue.asins(np.unique(positions)))

    def _positions(self) -> npt.NDArray[np.int64]:
        """Return the position in the catalogue of every goal's product, in the goals' order."""
        order = np.frombuffer(self._order, dtype=np.uint32) if self._order else np.array([], int)
        return self._sources[np.searchsorted(self._ends, order, side="right")]

    def _make(self, number: int) -> Goal:
        """Make the goal that stood at `number` before the shuffle."""
        source = int(np.searchsorted(self._ends, number, side="right"))
        position = int(self._sources[source])
        limit = float(self._limits[source])
        product = self._catalogue[position]
        if self._human is not None:
            human = self._human[source]
            return _goal(
                product, human.text.strip("."), human.attributes, limit, human.options, 1.0
            )
        rank = number - (int(self._ends[source - 1]) if source else 0)
        options = _combination(product.options, rank)
        counts = self._catalogue.attribute_counts[self._catalogue.goal_attributes(position)]
        chosen = ", and ".join(f"{name}: {value}" for name, value in options.items())
        return _goal(
            product,
            f"{product.instruction} with {chosen}" if chosen else product.instruction,
            product.instruction_attributes,
            limit,
            options,
            _mean_of_inverses(counts.tolist()),
        )


def make_goals(
    catalogue: Catalogue, kind: Kind, prices: npt.NDArray[np.float64], seed: int
) -> Goals:
    """Make the goals of a catalogue as the official code does.

    Synthetic goals: one for each combination of option values of a product with an instruction.
    Human goals: one for each human instruction that names an attribute.

    Args:
        catalogue: The products.
        kind: ``synthetic`` or ``human``.
        prices: What `Catalogue.drawn_prices` drew, US dollars.
        seed: The seed it drew with: the price limits are drawn from the same stream, after the
            prices.

    Raises:
        ConfigurationError: The kind is unknown, or human instructions are asked for and missing.
    """
    human = None
    if kind == "human":
        human = [entry for entry in catalogue.human_instructions() if entry.attributes]
        sources = np.array([entry.position for entry in human], dtype=np.int64)
        counts = np.ones(len(human), dtype=np.int64)
    elif kind == "synthetic":
        sources = np.flatnonzero(catalogue.instructed)
        counts = catalogue.synthetic_goals[sources].astype(np.int64)
    else:
        raise ConfigurationError(f"webshop has no {kind!r} goals: use synthetic or human")
    rng = random.Random(seed)
    for _ in range(catalogue.price_ranges):
        rng.random()
    limits = [_price_limit(price, rng) for price in prices[sources].tolist()]
    return Goals(catalogue, sources, counts, np.array(limits, dtype=np.float64), human)


def _price_limit(price: float, rng: random.Random) -> float:
    first = bisect_right(PRICE_LIMITS, price)
    candidates = PRICE_LIMITS[first : first + 4]
    return max(rng.sample(candidates, 2)) if len(candidates) >= 2 else NO_PRICE_LIMIT


def _combination(options: Mapping[str, tuple[str, ...]], rank: int) -> dict[str, str]:
    """Return an element of the options' cartesian product, the last name's value changing first."""
    names = sorted(options)
    chosen = {}
    for name in reversed(names):
        rank, place = divmod(rank, len(options[name]))
        chosen[name] = options[name][place]
    return {name: chosen[name] for name in names}


def _mean_of_inverses(counts: Sequence[float]) -> float:
    # Added one by one: `sum` compensates for rounding since Python 3.12, the official code did not.
    total = 0.0
    for count in counts:
        total += 1.0 / count
    return total / len(counts)


def _goal(
    product: Product,
    text: str,
    attributes: tuple[str, ...],
    limit: float,
    options: Mapping[str, str] | tuple[str, ...],
    weight: float,
) -> Goal:
    limited = limit != NO_PRICE_LIMIT
    return Goal(
        asin=product.asin,
        instruction=f"{text}, and price lower than {limit:.2f} dollars" if limited else text,
        attributes=attributes,
        price_upper=limit,
        options=options,
        weight=weight,
        category=product.category,
        query=product.query,
        name=product.title,
        product_category=product.product_category,
    )
