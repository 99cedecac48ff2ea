"""The words of the embedded shop, read from ``shop.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

Form = Literal["of", "with", "for", "is"]


@dataclass(frozen=True)
class Trait:
    """Something that a product is said to be, have or suit.

    Attributes:
        form: How it joins the noun: ``of`` a material, ``with`` a part, ``for`` a use; ``is`` an
            adjective before it.
        phrase: Its words as they stand in a sentence, e.g. ``with a bamboo lid``.
        attribute: Its words as the catalogue lists them, e.g. ``bamboo lid``.
    """

    form: Form
    phrase: str
    attribute: str


@dataclass(frozen=True)
class Kind:
    """One sort of goods, e.g. mugs.

    Attributes:
        department: The part of the shop.
        nouns: What such a product is called.
        article: What stands before the noun in a sentence.
        query: The search that the product would be crawled by.
        path: The shop's path of categories.
        price: Lowest and highest price in dollars.
        traits: Slots; of each a product has one, where None means nothing.
        options: The values of each axis that a buyer chooses on.
        lines: Sentences that fit every product of the kind.
    """

    department: str
    nouns: tuple[str, ...]
    article: str
    query: str
    path: str
    price: tuple[int, int]
    traits: tuple[tuple[Trait | None, ...], ...]
    options: Mapping[str, tuple[str, ...]]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """All words of the shop: invented brands and series, and the kinds of goods."""

    brands: tuple[str, ...]
    series: tuple[str, ...]
    kinds: tuple[Kind, ...]


@cache
def vocabulary() -> Vocabulary:
    """Return the shop's words."""
    folder = files("armap_agents.tools.webshop.embedded")
    words = tomllib.loads(folder.joinpath("shop.toml").read_text("utf-8"))
    return Vocabulary(
        brands=tuple(words["brands"]),
        series=tuple(words["series"]),
        kinds=tuple(_kind(entry, words["palettes"]) for entry in words["kind"]),
    )


def _kind(entry: Mapping[str, Any], palettes: Mapping[str, list[str]]) -> Kind:
    return Kind(
        department=entry["department"],
        nouns=tuple(entry["nouns"]),
        article=entry.get("article", "a"),
        query=entry["query"],
        path=entry["path"],
        price=(entry["price"][0], entry["price"][1]),
        traits=tuple(tuple(map(_trait, slot)) for slot in entry["traits"]),
        options={
            name: tuple(palettes[values[1:]] if isinstance(values, str) else values)
            for name, values in entry["options"].items()
        },
        lines=tuple(entry["lines"]),
    )


def _trait(phrase: str) -> Trait | None:
    match = re.fullmatch(r"(of|with|for) (?:an? )?(.+)", phrase)
    if match is None:
        return Trait("is", phrase, phrase) if phrase else None
    forms: dict[str, Form] = {"of": "of", "with": "with", "for": "for"}
    return Trait(forms[match[1]], phrase, match[2])
