"""Drawings of food and drink."""

from __future__ import annotations

from armap_agents.tools.webshop.embedded.shapes import (
    LEAF,
    PAPER,
    STEEL,
    STEEL_DARK,
    WOOD,
    WOOD_DARK,
    Ink,
    circle,
    ellipse,
    label,
    line,
    mix,
    path,
    rect,
    surface,
    turned,
)


def pouch(ink: Ink) -> str:
    """A bag of coffee, snacks or other dry goods."""
    return (
        surface(
            ink, "M122 84H278L292 300Q292 322 270 322H130Q108 322 108 300Z", (108, 84, 184, 238)
        )
        + rect(116, 66, 168, 28, ink.dark, 4)
        + line("M124 106H276", ink.deep, 4)
        + label(ink, 142, 152, 116, 118)
        + (circle(200, 126, 8, ink.deep) if ink.variant("valve", 2) else "")
    )


def windowed_bag(ink: Ink) -> str:
    """A bag with a window that shows the pasta or grain."""
    food = "#efc873"
    pieces = "".join(
        turned(
            37 * ((3 * r + 5 * c) % 5),
            rect(144 + 30 * c, 222 + 24 * r, 26, 11, mix(food, "#c98f3c", 0.25 * ((r + c) % 3)), 5),
            x=157 + 30 * c,
            y=227 + 24 * r,
        )
        for r in range(3)
        for c in range(4)
    )
    return (
        surface(ink, "M120 84H280L290 322H110Z", (110, 84, 180, 238))
        + "".join(path(f"M{120 + 20 * k} 84l10 -18l10 18z", ink.dark) for k in range(8))
        + rect(132, 206, 136, 90, food, 18)
        + pieces
        + rect(142, 112, 116, 70, PAPER, 8)
        + circle(200, 136, 13, ink.accent)
        + rect(164, 160, 72, 6, ink.deep, 3)
    )


def tin(ink: Ink) -> str:
    """A tin of tea or preserves."""
    lid = (
        ellipse(200, 116, 88, 22, ink.dark)
        + ellipse(200, 108, 88, 22, ink.light)
        + ellipse(200, 104, 40, 9, ink.main)
    )
    leaf = path("M200 180Q250 196 244 250Q192 246 200 180Z", LEAF) + line(
        "M206 190Q228 216 238 246", PAPER, 3
    )
    return (
        surface(ink, "M112 116H288V300Q288 322 200 322Q112 322 112 300Z", (112, 116, 176, 206))
        + lid
        + ellipse(200, 222, 62, 62, PAPER)
        + (
            leaf + path("M196 192Q150 208 160 254Q204 246 196 192Z", ink.accent),
            circle(200, 214, 24, ink.accent) + rect(164, 250, 72, 6, ink.deep, 3),
        )[ink.variant("mark", 2)]
    )


def chocolate(ink: Ink) -> str:
    """A bar of chocolate half out of its wrapper."""
    brown = "#6b4230"
    squares = "".join(
        rect(128 + 50 * c, 60 + 44 * r, 44, 38, mix(brown, "#ffffff", 0.1), 5)
        for r in range(3)
        for c in range(3)
    )
    return turned(
        (-10, 8)[ink.variant("lean", 2)],
        rect(120, 52, 160, 180, brown, 8),
        squares,
        path(
            "M108 178l16 -14l16 14l15 -14l15 14l15 -14l15 14"
            "l15 -14l15 14l15 -14l16 14l15 -14l16 14V206H108Z",
            STEEL,
        ),
        surface(ink, "M108 192H292V336H108Z", (108, 192, 184, 144)),
        rect(136, 224, 128, 78, PAPER, 8),
        circle(200, 250, 15, ink.accent),
        rect(160, 280, 80, 7, ink.deep, 3),
    )


def honey(ink: Ink) -> str:
    """A jar of honey or jam with a dipper."""
    amber = ("#e9a52f", "#f2c14e", "#c9771f")[ink.variant("amber", 3)]
    return (
        turned(
            28,
            line("M268 40V150", WOOD, 10),
            *(rect(248, y, 40, 10, WOOD_DARK, 5) for y in (140, 154, 168, 182)),
            x=268,
            y=160,
        )
        + surface(
            ink,
            "M118 148H252Q276 166 276 196V296Q276 322 250 322"
            "H120Q94 322 94 296V196Q94 166 118 148Z",
            (94, 148, 182, 174),
            fill=amber,
            plain=True,
        )
        + rect(108, 104, 154, 46, ink.main, 8)
        + rect(108, 134, 154, 16, ink.dark, 6)
        + path("M185 190L231 214V262L185 286L139 262V214Z", PAPER)
        + path("M185 214L208 227V251L185 264L162 251V227Z", ink.accent)
    )


