"""The products of the embedded shop and their goals, in the official file formats.

Goods come in families: look-alikes of one maker that differ in a trait or two, in price and in
what can be chosen. Titles tell a trait or two and the rest has to be read up, so the first hit of a
search is often the wrong one, and seldom right before something is chosen. As in the official data,
most products are the goal of a few instructions, and a few products with a large choice are the
goal of most.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armap_agents.tools.webshop.embedded.chance import Draw
from armap_agents.tools.webshop.embedded.vocabulary import Kind, Trait, vocabulary
from armap_agents.tools.webshop.embedded.wording import human_request, request, statement, title

FAMILY_SIZES = (5, 3, 3, 2)
"""How many look-alikes the families of a kind have."""

HUMAN_REQUESTS = 150

_FEW_CHOICES = ((1,), (1, 1), (2,), (1, 2), (3,), (4,), (2, 2))
"""How many values the axes of an ordinary product have."""

Record = dict[str, Any]


@dataclass(frozen=True)
class _Item:
    """A product before it is put into words."""

    asin: str
    kind: Kind
    brand: str
    series: str
    noun: str
    brand_leads: bool
    traits: tuple[Trait, ...]
    options: Mapping[str, list[str]]
    pricing: str


def write_embedded(folder: Path) -> None:
    """Write the shop as the official three files into a folder, which is made if need be.

    The files are the same to the byte on every machine.
    """
    records: list[Record] = []
    instructed: dict[str, Record] = {}
    human: dict[str, list[Record]] = {}
    for item in sorted(_items(), key=lambda item: _digest("place", item.asin)):
        records.append(_record(item))
        if Draw(f"known {item.asin}").happens(0.98):
            instructed[item.asin] = _instructed(item)
        if len(human) < HUMAN_REQUESTS:
            human[item.asin] = [_human(item)]
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("items_shuffle.json", records),
        ("items_ins_v2.json", instructed),
        ("items_human_ins.json", human),
    ):
        text = json.dumps(content, ensure_ascii=False, indent=1)
        (folder / name).write_bytes(text.encode())


def _items() -> Iterator[_Item]:
    words = vocabulary()
    for kind in words.kinds:
        draw = Draw(f"families of {kind.query}")
        makers = draw.some(words.brands, len(FAMILY_SIZES))
        for size, brand in zip(FAMILY_SIZES, draw.shuffled(makers), strict=True):
            yield from _family(kind, brand, draw.pick(words.series), size)


def _family(kind: Kind, brand: str, series: str, size: int) -> Iterator[_Item]:
    draw = Draw(f"family {kind.query} {brand} {series}")
    noun, brand_leads = draw.pick(kind.nouns), draw.happens(0.6)
    low, high = (100 * dollars for dollars in kind.price)
    usual_price = low + draw.below(high - low)
    slots = [draw.pick(slot) for slot in kind.traits]
    options = _choices(kind, draw)
    seen: set[tuple[Trait, ...]] = set()
    while len(seen) < size:
        traits = tuple(trait for trait in slots if trait)
        if traits not in seen:
            seen.add(traits)
            yield _Item(
                asin="E0" + _digest("asin", f"{kind.query} {brand} {series} {len(seen)}")[:8],
                kind=kind,
                brand=brand,
                series=series,
                noun=noun,
                brand_leads=brand_leads,
                traits=traits,
                options=options,
                pricing=_pricing(usual_price * (70 + draw.below(70)) // 100, draw),
            )
        changed = draw.below(len(slots))
        slots[changed] = draw.pick(kind.traits[changed])
        if draw.happens(0.5):
            options = _choices(kind, draw)


def _digest(purpose: str, name: str) -> str:
    return hashlib.sha256(f"{purpose} {name}".encode()).hexdigest().upper()


def _choices(kind: Kind, draw: Draw) -> dict[str, list[str]]:
    """Return the values of each axis: none, a few or, for one draw in six, a large grid."""
    if draw.happens(0.08):
        return {}
    if draw.happens(0.18):
        return {
            name: draw.some(values, len(values) - draw.below(2))
            for name, values in kind.options.items()
        }
    counts = draw.pick(_FEW_CHOICES)
    names = draw.some(tuple(kind.options), len(counts))
    return {
        name: draw.some(kind.options[name], count)
        for name, count in zip(names, draw.shuffled(counts), strict=True)
    }


def _pricing(cents: int, draw: Draw) -> str:
    if draw.happens(0.02):
        return ""
    cents = cents - cents % 100 + draw.pick((0, 49, 95, 99))
    if draw.happens(0.1):
        return f"{_dollars(cents)} - {_dollars(cents + cents * (15 + draw.below(70)) // 100)}"
    return _dollars(cents)


def _dollars(cents: int) -> str:
    return f"${cents // 100:,}.{cents % 100:02d}"


def _record(item: _Item) -> Record:
    draw = Draw(f"words of {item.asin}")
    told = draw.shuffled(item.traits)
    shown = 1 + draw.below(2)
    in_title, in_bullets = told[:shown], told[shown:]
    in_description = told[shown : shown + draw.below(2)]
    lines = draw.shuffled(item.kind.lines)
    return {
        "name": title(item.brand, item.series, item.noun, in_title, item.brand_leads),
        "full_description": " ".join(
            [lines[0], *(statement(trait, draw) for trait in in_description), lines[1]]
        ),
        "images": [f"{item.asin}.svg"],
        "product_category": item.kind.path,
        "average_rating": "",
        "small_description": [lines[2], *(statement(trait, draw) for trait in in_bullets)],
        "customization_options": _customization(item, draw),
        "asin": item.asin,
        "category": item.kind.department,
        "query": item.kind.query,
        "page": 1 + draw.below(20),
        "pricing": item.pricing,
    }


def _customization(item: _Item, draw: Draw) -> dict[str, list[Record] | None] | str:
    """Return the options; now and then one that has no values, as the official data has."""
    if not item.options:
        return ""
    customization: dict[str, list[Record] | None] = {
        name: [
            {"is_selected": k == 0, "is_available": True, "value": value, "image": None}
            for k, value in enumerate(values)
        ]
        for name, values in item.options.items()
    }
    if draw.happens(0.05):
        customization.setdefault("Style", None)
    return customization


def _instructed(item: _Item) -> Record:
    """Return the attributes and, for four products in five, the instruction of its goals."""
    draw = Draw(f"request for {item.asin}")
    attributes = [trait.attribute for trait in draw.shuffled(item.traits)]
    if not draw.happens(0.8):
        return {"attributes": attributes}
    wanted = draw.some(item.traits, draw.pick((2, 2, 3, 3, 3, 4)))
    return {
        "attributes": attributes,
        "instruction": request(item.kind.article, item.noun, wanted, draw),
        "instruction_attributes": [trait.attribute for trait in wanted],
    }


def _human(item: _Item) -> Record:
    draw = Draw(f"customer of {item.asin}")
    wanted = draw.some(item.traits, draw.pick((2, 2, 3)))
    options = {name: draw.pick(values) for name, values in item.options.items()}
    asked = {name: options[name] for name in draw.some(tuple(options), draw.pick((1, 2, 2)))}
    return {
        "asin": item.asin,
        "instruction": human_request(item.kind.article, item.noun, wanted, asked, draw),
        "attributes": [trait.attribute for trait in item.traits],
        "options": [f"{name.lower()}: {_shown(value)}" for name, value in options.items()],
        "instruction_attributes": [trait.attribute for trait in wanted],
        "instruction_options": [_shown(value) for value in asked.values()],
        "assignment_id": _digest("assignment", item.asin)[:16],
        "worker_id": "GENERATED",
    }


def _shown(value: str) -> str:
    """Return an option's value as the shop shows it, which is what customers repeat."""
    return value.lower().replace("/", " | ")
