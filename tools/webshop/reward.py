"""The official reward of a purchase: how much of what was asked for was bought, in [0, 1].

Yao et al. 2022, "WebShop", section 3.2, as their code reckons it: the share of the goal's
attributes, options and price limit that the purchase meets, times how far it is of the right kind.
The names of the parts are those of the official code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz.fuzz import token_set_ratio
from rapidfuzz.utils import default_process

from armap_agents.tools.webshop.goals import Goal
from armap_agents.tools.webshop.nouns import Nouns
from armap_agents.tools.webshop.product import Product

COLOURS = tuple(
    """
    alabaster apricot aqua ash asphalt azure
    banana beige black blue blush bordeaux bronze brown burgundy
    camel camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper
    coral cranberry cream crystal
    dark denim eggplant elephant espresso fuchsia
    gold granite grape graphite grass gray green grey heather indigo ivory ivy khaki
    lavender lemon leopard light lilac lime
    magenta maroon mauve merlot midnight mint mocha multicolor mushroom mustard
    natural navy nude olive orange peach pewter pink plum purple rainbow red rose royal rust
    sand sapphire seashell silver skull slate steel stone stonewash sunflower
    tan taupe teal tiger turquoise violet walnut wheat white wine yellow
    """.split()  # noqa: SIM905 - a list would take a line a word
)
"""The colour words of WebShop's ``normalize.py`` (MIT licence), in its order: the first counts."""

SIMILAR = 85
"""Texts whose rounded token set ratio is above are taken for the same."""

PROCESSED_TEXTS = 1 << 16

_LATIN_1 = dict.fromkeys(range(128, 256))


@dataclass(frozen=True)
class Reward:
    """The reward of a purchase and its parts.

    Attributes:
        value: The reward, in [0, 1].
        r_type: How far the product is of the kind asked for: 0, 0.1, 0.5 or 1.
        r_att: The share of the goal's attributes that the product has.
        w_att: The weight of that share in the sum.
        query_match: Whether the products were crawled by the same search.
        category_match: Whether they share two parts of their paths of categories.
        title_score: The share of the nouns of the goal's title that are in the product's.
        r_option: The share of the goal's options that were chosen; None where it has none.
        w_option: The weight of that share.
        r_price: Whether the price keeps the limit.
        w_price: The weight of the price.
    """

    value: float
    r_type: float
    r_att: float
    w_att: float
    query_match: bool
    category_match: bool
    title_score: float
    r_option: float | None
    w_option: float
    r_price: bool
    w_price: float


def reward(
    goal: Goal, product: Product, price: float, options: Mapping[str, str], nouns: Nouns
) -> Reward:
    """Reckon the reward of buying `product` at `price` with the chosen `options` for `goal`.

    Args:
        goal: What was asked for; it has at least one attribute.
        product: What was bought.
        price: US dollars, as `Catalogue.drawn_prices` has it.
        options: The chosen values by option name.
        nouns: The nouns of titles.
    """
    query_match = product.query == goal.query
    category_match = len(product.category_parts & goal.category_parts) >= 2
    title_score = _title_score(
        nouns.of(goal.asin, goal.name), nouns.of(product.asin, product.title)
    )
    r_type = _r_type(query_match or category_match, title_score)
    n_att = sum(_has_attribute(product, attribute) for attribute in goal.attributes)
    n_option = _options_met(goal.options, list(options.values()))
    r_price = bool(price <= goal.price_upper)  # a price may be of numpy's type
    parts = len(goal.attributes) + len(goal.options) + 1
    return Reward(
        value=(n_att + n_option + r_price) / parts * r_type,
        r_type=r_type,
        r_att=n_att / len(goal.attributes),
        w_att=len(goal.attributes) / parts,
        query_match=query_match,
        category_match=category_match,
        title_score=title_score,
        r_option=n_option / len(goal.options) if goal.options else None,
        w_option=len(goal.options) / parts,
        r_price=r_price,
        w_price=1 / parts,
    )


def _title_score(asked: Sequence[str], bought: Sequence[str]) -> float:
    # Repetitions count in the denominator alone, so a title that repeats a noun never scores 1.
    return len(set(asked) & set(bought)) / len(asked) if asked else 0.2


def _r_type(matches: bool, title_score: float) -> float:
    if title_score == 0.0:
        return 0.0
    if title_score < 0.1:
        return 0.1
    return 1.0 if matches or title_score > 0.2 else 0.5


def _has_attribute(product: Product, attribute: str) -> bool:
    return any(_similar(own, attribute) for own in product.attributes) or any(
        attribute in text for text in product.searchable_texts
    )


def _options_met(asked: Mapping[str, str] | Sequence[str], chosen: Sequence[str]) -> int:
    """Count the options asked for that some chosen value is similar to.

    Those of synthetic goals are compared as the official code has them, as pairs of name and value:
    a pair stands for a colour only if one of the two is exactly a colour's name, and is compared in
    Python's notation otherwise.
    """
    pairs = asked.items() if isinstance(asked, Mapping) else asked
    wanted = [_colour(option) or str(option) for option in pairs]
    values = [_colour(value) or value for value in chosen]
    return sum(any(_similar(value, option) for value in values) for option in wanted)


def _colour(option: str | tuple[str, str]) -> str | None:
    """Return the first colour in an option: as part of a text, or as an element of a pair."""
    return next((colour for colour in COLOURS if colour in option), None)


def _similar(one: str, other: str) -> bool:
    return round(token_set_ratio(_processed(one), _processed(other))) > SIMILAR


@lru_cache(maxsize=PROCESSED_TEXTS)
def _processed(text: str) -> str:
    """Return what thefuzz compares of a text: its words in lower case, without Latin-1 signs."""
    return default_process(text.translate(_LATIN_1))