def carton(ink: Ink) -> str:
    """A box of bars, cereal or tea bags."""
    bar = turned(
        -16,
        rect(214, 280, 120, 40, ink.accent, 5),
        rect(214, 280, 18, 40, STEEL, 3),
        rect(316, 280, 18, 40, STEEL, 3),
        x=270,
        y=300,
    )
    return (
        path("M100 96L130 72H300L272 96Z", ink.light)
        + path("M272 96L300 72V290L272 322Z", ink.deep)
        + surface(ink, "M100 96H272V322H100Z", (100, 96, 172, 226))
        + label(ink, 122, 130, 128, 124)
        + (bar if ink.variant("bar", 2) else "")
    )


def drink(ink: Ink) -> str:
    """A drink in a carton or a can."""
    pack = (
        path("M130 132L164 70H236L270 132Z", ink.light)
        + rect(160, 54, 80, 22, ink.dark, 4)
        + surface(ink, "M130 132H270V322H130Z", (130, 132, 140, 190))
        + label(ink, 150, 178, 100, 108)
    )
    can = (
        surface(ink, "M136 92H264L276 122V294L262 322H138L124 294V122Z", (124, 92, 152, 230))
        + rect(136, 78, 128, 18, STEEL, 6)
        + rect(138, 312, 124, 12, STEEL_DARK, 5)
        + circle(200, 204, 44, PAPER)
        + circle(200, 204, 26, ink.accent)
    )
    return (pack, can)[ink.variant("pack", 2)]


def wine(ink: Ink) -> str:
    """A bottle of oil, sauce or something stronger."""
    return (
        rect(178, 40, 44, 40, ink.accent, 6)
        + surface(
            ink,
            "M182 76H218V136Q262 160 262 204V306Q262 322 246 322"
            "H154Q138 322 138 306V204Q138 160 182 136Z",
            (138, 76, 124, 246),
            fill=ink.deep,
            plain=True,
        )
        + label(ink, 146, 208, 108, 82)
    )


def plate(ink: Ink) -> str:
    """A plate of fresh food: meat, cheese, bakery, meals."""
    foods = (
        path("M112 236Q104 150 186 152Q292 158 290 216Q284 268 204 250Q150 246 112 236Z", "#c9604f")
        + path("M138 224Q136 174 190 176Q262 182 262 212Q256 236 200 226Z", "#e08a76")
        + circle(166, 204, 15, PAPER),
        path("M104 250L278 152Q304 176 304 206V250Z", "#f3c44f")
        + path("M104 250L304 206V250Z", "#e0a934")
        + circle(246, 200, 13, "#d99f2e")
        + circle(186, 232, 10, "#c98f26"),
        path("M108 244Q90 152 200 150Q310 152 292 244Z", "#c78b4d")
        + line("M152 182l22 26M196 172l22 30M240 180l20 26", "#f0d3a0", 10),
    )
    return (
        ellipse(200, 268, 158, 46, ink.dark)
        + ellipse(200, 258, 158, 46, PAPER)
        + ellipse(200, 256, 122, 31, ink.pale)
        + foods[ink.variant("food", 3)]
    )


def bowl(ink: Ink) -> str:
    """A bowl of small things: nuts, popcorn, fruit, crackers."""
    tones = (("#fff1c9", "#f6dfa0"), ("#b97f4c", "#9a6438"), ("#d9534f", "#f0a04b"))[
        ink.variant("food", 3)
    ]
    pieces = "".join(
        circle(116 + 28 * c + 14 * (r % 2), 176 - 24 * r, 21, tones[(r + c) % 2])
        for r in range(3)
        for c in range(7 - r)
        if 88 + 20 * r < 116 + 28 * c < 312 - 18 * r
    )
    return (
        pieces
        + surface(ink, "M76 180H324Q320 322 200 322Q80 322 76 180Z", (76, 180, 248, 142))
        + rect(68, 170, 264, 20, ink.dark, 10)
    )
