"""Drawings of devices for sound and pictures."""

from __future__ import annotations

from armap_agents.tools.webshop.embedded.shapes import (
    NIGHT,
    PAPER,
    STEEL,
    STEEL_DARK,
    Ink,
    circle,
    ellipse,
    faint,
    line,
    mirrored,
    mix,
    path,
    rect,
    surface,
    turned,
)


def headphones(ink: Ink) -> str:
    """Headphones over the ear."""
    cup = (rect(66, 190, 66, 120, ink.main, 30), ellipse(100, 250, 40, 62, ink.main))
    return (
        line("M92 230C80 40 320 40 308 230", ink.deep, 26)
        + line("M106 190C112 76 288 76 294 190", ink.light, 10)
        + mirrored(
            rect(118, 196, 34, 108, NIGHT, 16),
            cup[ink.variant("cup", 2)],
            circle(96, 250, 19, ink.dark),
            circle(96, 250, 9, ink.accent),
        )
    )


def earbuds(ink: Ink) -> str:
    """Earbuds above their case."""
    return (
        mirrored(
            turned(
                10,
                rect(134, 76, 26, 112, ink.main, 13),
                circle(136, 92, 33, ink.main),
                circle(122, 92, 18, NIGHT),
                x=140,
                y=120,
            )
        )
        + surface(
            ink,
            "M130 216H270Q300 216 300 246V290Q300 322 268 322"
            "H132Q100 322 100 290V246Q100 216 130 216Z",
            (100, 216, 200, 106),
            plain=True,
        )
        + line("M102 252H298", ink.dark, 5)
        + circle(200, 276, 7, ink.accent)
    )


def speaker(ink: Ink) -> str:
    """A speaker: a box, a ball or a barrel."""

    def cone(x: float, y: float, r: float) -> str:
        return (
            circle(x, y, r, NIGHT)
            + circle(x, y, r * 0.8, ink.deep)
            + circle(x, y, r * 0.36, ink.accent)
        )

    box = (
        surface(
            ink,
            "M130 66H270Q288 66 288 84V304Q288 322 270 322H130Q112 322 112 304V84Q112 66 130 66Z",
            (112, 66, 176, 256),
            plain=True,
        )
        + cone(200, 236, 64)
        + cone(200, 126, 34)
    )
    ball = (
        circle(200, 202, 120, ink.main)
        + cone(200, 202, 82)
        + path("M126 306H274L290 322H110Z", ink.deep)
    )
    barrel = (
        surface(
            ink,
            "M104 130H296Q336 130 336 216Q336 302 296 302H104Q64 302 64 216Q64 130 104 130Z",
            (64, 130, 272, 172),
        )
        + mirrored(ellipse(78, 216, 25, 70, ink.deep))
        + rect(150, 196, 100, 40, NIGHT, 12)
        + mirrored(circle(176, 216, 7, ink.accent))
        + line("M120 130C140 84 260 84 280 130", ink.deep, 9)
    )
    return (box, ball, barrel)[ink.variant("form", 3)]


def soundbar(ink: Ink) -> str:
    """A sound bar with its woofer."""
    dots = "".join(circle(70 + 20 * k, 268 + 14 * (k % 2), 4, ink.light) for k in range(14))
    return (
        rect(220, 96, 108, 144, ink.dark, 10)
        + circle(274, 172, 38, NIGHT)
        + circle(274, 172, 14, ink.accent)
        + rect(40, 246, 320, 60, ink.deep, 26)
        + dots
    )


def radio(ink: Ink) -> str:
    """A portable radio or alarm clock."""
    return (
        line("M280 132L330 52", STEEL_DARK, 6)
        + line("M110 132V104Q110 92 122 92H278Q290 92 290 104V132", ink.deep, 10)
        + surface(
            ink,
            "M80 128H320Q340 128 340 148V302Q340 322 320 322H80Q60 322 60 302V148Q60 128 80 128Z",
            (60, 128, 280, 194),
            plain=True,
        )
        + circle(138, 226, 58, NIGHT)
        + circle(138, 226, 45, ink.deep)
        + circle(138, 226, 14, ink.accent)
        + rect(216, 160, 100, 46, PAPER, 6)
        + line("M276 166V200", "#e4483f", 4)
        + circle(244, 256, 22, STEEL)
        + circle(298, 256, 14, STEEL)
    )


