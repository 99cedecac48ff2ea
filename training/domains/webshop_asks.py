"""What an instruction asks for, as data, and how much of it a purchase is.

The measure follows the official reward in spirit (Yao et al. 2022, section 3.2): the kind of
product times the share of features, options and price limit that are met. Where the official one
looks into hidden fields, this one knows only the texts that the episode was shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

from armap_agents.tools.webshop.analysis import terms
from armap_agents.training.domains.webshop_visits import Purchase

LONGEST = 80
"""Words that a written instruction may have."""

_AMOUNT = r"(\d[\d,]*(?:\.\d+)?)"
_BOUND = r"(?:less|lower|cheaper|under|below|beneath|within|budget|most|maximum|max|up|price)"
_MONEY = re.compile(
    rf"\$\s*{_AMOUNT}|{_AMOUNT}\s*(?:dollars?|usd|bucks)\b|"
    rf"\b{_BOUND}\s+(?:(?:than|to|of|is|at)\s+){{0,2}}{_AMOUNT}(?![\w.]*\w)"
)
_SIGN = re.compile(r"[^\w\s'’]|_")
_CHOICE = re.compile(r"\b(\w+(?: \w+)?): ")


@dataclass(frozen=True)
class Asked:
    """What an instruction asks for.

    Attributes:
        asin: The product that it was written for; training data is kept apart by it.
        kind: What sort of product, such as ``tea bags``.
        features: What it should be or have, each a few words of a page.
        options: Option name → value.
        below: The price limit, US dollars; None for none.
    """

    asin: str
    kind: str
    features: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    below: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as pure JSON."""
        return asdict(self) | {"features": list(self.features), "options": dict(self.options)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Asked:
        """Rebuild what `to_json` returned."""
        return cls(**{**value, "features": tuple(value["features"])})

    def share(self, bought: Purchase) -> float:
        """Return the share of it that a purchase is, 1.0 only where everything fits.

        A product with none of the kind's words is worth nothing, one with some of them more than
        half of one with all.
        """
        told = stems(" ".join(bought.told))
        kind = stems(self.kind)
        alike = len(kind & told) / len(kind)
        if not alike:
            return 0.0
        met = sum(stems(feature) <= told for feature in self.features)
        met += sum(chosen(value, bought.options.values()) for value in self.options.values())
        met += self.below is None or bought.price <= self.below
        whole = len(self.features) + len(self.options) + 1
        return (1 + alike) / 2 * met / whole

    def named_in(self, text: str) -> bool:
        """Whether a written instruction names all of it, and no other option or price."""
        line = " ".join(text.lower().split())
        if not line or len(line.split()) > LONGEST or len(text.strip().splitlines()) > 1:
            return False
        limits = set() if self.below is None else {self.below}
        values = {" ".join(value.lower().split()) for value in self.options.values()}
        return (
            stems(" ".join((self.kind, *self.features))) <= stems(line)
            and all(_whole(value).search(line) for value in values)
            and _amounts(line, values) == limits
            and all(_begins(line[m.end() :], values) for m in _CHOICE.finditer(line))
        )


@lru_cache(maxsize=1 << 14)
def stems(text: str) -> frozenset[str]:
    """Return the terms of a text as the shop's search has them, but apart at every sign."""
    return frozenset(terms(_SIGN.sub(" ", text)))


def chosen(wanted: str, values: Iterable[str]) -> bool:
    """Whether one of the values is the wanted one, up to the form of its words."""
    return any(same_value(wanted, value) for value in values)


def same_value(one: str, other: str) -> bool:
    """Whether two texts are the same value of an option."""
    return one.lower() == other.lower() or (bool(stems(one)) and stems(one) == stems(other))


def _amounts(line: str, values: Iterable[str]) -> set[float]:
    """Return the amounts of money in a text; what stands in an option's value is none."""
    for value in values:
        line = _whole(value).sub(" ", line)
    found = (next(filter(None, match.groups())) for match in _MONEY.finditer(line))
    return {float(amount.replace(",", "")) for amount in found}


def _begins(rest: str, values: Iterable[str]) -> bool:
    return any(rest.startswith(value) for value in values)


def _whole(value: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")
