"""Puts the pages of an episode together: where it stands, what it was shown, what it bought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from armap_agents.training.domains.webshop_pages import (
    Hit,
    ItemPage,
    Page,
    Receipt,
    ResultsPage,
    StartPage,
    SubPage,
    picks,
    read,
)
from armap_agents.trajectory import Observation, Trajectory


@dataclass(frozen=True)
class Visit:
    """Where an episode stands, as its own steps tell.

    Attributes:
        page: The newest page; None where it cannot be read.
        hits: The newest page of results.
        asin: The product at hand; empty on pages of results.
        opened: How many steps led to the newest page of results, from which it was opened.
        looked: Every product looked at, in order.
        clicks: What was done at the product at hand.
        read: The sub pages of it that were read, as clicks.
        told: All that was shown of each product: its title, then what its sub pages say.
        items: The product page of each product that was looked at.
        listed: Every title that was listed, by product.
    """

    page: Page | None = None
    hits: tuple[Hit, ...] = ()
    asin: str = ""
    opened: int = 0
    looked: tuple[str, ...] = ()
    clicks: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    told: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    items: Mapping[str, ItemPage] = field(default_factory=dict)
    listed: Mapping[str, str] = field(default_factory=dict)

    @property
    def chosen(self) -> dict[str, str]:
        """The click of each option that was chosen of the product at hand, by name."""
        item = self.items.get(self.asin)
        if item is None:
            return {}
        names = {picks(v): name for name, values in item.options.items() for v in values}
        return {names[click]: click for click in self.clicks if click in names}

    def after(self, steps: int, action: str, seen: Observation) -> Visit:
        """Return where a further action led.

        Args:
            steps: How many actions that makes.
            action: The action.
            seen: What was shown then.
        """
        page = read(seen)
        match page:
            case ResultsPage(hits):
                found = {hit.asin: hit.title for hit in hits}
                left = replace(self, asin="", clicks=(), read=())
                return replace(
                    left, page=page, hits=hits, opened=steps, listed={**self.listed, **found}
                )
            case ItemPage():
                return self._at(page, action)
            case SubPage(texts) if self.asin:
                told = (*self.told[self.asin], *texts)
                return replace(
                    self,
                    page=page,
                    read=(*self.read, action),
                    told={**self.told, self.asin: told},
                )
            case StartPage():
                return replace(self, page=page, asin="", clicks=(), read=())
        return replace(self, page=page)

    def _at(self, page: ItemPage, action: str) -> Visit:
        if self.asin:
            # Where clicks were not listed, the page told less.
            newest = page if page.options else self.items[self.asin]
            return replace(
                self,
                page=page,
                clicks=(*self.clicks, action),
                items={**self.items, self.asin: newest},
            )
        asin = action.removeprefix("click[").removesuffix("]").upper()
        return replace(
            self,
            page=page,
            asin=asin,
            looked=(*self.looked, asin),
            told={**self.told, asin: self.told.get(asin, (page.title,))},
            items={**self.items, asin: page},
        )


def visit(trajectory: Trajectory) -> Visit:
    """Return where an episode stands and what it was shown."""
    stands = Visit(page=read(trajectory.observation))
    for k, step in enumerate(trajectory.steps, 1):
        stands = stands.after(k, step.action.lower(), step.observation)
    return stands


@dataclass(frozen=True)
class Purchase:
    """What an episode bought, as far as it was shown.

    Attributes:
        asin: The product, in capitals.
        title: Its title.
        price: US dollars; the higher end of a range.
        options: The chosen value of each option.
        told: Its title, then what was read of its sub pages.
        visit: The whole episode.
    """

    asin: str
    title: str
    price: float
    options: Mapping[str, str]
    told: tuple[str, ...]
    visit: Visit


def purchase(trajectory: Trajectory) -> Purchase | None:
    """Return what an episode bought, None where it bought nothing that was shown to it."""
    stands = visit(trajectory)
    receipt = stands.page
    if not isinstance(receipt, Receipt) or receipt.asin not in stands.items:
        return None
    item = stands.items[receipt.asin]
    return Purchase(
        receipt.asin,
        item.title,
        item.price,
        receipt.options,
        stands.told[receipt.asin],
        stands,
    )
