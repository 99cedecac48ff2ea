"""Drawings of what stands in a kitchen."""

from __future__ import annotations

from armap_agents.tools.webshop.embedded.shapes import (
    GLASS,
    NIGHT,
    PAPER,
    STEEL,
    STEEL_DARK,
    WOOD,
    WOOD_DARK,
    Ink,
    circle,
    ellipse,
    faint,
    line,
    mix,
    path,
    rect,
    surface,
    turned,
)


def mug(ink: Ink) -> str:
    """A mug, steaming or with a lid."""
    handle = ("M262 172C330 166 330 268 258 262", "M264 172H306V262H258")[ink.variant("handle", 2)]
    body = ("M116 140H268V272Q268 322 222 322H162Q116 322 116 272Z", "M110 140H274L252 322H132Z")
    steam = faint(0.75, line("M168 104q-14 -18 0 -36t0 -34M214 104q-14 -18 0 -36t0 -34", PAPER, 9))
    lid = rect(102, 122, 180, 22, WOOD, 11) + circle(192, 116, 12, WOOD_DARK)
    top = (ellipse(192, 141, 76, 13, ink.dark) + ellipse(192, 144, 66, 9, "#7b4f35") + steam, lid)
    return (
        line(handle, ink.dark, 20)
        + surface(ink, body[ink.variant("body", 2)], (110, 130, 164, 192))
        + top[ink.variant("top", 2)]
    )


def drinking_bottle(ink: Ink) -> str:
    """A bottle to carry along."""
    tops = (
        rect(164, 58, 72, 46, ink.deep, 10) + line("M178 58C178 24 222 24 222 58", ink.deep, 10),
        rect(168, 66, 64, 38, NIGHT, 8) + line("M206 66V34H240", ink.accent, 12),
        rect(160, 54, 80, 50, STEEL_DARK, 12) + faint(0.4, rect(170, 60, 10, 38, "#ffffff", 4)),
    )
    body = (
        "M158 104H242Q262 122 262 150V300Q262 322 240 322H160Q138 322 138 300V150Q138 122 158 104Z",
        "M166 104H234L254 140V300Q254 322 232 322H168Q146 322 146 300V140Z",
    )
    return (
        tops[ink.variant("top", 3)]
        + surface(ink, body[ink.variant("body", 2)], (138, 104, 124, 218))
        + rect(142, 290, 116, 9, ink.dark, 4)
    )


def frying_pan(ink: Ink) -> str:
    """A pan from above, sometimes with an egg."""
    egg = path("M150 232c-30 -40 18 -70 48 -52s62 14 48 54s-66 40 -96 -2z", PAPER)
    egg += circle(200, 222, 21, "#f6b73c") + circle(193, 215, 6, "#ffd98a")
    return turned(
        -38,
        rect(300, 204, 118, 28, (WOOD, NIGHT)[ink.variant("handle", 2)], 14),
        rect(286, 208, 36, 20, STEEL_DARK),
        circle(400, 218, 5, PAPER),
        circle(182, 218, 124, ink.main),
        circle(182, 218, 106, ink.deep),
        faint(0.2, line("M96 218a86 86 0 0 1 86 -86", "#ffffff", 10)),
        turned(38, egg, x=190, y=218) if ink.variant("egg", 3) == 0 else "",
        x=190,
        y=215,
    )


def knife(ink: Ink) -> str:
    """A kitchen knife."""
    point = ("M60 186H262V240Q120 240 60 186Z", "M52 190Q70 176 96 176H262V236H120Q74 236 52 190Z")
    d = point[ink.variant("blade", 2)]
    return turned(
        -32,
        path(d, STEEL),
        path("M84 206Q150 240 262 240V226Q150 226 84 206Z", "#f3f6f9"),
        rect(256, 176, 14, 62, STEEL_DARK, 3),
        surface(
            ink,
            "M268 178H350Q378 182 374 212Q368 232 346 226L268 222Z",
            (268, 176, 108, 54),
            plain=True,
        ),
        *(circle(x, 201, 5, STEEL) for x in (292, 318, 344)),
    )


def kettle(ink: Ink) -> str:
    """A kettle with a curved or a short spout."""
    spout = (
        line("M272 268C330 262 292 168 346 156", ink.dark, 19),
        path("M262 200L332 150L346 172L284 262Z", ink.dark),
    )
    return (
        spout[ink.variant("spout", 2)]
        + line("M122 168C120 62 270 62 268 168", (WOOD_DARK, NIGHT)[ink.variant("grip", 2)], 15)
        + surface(
            ink,
            "M196 146C262 146 296 236 288 300Q284 322 262 322"
            "H130Q108 322 104 300C96 236 130 146 196 146Z",
            (96, 146, 200, 176),
        )
        + ellipse(196, 158, 54, 13, ink.dark)
        + circle(196, 138, 13, WOOD_DARK)
    )


def jar(ink: Ink) -> str:
    """A glass jar, filled, with a lid of the product's colour."""
    contents = ("#b98a5c", "#e9d9b6", "#8a5a3c", "#d8a24a")[ink.variant("contents", 4)]
    beans = "".join(
        ellipse(138 + 31 * k, 206 + 5 * (k % 2), 17, 11, mix(contents, "#ffffff", 0.14))
        for k in range(5)
    )
    lid = (
        rect(116, 84, 168, 38, ink.main, 10) + rect(116, 106, 168, 16, ink.dark, 8),
        rect(122, 92, 156, 30, WOOD, 8)
        + rect(122, 108, 156, 14, WOOD_DARK, 7)
        + rect(116, 118, 168, 8, ink.main, 4),
    )
    return (
        rect(108, 118, 184, 204, GLASS, 30)
        + path("M120 210H280V290Q280 310 260 310H140Q120 310 120 290Z", contents)
        + beans
        + rect(150, 226, 100, 64, ink.main, 10)
        + rect(166, 246, 68, 7, PAPER, 3)
        + rect(178, 262, 44, 6, ink.pale, 3)
        + faint(0.6, rect(122, 140, 12, 150, "#ffffff", 6))
        + lid[ink.variant("lid", 2)]
    )