def player(ink: Ink) -> str:
    """A flat box with knobs: players, receivers, routers, printers."""
    display = rect(78, 216, 110, 38, "#8fd0c3", 6) + rect(90, 230, 60, 8, NIGHT, 4)
    antennas = mirrored(line("M104 186L88 92", NIGHT, 9))
    return (
        (antennas if ink.variant("antennas", 3) == 0 else "")
        + mirrored(rect(76, 286, 44, 18, NIGHT, 5))
        + surface(
            ink,
            "M60 182H340Q354 182 354 196V278Q354 292 340 292H60Q46 292 46 278V196Q46 182 60 182Z",
            (46, 182, 308, 110),
            fill=ink.dark,
            plain=True,
        )
        + display
        + circle(296, 236, 33, NIGHT)
        + circle(296, 236, 25, STEEL)
        + turned(40, rect(294, 214, 5, 18, NIGHT, 2), x=296, y=236)
        + "".join(circle(x, 236, 8, ink.accent) for x in (212, 238))
    )


def screen(ink: Ink) -> str:
    """A television, monitor or projection screen."""
    stand = (
        path("M180 266H220L232 312H168Z", STEEL_DARK) + rect(136, 308, 128, 14, STEEL, 7),
        mirrored(line("M112 270L92 320", STEEL_DARK, 12)),
    )
    return (
        stand[ink.variant("stand", 2)]
        + rect(42, 84, 316, 192, NIGHT, 12)
        + rect(54, 96, 292, 168, ink.light, 4)
        + circle(268, 150, 28, ink.accent)
        + path("M54 232Q130 140 202 214T346 196V264H54Z", ink.dark)
        + path("M54 264V246Q160 206 346 250V264Z", ink.deep)
    )


def projector(ink: Ink) -> str:
    """A projector with its beam."""
    return (
        path("M124 220L20 128V312Z", mix("#ffe3a0", "#ffffff", 0.4))
        + mirrored(rect(138, 284, 26, 24, NIGHT, 5))
        + surface(
            ink,
            "M126 150H318Q342 150 342 174V268Q342 292 318 292"
            "H126Q102 292 102 268V174Q102 150 126 150Z",
            (102, 150, 240, 142),
            plain=True,
        )
        + circle(152, 222, 46, NIGHT)
        + circle(152, 222, 30, "#ffe9b5")
        + "".join(rect(236, y, 80, 8, ink.deep, 4) for y in (198, 216, 234))
        + circle(308, 172, 7, ink.accent)
    )


def camera(ink: Ink) -> str:
    """A camera."""
    return (
        rect(148, 92, 104, 50, ink.deep, 10)
        + rect(84, 108, 44, 24, STEEL_DARK, 6)
        + surface(
            ink,
            "M86 126H314Q338 126 338 150V286Q338 310 314 310H86Q62 310 62 286V150Q62 126 86 126Z",
            (62, 126, 276, 184),
            fill=ink.dark,
            plain=True,
        )
        + rect(62, 160, 276, 112, ink.deep)
        + circle(200, 218, 78, STEEL_DARK)
        + circle(200, 218, 66, NIGHT)
        + circle(200, 218, 42, mix(NIGHT, ink.accent, 0.35))
        + faint(0.6, circle(182, 198, 12, "#ffffff"))
        + circle(302, 148, 9, ink.accent)
    )


def lens(ink: Ink) -> str:
    """A lens or scope from the side."""
    return turned(
        -22,
        rect(70, 150, 92, 128, NIGHT, 12),
        rect(156, 162, 110, 104, ink.dark, 6),
        rect(260, 172, 66, 84, NIGHT, 8),
        *(rect(170 + 12 * k, 162, 6, 104, ink.deep) for k in range(5)),
        rect(240, 162, 8, 104, ink.accent),
        rect(82, 160, 12, 108, STEEL, 5),
        x=200,
        y=214,
    )


def binoculars(ink: Ink) -> str:
    """Binoculars."""
    return (
        rect(176, 156, 48, 70, NIGHT, 8)
        + mirrored(
            rect(104, 74, 68, 50, NIGHT, 12),
            surface(ink, "M108 116H170L190 278H76Z", (76, 116, 114, 162), plain=True),
            rect(66, 270, 126, 50, NIGHT, 14),
            ellipse(129, 312, 48, 8, mix(NIGHT, ink.accent, 0.5)),
        )
        + circle(200, 190, 14, ink.accent)
    )


def tripod(ink: Ink) -> str:
    """A tripod or stand."""
    return (
        line("M200 160L112 328M200 160L288 328M200 160V322", NIGHT, 12)
        + line("M158 246H242", ink.accent, 8)
        + rect(188, 96, 24, 76, ink.main, 8)
        + rect(156, 74, 88, 30, ink.dark, 8)
        + circle(224, 130, 12, ink.accent)
    )
