"""Ways to shop wrong that look like shopping right.

Each is a whole episode of much the same length that ends alike: another product of the same page,
too expensive or not what was asked for, another value of an option, an option left out. Few are
easy: nothing bought, or something from another search.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from random import Random

from armap_agents.training.domain import Corruption
from armap_agents.training.domains.webshop_asks import Asked, same_value, stems
from armap_agents.training.domains.webshop_pages import (
    BACK,
    BUY,
    RESTART,
    SUB_PAGES,
    Hit,
    ItemPage,
    opens,
    picks,
)
from armap_agents.training.domains.webshop_shopper import sensible
from armap_agents.training.domains.webshop_visits import Purchase, purchase, visit
from armap_agents.training.explore import step_limit
from armap_agents.trajectory import Trajectory

EASY = 0.15
"""Chance that one of the easy ways is among those of a trajectory."""

AGAIN = 0.7
"""Chance that for an option left out, where none is free, another one is clicked twice."""

SPOILS = 0.3
"""Chance that the wrong value is clicked after the right one, not in its place."""

STRANGE = 0.4
"""Chance that a product of another kind is among the others of its page, where some are alike."""

OTHER_PRODUCTS = 4
"""Other products of the page that are bought instead, at most."""


def corruptions(
    trajectory: Trajectory,
    asked: Asked,
    others: Sequence[Trajectory],
    allowed: Callable[[str], bool],
    rng: Random,
) -> list[Corruption]:
    """Return ways to fail, wrong products and wrong options in turn, each once.

    Args:
        trajectory: Buys what was asked for.
        asked: What was asked for.
        others: Further episodes of the task, for what they saw of other products.
        allowed: Whether a product may be bought.
        rng: Draws and shuffles.
    """
    bought = purchase(trajectory)
    if bought is None or trajectory.actions[-1].lower() != BUY:
        return []
    actions = [a if a.startswith("search[") else a.lower() for a in trajectory.actions]
    seen = [purchase(other) for other in others]
    products = list(_other_products(actions, bought, asked, _known(bought, others), allowed, rng))
    spoils = SPOILS if len(actions) < step_limit(trajectory.task) else 0.0
    options = list(_wrong_options(actions, bought, asked, spoils, rng))
    easy = list(_easy(actions, asked, others, seen, allowed, rng))
    for ways in (products, options):
        rng.shuffle(ways)
    turns = (way for way in chain(*zip_longest(products, options)) if way is not None)
    listed = {way.actions: way for way in [*turns, *easy] if list(way.actions) != actions}
    return list(listed.values())


def _known(bought: Purchase, others: Iterable[Trajectory]) -> dict[str, ItemPage]:
    """Return the product pages that were seen."""
    known = dict(bought.visit.items)
    for other in others:
        known = {**visit(other).items, **known}
    return known


def _other_products(
    actions: list[str],
    bought: Purchase,
    asked: Asked,
    known: Mapping[str, ItemPage],
    allowed: Callable[[str], bool],
    rng: Random,
) -> Iterator[Corruption]:
    """Yield purchases of other products of the page, with the options that a shopper would choose.

    Of a product that nobody looked at the options are unknown: the same clicks are tried.
    """
    stands = bought.visit
    head, tail = actions[: stands.opened], actions[stands.opened + 1 :]
    own = _clicks(bought)
    count = sum(action in own for action in tail)
    hits = [hit for hit in stands.hits if hit.asin != bought.asin and allowed(hit.asin)]
    rng.shuffle(hits)

    def unlike(hit: Hit) -> int:
        item = known.get(hit.asin)
        return abs(len(item.options) - count) if item else count + 1

    alike = [hit for hit in hits if stems(asked.kind) & stems(hit.title)]
    strange = [hit for hit in hits if hit not in alike]
    shown = sorted(alike, key=unlike)[:OTHER_PRODUCTS]
    if strange and (not shown or rng.random() < STRANGE):
        shown.append(min(strange, key=unlike))
    for hit in shown:
        picked = [action for action in tail if action in own]
        if hit.asin in known:
            picked = sensible(known[hit.asin], asked.options, count, rng)
        # Where the other product was looked at first, it is the right one that is now.
        way = [opens(bought.asin) if action == opens(hit.asin) else action for action in head]
        dear = asked.below is not None and hit.price > asked.below
        yield Corruption(
            "over the price" if dear else "another product",
            (*way, opens(hit.asin), *_refilled(tail, own, picked)),
        )


def _clicks(bought: Purchase) -> dict[str, str]:
    """Return every click that chooses an option of the product, with the option's name."""
    options = bought.visit.items[bought.asin].options
    return {picks(value): name for name, values in options.items() for value in values}


def _refilled(tail: Iterable[str], old: Container[str], new: Iterable[str]) -> Iterator[str]:
    """Yield what was done at a product with other options chosen; what is too many falls away."""
    fresh = iter(new)
    for action in tail:
        if action not in old:
            yield action
        elif (click := next(fresh, None)) is not None:
            yield click


def _wrong_options(
    actions: Sequence[str], bought: Purchase, asked: Asked, spoils: float, rng: Random
) -> Iterator[Corruption]:
    """Yield the same purchase with other values, one or several, and with one left out.

    With chance `spoils` a wrong value is clicked after the right one, which takes a step more.
    """
    stands = bought.visit
    item, chosen = stands.items[bought.asin], stands.chosen
    head, tail = actions[: stands.opened + 1], actions[stands.opened + 1 :]
    wrong: dict[str, str] = {}
    names = [name for name in asked.options if name in chosen]
    for name in names:
        values = [v for v in item.options[name] if not same_value(v, asked.options[name])]
        if values:
            wrong[chosen[name]] = picks(rng.choice(values))
    if names:
        left_out = rng.choice(names)
        yield Corruption("missing option", (*head, *_without(tail, bought, left_out, rng)))
    for right, click in wrong.items():
        last = (right, click) if rng.random() < spoils else (click,)
        yield Corruption("wrong option", (*head, *_exchanged(tail, {right: last})))
    if len(wrong) > 1:
        several = {right: (click,) for right, click in wrong.items()}
        yield Corruption("several wrong options", (*head, *_exchanged(tail, several)))


def _exchanged(tail: Iterable[str], clicks: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for action in tail:
        yield from clicks.get(action, (action,))


def _without(tail: Sequence[str], bought: Purchase, name: str, rng: Random) -> Iterator[str]:
    """Leave an option out; in its stead one is chosen that does not matter, or another again."""
    chosen, own = bought.visit.chosen, _clicks(bought)
    free = [click for click, other in own.items() if other not in chosen]
    again = [click for other, click in chosen.items() if other != name]
    instead = rng.choice(free or (again if rng.random() < AGAIN else []) or [""])
    for action in tail:
        if own.get(action) != name:
            yield action
        elif action == chosen[name] and instead:
            yield instead


def _easy(
    actions: Sequence[str],
    asked: Asked,
    others: Sequence[Trajectory],
    seen: Sequence[Purchase | None],
    allowed: Callable[[str], bool],
    rng: Random,
) -> Iterator[Corruption]:
    """Yield now and then an end without purchase, or a purchase of quite another thing."""
    if rng.random() < EASY:
        end = rng.choice(((), (BACK,), (RESTART,), (SUB_PAGES[0],)))
        yield Corruption("not bought", (*actions[:-1], *end))
    strange = [
        other
        for other, found in zip(others, seen, strict=True)
        if found and allowed(found.asin) and not stems(asked.kind) & stems(found.title)
    ]
    if strange and rng.random() < EASY:
        yield Corruption("another kind of product", tuple(rng.choice(strange).actions))
