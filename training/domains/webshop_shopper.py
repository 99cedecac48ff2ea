"""A shopper at random: searches, looks at products, reads, chooses, buys.

It goes by what is listed alone, from wherever an episode stands, so that it both explores (an
intent of its own from the start page) and plays prefixes on (with options in mind that were asked
for). It picks products uniformly from the page, so that the place among the results tells nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from random import Random

from armap_agents.training.domains.webshop_asks import chosen, same_value
from armap_agents.training.domains.webshop_pages import (
    BACK,
    BUY,
    NEXT,
    RESTART,
    SUB_PAGES,
    Hit,
    ItemPage,
    ResultsPage,
    StartPage,
    SubPage,
    opens,
    picks,
)
from armap_agents.training.domains.webshop_visits import Visit, visit
from armap_agents.training.explore import step_limit
from armap_agents.trajectory import Trajectory

WAVERS = 0.15
"""Chance that an option is first chosen otherwise."""

CARE = 0.5
"""Chance that a value which was asked for is chosen where it can be."""

_OPTIONS_SAID = re.compile(r" with [^,]*?: |, and price lower than ")


class Shopper:
    """Chooses the next action of an episode.

    Args:
        task: The words to search with.
        rng: Draws the intent now and every pick later.
        avoided: ASINs of products that are not looked at.
        wishes: Option name → value to have in mind.
    """

    def __init__(
        self,
        task: str,
        rng: Random,
        avoided: Collection[str] = (),
        wishes: Mapping[str, str] | None = None,
    ) -> None:
        self._rng = rng
        self._avoided = avoided
        self._wishes = wishes or {}
        self._query = _query(task, rng)
        self._searches = rng.choices((1, 2), (9, 1))[0]
        self._pages = rng.choices((1, 2), (9, 1))[0]
        self._looks = rng.choices((1, 2), (7, 3))[0]
        self._reads = [page for page, share in zip(SUB_PAGES, (0.1, 0.3), strict=True)
                       if rng.random() < share]  # fmt: skip
        self._leaves_out = rng.choices((0.0, 0.4, 1.0), (16, 3, 1))[0]
        self._decided: dict[tuple[str, str], tuple[str, ...]] = {}

    async def __call__(self, trajectory: Trajectory) -> str:
        """Return the next action; something listed where the page cannot be read."""
        stands = visit(trajectory)
        left = step_limit(trajectory.task) - len(trajectory)
        match stands.page:
            case StartPage():
                return self._search(trajectory, stands)
            case ResultsPage():
                return self._among(trajectory, stands, left)
            case ItemPage() as item:
                return self._at(item, stands, left)
            case SubPage():
                return BACK
        return self._rng.choice(trajectory.last.actions or (RESTART,))

    def _search(self, trajectory: Trajectory, stands: Visit) -> str:
        if not _searches(trajectory):
            return f"search[{self._query}]"
        title = self._rng.choice(sorted(stands.listed.values()) or [self._query])
        words = re.findall(r"\w+", title.lower())
        return f"search[{' '.join(_some(words, self._rng)) or self._query}]"

    def _among(self, trajectory: Trajectory, stands: Visit, left: int) -> str:
        """Open a product, uniformly; now and then go to the next page or search anew first."""
        listed = trajectory.last.actions or ()
        if _searches(trajectory) < self._searches and left > 5 and stands.hits:
            return RESTART
        if NEXT in listed and trajectory.actions.count(NEXT) + 1 < self._pages and left > 4:
            return NEXT
        fresh = [hit for hit in stands.hits if hit.asin not in self._avoided]
        unseen = [hit for hit in fresh if hit.asin not in stands.looked] or fresh
        if unseen:
            return opens(self._rng.choice(self._without_favourite(unseen, stands.hits)).asin)
        return NEXT if stands.hits and NEXT in listed else RESTART

    def _without_favourite(self, hits: Sequence[Hit], page: Sequence[Hit]) -> Sequence[Hit]:
        """Pass the first hit over as often as others are avoided.

        A search for what the task asks for often has that product first, and it is never avoided:
        the first place would be bought from most.
        """
        avoided = sum(hit.asin in self._avoided for hit in page)
        favoured = len(hits) > 1 and hits[0] is page[0]
        return hits[1:] if favoured and self._rng.random() * len(page) < avoided else hits

    def _at(self, item: ItemPage, stands: Visit, left: int) -> str:
        """Look around, read, choose and buy, as far as the steps left allow."""
        others = {hit.asin for hit in stands.hits} - {stands.asin, *self._avoided}
        if len(stands.looked) < self._looks and left > 4 and others:
            return BACK
        unread = [page for page in self._reads if page not in stands.read]
        if unread and left > 4:
            return unread[0]
        if left > 1:
            for name, values in item.options.items():
                for click in self._picks(stands, name, values):
                    if click not in stands.clicks:
                        return click
        return BUY

    def _picks(self, stands: Visit, name: str, values: Sequence[str]) -> tuple[str, ...]:
        """Return the clicks to make of an option; decided once."""
        key = stands.asin, name
        if key not in self._decided:
            left_out = name in stands.chosen or self._rng.random() < self._leaves_out
            self._decided[key] = () if left_out else self._drawn(values)
        return self._decided[key]

    def _drawn(self, values: Sequence[str]) -> tuple[str, ...]:
        wanted = [value for value in values if chosen(value, self._wishes.values())]
        careful = bool(wanted) and self._rng.random() < CARE
        pick = picks(self._rng.choice(wanted if careful else values))
        if self._rng.random() >= WAVERS:
            return (pick,)
        return (picks(self._rng.choice(values)), pick)


def sensible(item: ItemPage, wishes: Mapping[str, str], count: int, rng: Random) -> list[str]:
    """Return clicks that choose what was asked for where it can be had, else at random.

    Args:
        item: The product's page.
        wishes: Option name → value.
        count: How many options to choose at most; asked ones first.
        rng: Draws the rest.
    """
    asked: list[str] = []
    rest: list[str] = []
    for values in item.options.values():
        wanted = [v for v in values if any(same_value(v, wish) for wish in wishes.values())]
        (asked if wanted else rest).append(picks((wanted or [rng.choice(values)])[0]))
    return [*asked, *rest][:count]


def _searches(trajectory: Trajectory) -> int:
    return sum(action.startswith("search[") for action in trajectory.actions)


def _query(task: str, rng: Random) -> str:
    """Return a search: all of the task, as simple shoppers do, its goods, or some of its words."""
    line = " ".join(task.split())
    goods = _OPTIONS_SAID.split(line)[0]
    drawn = rng.random()
    if drawn < 0.5:
        return line
    return goods if drawn < 0.7 else " ".join(_some(re.findall(r"\w+", goods)[2:], rng)) or line


def _some(words: Sequence[str], rng: Random) -> Sequence[str]:
    """Return two to four neighbouring words."""
    start = rng.randrange(max(1, len(words) - 1))
    return words[start : start + rng.randint(2, 4)]
