"""Writes instructions for purchases, in the official style and in words of the pages shown."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from armap_agents.training.domains.webshop_asks import Asked, stems
from armap_agents.training.domains.webshop_phrases import (
    Ordinary,
    Phrase,
    features_in,
    features_said,
    kind_of,
    runs,
)
from armap_agents.training.domains.webshop_visits import Purchase

LIMITS = tuple(range(10, 1000, 10))
"""Price limits that may be asked for, US dollars."""

READ_FEATURES = 4
"""Features taken from description and feature list, which are long, at most."""

_OPENINGS = (
    "Find me {}",
    "Find me {}",
    "I am looking for {}",
    "I need {}",
    "Show me {}",
    "I want to buy {}",
    "Please find {}",
    "Get me {}",
    "I would like {}",
    "looking for {}",
)
_CHOICES = (" with {}", " with {}", " with {}", ", {}", " and {}")
_LIMITS_SAID = (
    ", and price lower than {:.2f} dollars",
    ", and price lower than {:.2f} dollars",
    ", and price lower than {:.2f} dollars",
    ", for less than {:.0f} dollars",
    ", under ${:.0f}",
)


def asked_for(
    bought: Purchase, task: str, rng: Random, constraints: int | None = None
) -> tuple[Asked, str] | None:
    """Return what to ask for, so that a purchase is exactly that, and the words for it.

    Args:
        bought: What was bought.
        task: The instruction that the episode's pages showed.
        rng: Draws what is asked for and how it is said.
        constraints: How many features, options and limits to ask for at once; None draws.

    Returns:
        None where the title has no ordinary word for the kind of product.
    """
    ordinary = Ordinary(bought.visit.listed.values(), [task, *bought.told[1:]])
    parts = runs(bought.title, ordinary)
    kind = kind_of(bought.title, parts, ordinary, rng)
    if kind is None:
        return None
    features = list(_features(parts, bought, kind, ordinary, rng))
    below = _limit(bought.price, rng)
    drawn = _drawn(features, bought.options, below, rng, constraints)
    features = [phrase for phrase in features if phrase in drawn]
    options = {name: value for name, value in sorted(bought.options.items()) if name in drawn}
    limit = below if below in drawn else None
    asked = Asked(bought.asin, kind.text, tuple(p.text for p in features), options, limit)
    return asked, _said(kind, features, options, limit, rng)


def _features(
    parts: Sequence[Sequence[Phrase]],
    bought: Purchase,
    kind: Phrase,
    ordinary: Ordinary,
    rng: Random,
) -> Iterator[Phrase]:
    """Yield what can be asked for besides the kind and the options, each with its own words."""
    taken = set(stems(" ".join((kind.text, *bought.options))))
    read = [said for text in bought.told[1:] for said in features_said(text, ordinary)]
    drawn = rng.sample(read, min(READ_FEATURES, len(read)))
    for phrase in [*features_in(parts, ordinary), *drawn]:
        if not stems(phrase.text) & taken:
            taken |= stems(phrase.text)
            yield phrase


def _limit(price: float, rng: Random) -> float | None:
    """Return a price limit as official goals have them: the larger of two of the next four."""
    first = bisect_right(LIMITS, price)
    nearest = LIMITS[first : first + 4]
    return float(max(rng.sample(nearest, 2))) if len(nearest) > 1 else None


def _drawn(
    features: Sequence[Phrase],
    options: Mapping[str, str],
    below: float | None,
    rng: Random,
    constraints: int | None,
) -> set[Phrase | str | float]:
    """Draw which things are asked for."""
    limits = [] if below is None else [below]
    if constraints is not None:
        things: list[Phrase | str | float] = [*features, *options, *limits]
        return set(rng.sample(things, min(constraints, len(things))))
    wanted = min(rng.choice((0, 1, 2, 2, 2, 3, 3)), len(features))
    return {
        *rng.sample(features, wanted),
        *(name for name in options if rng.random() < 0.9),
        *(limit for limit in limits if rng.random() < 0.9),
    }


def _said(
    kind: Phrase,
    features: Sequence[Phrase],
    options: Mapping[str, str],
    below: float | None,
    rng: Random,
) -> str:
    before = [phrase.text for phrase in features if not phrase.after]
    behind = [f"{phrase.after} {phrase.text}" for phrase in features if phrase.after]
    rng.shuffle(before)
    form = rng.choice((str, _with_article, _plural))
    goods = form(" ".join(filter(None, [", ".join(before), kind.text])))
    text = rng.choice(_OPENINGS).format(" ".join([goods, *behind]))
    if options:
        text += rng.choice(_CHOICES).format(
            ", and ".join(f"{name}: {value}" for name, value in options.items())
        )
    return text if below is None else text + rng.choice(_LIMITS_SAID).format(below)


def _with_article(goods: str) -> str:
    if goods.endswith("s"):
        return goods
    vowel = goods[0] in "aeiou" and not goods.startswith(("eu", "uni", "us"))
    return f"{'an' if vowel else 'a'} {goods}"


def _plural(goods: str) -> str:
    """Return the goods as the shop's departments are called, where the search knows them by it."""
    plural = f"{goods}es" if goods.endswith(("ch", "sh", "x", "ss")) else f"{goods}s"
    same = not goods.endswith("s") and stems(plural) == stems(goods)
    return plural if same else goods
