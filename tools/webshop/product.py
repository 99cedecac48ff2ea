"""A product as the shop shows and judges it, read from the official records.

An official record is what a crawl of a real shop left: prices as text, options with every
capitalisation, fields that may be missing. `read_product` turns one, together with its entry in the
instructions file, into a `Product` by the rules of the official loader (Yao et al. 2022). Where the
official loader would stop on a damaged field, the field is read as empty; characters that no page
can show (NUL, halves of characters) are replaced, which the official loader leaves to the browser.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

_NOT_IN_HTML = re.compile("[\0\ud800-\udfff]")

PRICE_WHERE_NONE_IS_KNOWN = 100.0

NO_ATTRIBUTES = ("DUMMY_ATTR",)
"""What the official loader gives a product of which the instructions file says nothing."""


@dataclass(frozen=True)
class Product:
    """One product of a catalogue.

    Attributes:
        asin: The shop's id of the product, at most ten characters.
        title: Its name.
        description: Its full description.
        bullets: The points of its feature list.
        prices: US dollars: one price, or the two ends of a range.
        price_shown: The price as pages show it: ``$15.99`` or ``$1.0 to $2.0``.
        options: The values of each option, by lower-cased name, in the official order.
        attributes: What the product is said to be, e.g. ``machine washable``; scored, never shown
            unless the Attributes page is asked for.
        category: The part of the shop that it was crawled from, e.g. ``fashion``.
        query: The search by which it was crawled, lower-cased.
        product_category: The shop's own path of categories, parted by ``›``.
        images: Addresses of its pictures, the main one first.
        instruction: What a synthetic goal asks for, without options and price; empty where the
            product is no goal. Never shown with the product.
        instruction_attributes: The attributes that the synthetic goal asks for.
    """

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    prices: tuple[float, ...]
    price_shown: str
    options: Mapping[str, tuple[str, ...]]
    attributes: tuple[str, ...]
    category: str
    query: str
    product_category: str
    images: tuple[str, ...]
    instruction: str = ""
    instruction_attributes: tuple[str, ...] = ()

    @property
    def goals(self) -> int:
        """How many synthetic goals ask for it: one for each choice of a value of every option."""
        if not self.instruction_attributes:
            return 0
        return math.prod(len(values) for values in self.options.values())

    @cached_property
    def searchable_texts(self) -> tuple[str, str, str]:
        """Title, bullets and description in lower case: where goal attributes are looked for."""
        return self.title.lower(), " ".join(self.bullets).lower(), self.description.lower()

    @cached_property
    def category_parts(self) -> frozenset[str]:
        """The parts of `product_category`."""
        return category_parts(self.product_category)


def category_parts(product_category: str) -> frozenset[str]:
    """Return the parts of a path of categories, without the white space around them."""
    return frozenset(part.strip() for part in product_category.split("›"))


def read_product(record: Mapping[str, Any], instructed: Mapping[str, Any] | None) -> Product:
    """Read an official record.

    Args:
        record: One entry of ``items_shuffle*.json``.
        instructed: The entry of ``items_ins_v2*.json`` for the same ASIN, None if it has none.
    """
    instructed = instructed or {}
    prices = _prices(_text(record.get("pricing")))
    bullets = record.get("small_description")
    is_goal = instructed.get("instruction") is not None
    return Product(
        asin=_text(record.get("asin")),
        title=_text(record.get("name")),
        description=_text(record.get("full_description")),
        bullets=_texts(bullets) if isinstance(bullets, list) else (_text(bullets),),
        prices=prices,
        price_shown=" to ".join(f"${price}" for price in prices),
        options=_options(record.get("customization_options")),
        attributes=_texts(instructed["attributes"])
        if "attributes" in instructed
        else NO_ATTRIBUTES,
        category=_text(record.get("category")),
        query=_text(record.get("query")).lower().strip(),
        product_category=_text(record.get("product_category")),
        images=_texts(record.get("images")),
        instruction=_text(instructed.get("instruction")),
        instruction_attributes=_texts(instructed.get("instruction_attributes")) if is_goal else (),
    )


def pack(product: Product) -> bytes:
    """Return a product as one line of ASCII, without the line's end."""
    return json.dumps({f.name: getattr(product, f.name) for f in fields(product)}).encode()


def unpack(line: bytes) -> Product:
    """Return the product that `pack` wrote.

    Raises:
        ValueError: The line is damaged.
    """
    values = json.loads(line)
    if not isinstance(values, dict) or values.keys() != {f.name for f in fields(Product)}:
        raise ValueError("not a packed product")
    tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    options = {name: tuple(choices) for name, choices in values["options"].items()}
    return Product(**(values | tuples | {"options": options}))


def _text(value: object) -> str:
    # What no page can show is replaced here as browsers replace it, lest they see another text.
    return "" if value is None else _NOT_IN_HTML.sub("\ufffd", str(value))


def _texts(values: Iterable[object] | None) -> tuple[str, ...]:
    return tuple(_text(value) for value in values or ())


def _prices(pricing: str) -> tuple[float, ...]:
    prices = []
    for piece in pricing.split("$")[1:]:
        try:
            prices.append(float(re.sub(r"[^\d.]", "", piece)))
        except ValueError:
            continue
    return tuple(prices[:2]) or (PRICE_WHERE_NONE_IS_KNOWN,)


def _options(customization: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(customization, dict):
        return {}
    return {
        _text(name).lower(): tuple(
            _text(content.get("value")).strip().replace("/", " | ").lower() for content in contents
        )
        for name, contents in customization.items()
        if contents is not None
    }
