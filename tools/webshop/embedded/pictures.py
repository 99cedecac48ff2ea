"""Product pictures as SVG, drawn on the spot: a kind of thing, in a colour, on a tinted ground.

Catalogues come from anywhere, so nothing of a product's texts goes into its picture: words only
select from the closed lists of `kinds` and `colours`, and a hash of the ASIN picks the variant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from armap_agents.tools.webshop.embedded.colours import ACCENTS, OWN, colour_of
from armap_agents.tools.webshop.embedded.kinds import drawing_of
from armap_agents.tools.webshop.embedded.shapes import (
    FLOOR,
    NIGHT,
    Ink,
    brightness,
    circle,
    ellipse,
    faint,
    hashed,
    mix,
    rect,
)
from armap_agents.tools.webshop.product import Product

_PATTERNS = (
    "plain", "plain", "plain", "band", "stripes", "dots", "diagonal", "waves", "checks",
)  # fmt: skip
_NAMED_PATTERNS = {
    "plain": "plain", "polka dot": "dots", "dotted": "dots", "striped": "stripes",
    "floral": "flowers", "plaid": "checks", "marble": "waves",
}  # fmt: skip
_COLOUR_OPTIONS = ("color", "colour", "finish")


def picture(product: Product, options: Mapping[str, str]) -> str:
    """Return the picture of a product as a square SVG document.

    Args:
        product: The product, of any catalogue.
        options: The chosen values by the options' names; a chosen colour colours the product.
    """
    ink = _ink(product, options)
    draw = drawing_of(product.query, product.title, product.product_category)
    strength = 0.74 if brightness(ink.main) < 0.82 else 0.5
    ground = mix(ACCENTS[ink.variant("ground", len(ACCENTS))], "#ffffff", strength)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400">'
        + rect(0, 0, 400, 400, ground)
        + circle(200, 196, 172, mix(ground, "#ffffff", 0.42))
        + faint(0.12, ellipse(200, FLOOR + 3, 138, 13, NIGHT))
        + draw(ink)
        + "</svg>"
    )


def _ink(product: Product, options: Mapping[str, str]) -> Ink:
    seed = hashed(product.asin)
    own = OWN[seed % len(OWN)]
    main = next(filter(None, map(colour_of, _tellers(product, options))), own)
    accents = [accent for accent in ACCENTS if _distance(accent, main) > 0.28] or list(ACCENTS)
    pattern = _PATTERNS[seed // 32 % len(_PATTERNS)]
    chosen = [options[name].lower() for name in sorted(options)]
    named = next((p for word, p in _NAMED_PATTERNS.items() if word in chosen), pattern)
    return Ink(main, accents[seed // 1024 % len(accents)], named, seed)


def _tellers(product: Product, options: Mapping[str, str]) -> Iterator[str]:
    """Return the texts that may name the product's colour, the most binding first."""
    names = sorted(options, key=lambda name: (name not in _COLOUR_OPTIONS, name))
    yield from (options[name] for name in names)
    for name in _COLOUR_OPTIONS:
        yield from product.options.get(name, ())[:1]
    yield product.title


def _distance(colour: str, other: str) -> float:
    """Return how far apart two colours are, 0 to 1."""
    return max(abs(int(colour[k : k + 2], 16) - int(other[k : k + 2], 16)) / 255 for k in (1, 3, 5))
