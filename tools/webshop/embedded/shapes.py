"""SVG shapes and colours in which products are drawn: flat, lit from the left, no outlines.

Coordinates are those of a 400 by 400 canvas whose floor lies at `FLOOR`. Everything takes numbers
and colours made here, never a text from outside.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

FLOOR = 322
"""Where things stand."""

STEEL, STEEL_DARK = "#d3dae2", "#94a0ae"
WOOD, WOOD_DARK = "#c49464", "#94683f"
NIGHT, PAPER, GLASS = "#2b2d3b", "#fdf9f2", "#e4eef1"
LEAF, LEAF_DARK = "#6fa573", "#4a7f58"
GLOW, BRASS = "#ffe3a0", "#d9b25f"

Box = tuple[float, float, float, float]
"""Left, top, width, height."""


def hashed(text: str) -> int:
    """Return a number of 48 bits that is the same for a text everywhere."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def mix(colour: str, other: str, share: float) -> str:
    """Return the colour with a share (0 to 1) of the other in it; both like ``#a0b1c2``."""
    pairs = [(int(colour[k : k + 2], 16), int(other[k : k + 2], 16)) for k in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def brightness(colour: str) -> float:
    """Return how light a colour is, 0 to 1 (Rec. 601 luma)."""
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255


@dataclass(frozen=True)
class Ink:
    """What a drawing is coloured with and how it varies.

    Attributes:
        main: The product's colour.
        accent: A second colour that goes with it.
        pattern: Name of the surface's pattern, see `surface`.
        seed: Which of the possible pictures of its kind this one is.
    """

    main: str
    accent: str
    pattern: str
    seed: int

    @property
    def dark(self) -> str:
        """The colour in shade."""
        return mix(self.main, "#1d1b33", 0.24)

    @property
    def deep(self) -> str:
        """The colour in deep shade."""
        return mix(self.main, "#1d1b33", 0.46)

    @property
    def light(self) -> str:
        """The colour in light."""
        return mix(self.main, "#ffffff", 0.38)

    @property
    def pale(self) -> str:
        """A tint of the colour."""
        return mix(self.main, "#ffffff", 0.7)

    def variant(self, part: str, count: int) -> int:
        """Return which of `count` variants a part of the drawing has."""
        return hashed(f"{part} {self.seed}") % count


def rect(x: float, y: float, width: float, height: float, fill: str, r: float = 0) -> str:
    """Return a rectangle with corners of radius `r`."""
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{r}" fill="{fill}"/>'


def circle(x: float, y: float, r: float, fill: str) -> str:
    """Return a disc."""
    return f'<circle cx="{x}" cy="{y}" r="{r}" fill="{fill}"/>'


def ellipse(x: float, y: float, rx: float, ry: float, fill: str) -> str:
    """Return an ellipse."""
    return f'<ellipse cx="{x}" cy="{y}" rx="{rx}" ry="{ry}" fill="{fill}"/>'


def ring(x: float, y: float, rx: float, ry: float, stroke: str, width: float) -> str:
    """Return the outline of an ellipse."""
    return (
        f'<ellipse cx="{x}" cy="{y}" rx="{rx}" ry="{ry}" fill="none" stroke="{stroke}" '
        f'stroke-width="{width}"/>'
    )


def path(d: str, fill: str) -> str:
    """Return a filled path."""
    return f'<path d="{d}" fill="{fill}"/>'


def line(d: str, stroke: str, width: float) -> str:
    """Return a stroked path with round ends."""
    return (
        f'<path d="{d}" fill="none" stroke="{stroke}" stroke-width="{width}" '
        'stroke-linecap="round" stroke-linejoin="round"/>'
    )


def turned(angle: float, *parts: str, x: float = 200, y: float = 200) -> str:
    """Return the parts turned clockwise by degrees about a point."""
    return f'<g transform="rotate({angle} {x} {y})">{"".join(parts)}</g>'


def mirrored(*parts: str) -> str:
    """Return the parts and their mirror image about the middle."""
    drawn = "".join(parts)
    return f'{drawn}<g transform="matrix(-1 0 0 1 400 0)">{drawn}</g>'


def faint(opacity: float, *parts: str) -> str:
    """Return the parts, see-through."""
    return f'<g opacity="{opacity}">{"".join(parts)}</g>'


def surface(ink: Ink, d: str, box: Box, fill: str = "", plain: bool = False) -> str:
    """Return a body: a filled path with the product's pattern, a lit and a shaded side.

    Args:
        ink: The colours.
        d: The path.
        box: What the path fills, for pattern and light.
        fill: The colour, by default the product's.
        plain: Whether to leave the pattern out.
    """
    fill = fill or ink.main
    x, y, width, height = box
    name = f"c{hashed(f'{ink} {d} {fill}'):x}"
    pattern = "" if plain else _pattern(ink, box)
    return (
        f'<clipPath id="{name}"><path d="{d}"/></clipPath>{path(d, fill)}'
        f'<g clip-path="url(#{name})">{pattern}'
        + faint(0.13, rect(x + 0.7 * width, y, 0.31 * width, height, NIGHT))
        + faint(0.2, rect(x + 0.09 * width, y, 0.07 * width, height, "#ffffff"))
        + "</g>"
    )


def _pattern(ink: Ink, box: Box) -> str:
    x, y, width, height = box
    tone = ink.light if brightness(ink.main) < 0.62 else ink.dark
    if ink.pattern == "band":
        parts = [rect(x, y + 0.42 * height, width, 0.2 * height, ink.accent)]
    elif ink.pattern == "stripes":
        parts = [rect(x, y + k * 28 + 8, width, 11, tone) for k in range(int(height / 28) + 1)]
    elif ink.pattern == "dots":
        parts = [
            circle(x + 14 + 30 * column + 15 * (row % 2), y + 14 + 26 * row, 5.5, tone)
            for row in range(int(height / 26) + 1)
            for column in range(int(width / 30) + 1)
        ]
    elif ink.pattern == "diagonal":
        across = range(-int(height), int(width), 34)
        parts = [line(f"M{x + k} {y + height}l{height} -{height}", tone, 9) for k in across]
    elif ink.pattern == "waves":
        parts = [_wave(x, y + 18 + 30 * k, width, tone) for k in range(int(height / 30) + 1)]
    elif ink.pattern == "checks":
        parts = [rect(x + k * 36, y, 15, height, tone) for k in range(int(width / 36) + 1)]
        parts += [rect(x, y + k * 36, width, 15, tone) for k in range(int(height / 36) + 1)]
    elif ink.pattern == "flowers":
        parts = [
            flower(
                x + 22 + 46 * column + 23 * (row % 2), y + 22 + 40 * row, 9, ink.pale, ink.accent
            )
            for row in range(int(height / 40) + 1)
            for column in range(int(width / 46) + 1)
        ]
    else:
        return ""
    return faint(0.62, *parts)


def _wave(x: float, y: float, width: float, stroke: str) -> str:
    arcs = "".join("q10 -11 20 0t20 0" for _ in range(int(width / 40) + 1))
    return line(f"M{x} {y}{arcs}", stroke, 6)


def flower(x: float, y: float, size: float, petals: str, heart: str) -> str:
    """Return a small flower."""
    around = ((0, -1), (0.95, -0.31), (0.59, 0.81), (-0.59, 0.81), (-0.95, -0.31))
    return "".join(
        circle(round(x + a * size * 0.7, 1), round(y + b * size * 0.7, 1), size * 0.55, petals)
        for a, b in around
    ) + circle(x, y, size * 0.4, heart)


def label(ink: Ink, x: float, y: float, width: float, height: float) -> str:
    """Return a paper label whose marks stand for print: there is no text in a picture."""
    mark_y = y + height * 0.34
    marks = (
        circle(x + width / 2, mark_y, min(width, height) * 0.17, ink.accent),
        rect(x + width / 2 - 13, mark_y - 3, 26, 6, PAPER, 3),
        flower(x + width / 2, mark_y, min(width, height) * 0.2, ink.accent, ink.main),
    )
    return (
        rect(x, y, width, height, PAPER, 6)
        + marks[0]
        + marks[1 + ink.variant("label", 2)]
        + rect(x + width * 0.2, y + height * 0.64, width * 0.6, 5, ink.deep, 2.5)
        + rect(x + width * 0.3, y + height * 0.78, width * 0.4, 4, ink.light, 2)
    )
