"""Drawings of computers, phones and what is plugged into them."""

from __future__ import annotations

from armap_agents.tools.webshop.embedded.shapes import (
    BRASS,
    GLASS,
    NIGHT,
    PAPER,
    STEEL,
    STEEL_DARK,
    Ink,
    circle,
    faint,
    line,
    mirrored,
    path,
    rect,
    ring,
    surface,
    turned,
)


def phone_case(ink: Ink) -> str:
    """The back of a phone in its case."""
    lenses = (
        rect(142, 70, 62, 92, ink.deep, 20)
        + "".join(circle(173, y, 17, NIGHT) + circle(173, y, 7, "#5d6b8a") for y in (95, 137)),
        rect(142, 70, 116, 48, ink.deep, 24)
        + "".join(circle(x, 94, 16, NIGHT) + circle(x, 94, 6, "#5d6b8a") for x in (168, 208))
        + circle(240, 94, 6, PAPER),
    )
    extra = (
        "",
        rect(160, 212, 80, 96, ink.dark, 8) + rect(168, 204, 64, 20, PAPER, 3),
        circle(200, 250, 34, ink.dark) + circle(200, 250, 22, ink.main),
    )
    return (
        rect(274, 140, 8, 50, ink.deep, 4)
        + surface(
            ink,
            "M154 46H246Q278 46 278 78V322Q278 354 246 354H154Q122 354 122 322V78Q122 46 154 46Z",
            (122, 46, 156, 308),
        )
        + lenses[ink.variant("lenses", 2)]
        + extra[ink.variant("extra", 3)]
    )


def phone(ink: Ink) -> str:
    """A phone or tablet from the front."""
    wide = 32 * ink.variant("wide", 2)
    icons = "".join(
        rect(
            142 - wide / 2 + (40 + wide / 3) * c,
            200 + 40 * r,
            26,
            26,
            (PAPER, ink.accent, ink.pale)[(r + c) % 3],
            7,
        )
        for r in range(3)
        for c in range(3)
    )
    return (
        rect(118 - wide, 46, 164 + 2 * wide, 308, NIGHT, 26)
        + rect(128 - wide, 60, 144 + 2 * wide, 280, ink.main, 16)
        + path(f"M{128 - wide} 180Q200 120 {272 + wide} 190V100H{128 - wide}Z", ink.light)
        + icons
    )


def laptop(ink: Ink) -> str:
    """A laptop computer."""
    return (
        rect(82, 96, 236, 168, NIGHT, 14)
        + rect(96, 110, 208, 140, ink.light, 4)
        + path("M96 214Q160 140 220 196T304 180V250H96Z", ink.dark)
        + path("M48 264H352V284Q352 300 336 300H64Q48 300 48 284Z", STEEL)
        + rect(164, 264, 72, 10, STEEL_DARK, 5)
    )


def keyboard(ink: Ink) -> str:
    """A keyboard."""
    keys = "".join(
        rect(
            58 + 26 * c + 4 * (r % 2),
            158 + 28 * r,
            21,
            22,
            ink.accent if ink.variant(f"key {r} {c}", 13) == 0 else ink.pale,
            5,
        )
        for r in range(3)
        for c in range(11)
    )
    knob = circle(334, 140, 12, BRASS) if ink.variant("knob", 2) else ""
    return (
        rect(38, 136, 324, 150, ink.deep, 18)
        + rect(38, 130, 324, 146, ink.main, 18)
        + keys
        + rect(62, 242, 46, 22, ink.light, 5)
        + rect(114, 242, 166, 22, ink.pale, 5)
        + rect(286, 242, 50, 22, ink.accent, 5)
        + knob
    )


def mouse(ink: Ink) -> str:
    """A computer mouse."""
    return (
        line("M200 90Q200 40 250 36", NIGHT, 7)
        + surface(
            ink,
            "M200 84Q290 84 290 190V236Q290 330 200 330Q110 330 110 236V190Q110 84 200 84Z",
            (110, 84, 180, 246),
            plain=True,
        )
        + line("M200 86V186M112 190Q200 214 288 190", ink.deep, 4)
        + rect(190, 116, 20, 48, ink.accent, 10)
    )


def controller(ink: Ink) -> str:
    """A game controller."""
    return (
        surface(
            ink,
            "M118 126H282Q330 130 350 250Q356 304 318 300Q296 296 260 246"
            "H140Q104 296 82 300Q44 304 50 250Q70 130 118 126Z",
            (48, 126, 304, 174),
            plain=True,
        )
        + rect(112, 162, 18, 56, NIGHT, 5)
        + rect(93, 181, 56, 18, NIGHT, 5)
        + "".join(
            circle(279 + x, 190 + y, 11, fill)
            for x, y, fill in (
                (0, -25, ink.accent),
                (25, 0, PAPER),
                (0, 25, ink.accent),
                (-25, 0, PAPER),
            )
        )
        + mirrored(circle(160, 240, 22, NIGHT))
        + rect(182, 160, 36, 14, ink.deep, 7)
    )


def remote(ink: Ink) -> str:
    """A remote control."""
    keys = "".join(
        circle(172 + 28 * c, 206 + 27 * r, 9, (PAPER, ink.accent)[(r + 2 * c) % 5 == 0])
        for r in range(4)
        for c in range(3)
    )
    return turned(
        14,
        surface(
            ink,
            "M162 44H238Q256 44 256 62V338Q256 356 238 356H162Q144 356 144 338V62Q144 44 162 44Z",
            (144, 44, 112, 312),
            fill=ink.dark,
            plain=True,
        ),
        circle(172, 76, 10, "#e4483f"),
        circle(200, 138, 37, NIGHT),
        circle(200, 138, 15, STEEL),
        keys,
    )


def cable(ink: Ink) -> str:
    """A coiled cable with its plugs."""
    plug = (
        rect(296, 80, 40, 58, PAPER, 8)
        + rect(304, 50, 24, 34, STEEL, 3)
        + rect(309, 58, 5, 10, STEEL_DARK)
        + rect(318, 58, 5, 10, STEEL_DARK)
    )
    other = rect(60, 262, 36, 54, PAPER, 8) + rect(
        67, 312, 22, 24, STEEL, (3, 10)[ink.variant("plug", 2)]
    )
    turns = ring(200, 204, 96, 92, ink.dark, 15) + ring(200, 200, 78, 74, ink.main, 15)
    turns += ring(200, 206, 60, 56, ink.light, 15)
    return (
        line("M316 136Q318 230 262 268", ink.main, 15)
        + line("M78 264Q76 190 136 140", ink.dark, 15)
        + turns
        + rect(184, 264, 32, 50, ink.accent, 8)
        + plug
        + other
    )


def charger(ink: Ink) -> str:
    """A charger or battery pack."""
    return (
        rect(162, 46, 14, 50, STEEL_DARK, 4)
        + rect(224, 46, 14, 50, STEEL_DARK, 4)
        + surface(
            ink,
            "M124 92H276Q300 92 300 116V298Q300 322 276 322H124Q100 322 100 298V116Q100 92 124 92Z",
            (100, 92, 200, 230),
            plain=True,
        )
        + path("M214 132L158 224H196L184 290L244 192H204Z", GLASS)
        + faint(0.3, rect(112, 300, 176, 10, NIGHT, 5))
    )
