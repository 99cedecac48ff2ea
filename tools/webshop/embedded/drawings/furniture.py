"""Drawings of furniture."""

from __future__ import annotations

from armap_agents.tools.webshop.embedded.shapes import (
    BRASS,
    LEAF,
    NIGHT,
    PAPER,
    STEEL,
    STEEL_DARK,
    WOOD_DARK,
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


def office_chair(ink: Ink) -> str:
    """A chair on casters."""
    arms = mirrored(line("M118 232V198H150", NIGHT, 13))
    head = surface(
        ink,
        "M150 44H250Q262 44 262 56V74Q262 88 250 88H150Q138 88 138 74V56Q138 44 150 44Z",
        (138, 44, 124, 44),
        plain=True,
    )
    return (
        line("M200 262V304M200 300L116 316M200 300L284 316M200 300V320", STEEL_DARK, 12)
        + "".join(circle(x, 322, 10, NIGHT) for x in (114, 200, 286))
        + line("M200 200V240", NIGHT, 16)
        + surface(
            ink, "M146 82Q200 68 254 82Q268 150 256 206H144Q132 150 146 82Z", (132, 72, 136, 134)
        )
        + (head if ink.variant("head", 2) else "")
        + surface(
            ink,
            "M130 232H270Q288 234 286 252Q284 268 266 268H134Q116 268 114 252Q112 234 130 232Z",
            (114, 232, 172, 36),
            fill=ink.dark,
            plain=True,
        )
        + (arms if ink.variant("arms", 2) else "")
    )


def chair(ink: Ink) -> str:
    """A chair with four legs, or an armchair."""
    legs = line("M140 250L124 320M260 250L276 320M164 256L158 310M236 256L242 310", WOOD_DARK, 11)
    plain = (
        legs
        + surface(ink, "M142 76Q200 60 258 76L250 206H150Z", (142, 66, 116, 140))
        + rect(118, 206, 164, 54, ink.dark, 20)
    )
    arms = mirrored(rect(84, 178, 54, 112, ink.dark, 24))
    armchair = (
        mirrored(line("M112 280L104 318", WOOD_DARK, 13))
        + surface(
            ink, "M136 84Q200 62 264 84Q288 150 276 240H124Q112 150 136 84Z", (112, 72, 176, 168)
        )
        + rect(116, 222, 168, 66, ink.light, 22)
        + arms
    )
    return (plain, armchair)[ink.variant("form", 2)]


def stool(ink: Ink) -> str:
    """A bar stool."""
    back = line("M136 140V84Q200 64 264 84V140", ink.dark, 14)
    legs = line("M152 162L120 320M248 162L280 320M176 162L164 320M224 162L236 320", ink.main, 12)
    post = (
        line("M200 160V300", STEEL_DARK, 16)
        + ellipse(200, 312, 82, 14, STEEL_DARK)
        + ellipse(200, 307, 82, 13, STEEL)
    )
    return (
        (back if ink.variant("back", 2) else "")
        + (legs + line("M138 252H262", ink.dark, 9), post + line("M164 252H236", STEEL_DARK, 8))[
            ink.variant("legs", 2)
        ]
        + rect(124, 134, 152, 34, (ink.dark, ink.accent)[ink.variant("seat", 2)], 17)
        + faint(0.25, rect(136, 138, 90, 8, "#ffffff", 4))
    )


def table(ink: Ink) -> str:
    """A low table, square or round, with things on it."""
    cup = rect(232, 166, 34, 34, PAPER, 6) + line("M266 176q14 4 0 16", PAPER, 6)
    books = rect(120, 184, 78, 15, ink.accent, 3) + rect(128, 169, 64, 15, PAPER, 3)
    legs = (
        line("M96 226L78 320M304 226L322 320M140 226L134 306M260 226L266 306", ink.deep, 12),
        mirrored(rect(76, 222, 20, 100, ink.dark, 4)) + rect(84, 282, 232, 15, ink.dark, 4),
        mirrored(line("M88 224L112 318H150L128 224", NIGHT, 9)),
    )
    return (
        legs[ink.variant("legs", 3)]
        + rect(56, 200, 288, 28, ink.main, (4, 14)[ink.variant("edge", 2)])
        + faint(0.3, rect(56, 200, 288, 8, "#ffffff", 4))
        + (cup, books, cup + books)[ink.variant("things", 3)]
    )


def desk(ink: Ink) -> str:
    """A desk or high table, with drawers on one side or four legs."""
    drawers = rect(240, 178, 86, 144, ink.dark, 4) + "".join(
        rect(248, y, 70, 38, ink.main, 3) + rect(272, y + 16, 22, 6, BRASS, 3)
        for y in (186, 230, 274)
    )
    lamp = (
        line("M112 154V110L152 84", NIGHT, 7)
        + path("M140 72L178 88L156 114Z", ink.accent)
        + rect(92, 148, 42, 8, NIGHT, 4)
    )
    return (
        line("M78 176V318", ink.dark, 14)
        + (drawers, line("M322 176V318", ink.dark, 14))[ink.variant("side", 2)]
        + rect(52, 156, 296, 24, ink.main, 5)
        + lamp
    )


def bookcase(ink: Ink) -> str:
    """Shelves with books and a plant."""
    rows = 3 + ink.variant("rows", 2)
    step = 248 / rows
    tones = (ink.accent, PAPER, NIGHT, ink.pale, "#c8735a", "#7d9bb0")
    parts = [rect(104, 62, 192, 260, ink.main, 5), rect(116, 74, 168, 236, ink.deep, 2)]
    for row in range(rows):
        floor = round(62 + step * (row + 1), 1)
        count = 3 + ink.variant(f"books {row}", 5)
        for k in range(count):
            height = round(step * (0.5 + 0.08 * ink.variant(f"book {row} {k}", 4)), 1)
            parts.append(
                rect(
                    122 + 17 * k,
                    floor - height,
                    14,
                    height,
                    tones[ink.variant(f"tone {row} {k}", 6)],
                    2,
                )
            )
        if count < 6:
            parts.append(
                circle(258, floor - 24, 15, LEAF) + rect(247, floor - 20, 22, 20, PAPER, 3)
            )
        parts.append(rect(112, floor, 176, 11, ink.main))
    return "".join(parts)


def cabinet(ink: Ink) -> str:
    """A chest of drawers or a cupboard with doors."""
    knobs = (BRASS, NIGHT, PAPER)[ink.variant("knobs", 3)]
    drawers = "".join(
        rect(98, y, 204, 56, ink.light, 4) + mirrored(circle(150, y + 28, 8, knobs))
        for y in (122, 184, 246)
    )
    doors = mirrored(
        rect(98, 122, 98, 180, ink.light, 4),
        line("M112 136H182V288H112Z", ink.main, 5),
        circle(184, 214, 8, knobs),
    )
    return (
        mirrored(line("M104 306L98 322", ink.deep, 14))
        + rect(84, 106, 232, 204, ink.dark, 8)
        + (drawers, doors)[ink.variant("front", 2)]
        + rect(74, 92, 252, 20, ink.main, 6)
    )


def sofa(ink: Ink) -> str:
    """A sofa with cushions."""
    legs = mirrored(line("M84 296L76 318", WOOD_DARK, 13))
    cushion = turned(-12, rect(104, 166, 56, 52, ink.accent, 12), x=132, y=190)
    return (
        legs
        + surface(
            ink,
            "M84 140Q84 116 110 116H290Q316 116 316 140V260H84Z",
            (84, 116, 232, 144),
            fill=ink.dark,
        )
        + mirrored(rect(82, 206, 117, 60, ink.light, 16))
        + mirrored(rect(44, 176, 54, 122, ink.main, 24))
        + rect(70, 258, 260, 40, ink.main, 10)
        + cushion
        + (mirrored(cushion) if ink.variant("cushions", 2) else "")
    )


def bed(ink: Ink) -> str:
    """A made bed from the foot."""
    head = ("M74 100Q200 66 326 100V240H74Z", "M74 100H326V240H74Z")[ink.variant("head", 2)]
    return (
        surface(ink, head, (74, 80, 252, 160), plain=ink.pattern not in {"stripes", "checks"})
        + mirrored(rect(62, 270, 22, 52, ink.deep, 5))
        + rect(66, 204, 268, 82, PAPER, 20)
        + mirrored(rect(96, 172, 94, 52, "#ffffff", 22))
        + path("M66 232Q200 214 334 232V286H66Z", mix(ink.accent, "#ffffff", 0.3))
        + path("M66 232Q200 214 334 232V246Q200 228 66 246Z", mix(ink.accent, "#ffffff", 0.6))
        + rect(58, 272, 284, 28, ink.main, 6)
    )
