"""Reads the shop's pages as its visitor does: from the text and the clicks that are listed.

Data generation knows of a product only what pages showed of it: `read` turns one observation into a
small page object and never asks the shop. `webshop_visits` puts an episode's pages together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from armap_agents.trajectory import Observation

BUY = "click[buy now]"
BACK = "click[< prev]"
NEXT = "click[next >]"
RESTART = "click[back to search]"
SUB_PAGES = ("click[description]", "click[features]")
"""What a product page leads to and says more of the product; the reviews are always empty."""

READ_PAGES = 4096
"""Pages that are kept as they were read: episodes of a task share most of theirs."""

_SEPARATOR = " [SEP] "
_START = re.compile(r"WebShop \[SEP\] Instruction: \[SEP\] ")
_HEAD = re.compile(r"Instruction: \[SEP\] .*? \[SEP\] Back to Search(?: \[SEP\] |\Z)", re.S)
_RESULTS = re.compile(r"Page \d+ \(Total results: \d+\)")
_PRICE = re.compile(r"(?:Price: )?\$(\d+(?:\.\d+)?)(?: to \$(\d+(?:\.\d+)?))?")
_RECEIPT = re.compile(
    r"(?>Thank you .*?\basin \[SEP\] )(\S+) \[SEP\] options \[SEP\] (.*?) \[SEP\] ", re.S
)


@dataclass(frozen=True)
class Hit:
    """A product on a page of results.

    Attributes:
        asin: The shop's id of it, in capitals.
        title: As listed.
        price: US dollars; the higher end of a range.
    """

    asin: str
    title: str
    price: float


@dataclass(frozen=True)
class StartPage:
    """Where a search can be typed in."""


@dataclass(frozen=True)
class ResultsPage:
    """A page of results, maybe without any."""

    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class ItemPage:
    """A product's page.

    Attributes:
        title: The product's.
        price: US dollars; the higher end of a range.
        options: The values of each option by its name; empty where the clicks are not listed, since
            the text alone does not tell names from values.
    """

    title: str
    price: float
    options: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class SubPage:
    """A product's description, features or (empty) reviews.

    Attributes:
        texts: Its paragraphs.
    """

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Receipt:
    """What is shown after a purchase.

    Attributes:
        asin: The bought product, in capitals.
        options: The chosen value of each option.
    """

    asin: str
    options: Mapping[str, str]


Page = StartPage | ResultsPage | ItemPage | SubPage | Receipt


def opens(asin: str) -> str:
    """Return the click on a product among the results."""
    return f"click[{asin.lower()}]"


def picks(value: str) -> str:
    """Return the click on an option's value."""
    return f"click[{value.lower()}]"


def read(seen: Observation) -> Page | None:
    """Return what an observation shows, None where it is no page in the mode ``text``."""
    return _read(seen.text, seen.actions or ())


@lru_cache(maxsize=READ_PAGES)
def _read(text: str, listed: tuple[str, ...]) -> Page | None:
    if _START.match(text):
        return StartPage()
    if receipt := _RECEIPT.match(text):
        return _receipt(receipt[1], receipt[2])
    head = _HEAD.match(text)
    if head is None:
        return None
    nodes = text[head.end() :].split(_SEPARATOR)
    if _RESULTS.match(nodes[0]):
        return ResultsPage(tuple(_hits(nodes)))
    if nodes[-1] == "Buy Now" and "Rating: N.A." in nodes:
        return _item(nodes, frozenset(listed))
    return SubPage(tuple(filter(None, map(str.strip, nodes[1:]))))


def _receipt(asin: str, options: str) -> Receipt | None:
    try:
        chosen = json.loads(options)
    except ValueError:
        return None
    return Receipt(asin.upper(), {str(name): str(value) for name, value in chosen.items()})


def _hits(nodes: Sequence[str]) -> Iterator[Hit]:
    for asin, title, shown in zip(nodes, nodes[1:], nodes[2:], strict=False):
        price = _PRICE.fullmatch(shown)
        if price and re.fullmatch(r"[A-Za-z0-9]{1,10}", asin):
            yield Hit(asin.upper(), title, _highest(price))


def _highest(price: re.Match[str]) -> float:
    return max(float(amount) for amount in price.groups() if amount)


def _item(nodes: Sequence[str], listed: frozenset[str]) -> ItemPage | None:
    rating = len(nodes) - 1 - list(reversed(nodes)).index("Rating: N.A.")
    price = _PRICE.fullmatch(nodes[rating - 1]) if rating >= 2 else None
    if price is None:
        return None
    options: dict[str, tuple[str, ...]] = {}
    name = ""
    for node in nodes[1 : rating - 2]:  # the first is the button < Prev
        if picks(node) in listed:
            options[name] = (*options.get(name, ()), node)
        else:
            name = node
    return ItemPage(nodes[rating - 2], _highest(price), options)
