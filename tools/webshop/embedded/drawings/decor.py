"""Drawings of lights, fabrics and what decorates a home, and of a parcel."""

from __future__ import annotations

from armap_agents.tools.webshop.embedded.shapes import (
    BRASS,
    GLASS,
    GLOW,
    LEAF,
    LEAF_DARK,
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


def table_lamp(ink: Ink) -> str:
    """A lamp with a shade, lit."""
    shade = (
        "M138 70H262L300 186H100Z",
        "M118 76H282V186H118Z",
        "M200 60Q296 66 300 186H100Q104 66 200 60Z",
    )
    foot = (
        surface(
            ink, "M170 216Q120 262 156 322H244Q280 262 230 216Z", (136, 216, 128, 106), plain=True
        ),
        rect(190, 186, 20, 124, ink.dark, 8) + rect(132, 304, 136, 18, ink.main, 9),
        "".join(
            ellipse(200, y, rx, 22, fill)
            for y, rx, fill in ((234, 34, ink.main), (268, 46, ink.dark), (302, 58, ink.main))
        ),
    )
    return (
        circle(200, 150, 132, mix(GLOW, "#ffffff", 0.5))
        + rect(193, 180, 14, 48, BRASS)
        + foot[ink.variant("foot", 3)]
        + surface(
            ink,
            shade[ink.variant("shade", 3)],
            (100, 60, 200, 126),
            fill=mix(ink.main, "#fff3d6", 0.72),
        )
        + rect(112, 182, 176, 6, BRASS, 3)
    )


def ceiling_lamp(ink: Ink) -> str:
    """A hanging lamp, lit."""
    shade = ("M200 128Q300 132 310 250H90Q100 132 200 128Z", "M160 130H240L318 250H82Z")
    return (
        path("M110 250L40 372H360L290 250Z", mix(GLOW, "#ffffff", 0.45))
        + line("M200 20V130", NIGHT, 6)
        + circle(200, 254, 26, GLOW)
        + surface(ink, shade[ink.variant("shade", 2)], (82, 128, 236, 122))
    )


def candle(ink: Ink) -> str:
    """A burning candle in a glass."""
    wax = mix(ink.main, PAPER, 0.35)
    return (
        circle(200, 116, 74, mix(GLOW, "#ffffff", 0.45))
        + line("M200 176V142", NIGHT, 5)
        + path("M200 72Q236 118 200 146Q164 118 200 72Z", "#f9b44a")
        + path("M200 102Q218 126 200 142Q182 126 200 102Z", "#fff0b8")
        + rect(118, 150, 164, 172, GLASS, 20)
        + rect(128, 178, 144, 134, wax, 14)
        + ellipse(200, 180, 72, 10, mix(wax, "#ffffff", 0.35))
        + rect(146, 208, 108, 78, PAPER, 8)
        + circle(200, 236, 15, ink.dark)
        + rect(166, 262, 68, 6, ink.dark, 3)
        + faint(0.6, rect(132, 166, 10, 130, "#ffffff", 5))
    )


def bulb(ink: Ink) -> str:
    """A light or flash."""
    return (
        faint(0.5, circle(200, 170, 130, "#ffe3a0"))
        + path(
            "M200 66Q290 70 290 160Q288 206 244 244V268H156V244Q112 206 110 160Q110 70 200 66Z",
            mix(ink.main, "#fff6d8", 0.7),
        )
        + line("M176 250L164 176L186 194L200 172L214 194L236 176L224 250", BRASS, 6)
        + rect(156, 266, 88, 46, STEEL_DARK, 8)
        + line("M158 282H242M158 298H242", STEEL, 5)
        + rect(180, 312, 40, 12, NIGHT, 5)
    )


def pillow(ink: Ink) -> str:
    """A cushion, with tassels, a button or piping."""
    corners = [(92, 100), (308, 100), (92, 318), (308, 318)]
    details = (
        "".join(circle(x, y, 15, ink.accent) for x, y in corners),
        "",
        line(
            "M96 104Q200 122 304 104Q288 210 304 314Q200 298 96 314Q112 210 96 104Z", ink.accent, 7
        ),
    )
    d = "M92 100Q200 120 308 100Q290 210 308 318Q200 300 92 318Q110 210 92 100Z"
    return surface(ink, d, (92, 100, 216, 218)) + details[ink.variant("edge", 3)]


def blanket(ink: Ink) -> str:
    """A folded stack of cloth: blankets, towels, sheets."""
    layers = ((232, ink.dark), (178, ink.main), (124, ink.light))
    return "".join(
        surface(
            ink,
            f"M104 {y}H276Q304 {y} 304 {y + 26}V{y + 62}Q304 {y + 88} 276 {y + 88}"
            f"H104Q82 {y + 88} 82 {y + 44}Q82 {y} 104 {y}Z",
            (82, y, 222, 88),
            fill=fill,
            plain=k != 1,
        )
        + line(f"M108 {y + 44}H262", mix(fill, "#ffffff", 0.4), 5)
        for k, (y, fill) in enumerate(layers)
    )


def curtains(ink: Ink) -> str:
    """Two panels on a rod before a window."""
    gathered = ("M66 82H178Q176 200 118 236Q112 300 120 330H66Z", "M66 82H172L166 330H66Z")
    folds = line("M92 90V322M122 90Q120 180 104 232M150 90Q148 170 122 222", ink.dark, 5)
    return (
        rect(120, 86, 160, 214, "#d8ecf7", 4)
        + circle(232, 150, 26, "#fff1c4")
        + rect(196, 86, 8, 214, PAPER)
        + rect(120, 186, 160, 8, PAPER)
        + mirrored(
            surface(ink, gathered[ink.variant("hang", 2)], (66, 82, 112, 248)), faint(0.5, folds)
        )
        + rect(48, 70, 304, 14, (NIGHT, BRASS, WOOD_DARK)[ink.variant("rod", 3)], 7)
        + mirrored(circle(48, 77, 13, (NIGHT, BRASS, WOOD_DARK)[ink.variant("rod", 3)]))
    )


def rug(ink: Ink) -> str:
    """A rug with fringes."""
    fringes = "".join(
        line(f"M{70 + 13 * k} 118v-18M{70 + 13 * k} 300v18", ink.pale, 4) for k in range(21)
    )
    return (
        fringes
        + surface(ink, "M60 116H340V302H60Z", (60, 116, 280, 186))
        + line("M82 138H318V280H82Z", ink.accent, 8)
        + path("M200 160L262 209L200 258L138 209Z", ink.accent)
        + path("M200 184L232 209L200 234L168 209Z", ink.pale)
    )


def plant(ink: Ink) -> str:
    """A plant in a pot."""
    leaves = (
        mirrored(
            path("M200 210Q120 190 112 100Q190 120 200 210Z", LEAF),
            path("M200 214Q100 232 74 168Q160 150 200 214Z", LEAF_DARK),
        )
        + path("M200 212Q160 130 200 58Q240 130 200 212Z", LEAF_DARK),
        "".join(
            turned(a, path("M200 214Q184 130 200 70Q216 130 200 214Z", f), x=200, y=214)
            for a, f in ((-52, LEAF), (52, LEAF), (-27, LEAF_DARK), (27, LEAF_DARK), (0, LEAF))
        ),
        "".join(
            circle(x, y, r, f)
            for x, y, r, f in (
                (160, 160, 44, LEAF_DARK),
                (240, 162, 46, LEAF),
                (200, 120, 50, LEAF),
                (200, 186, 40, LEAF_DARK),
            )
        ),
    )
    pot = (
        "M126 214H274L252 322H148Z",
        "M120 214H280Q284 322 200 322Q116 322 120 214Z",
        "M130 214H270V300Q270 322 248 322H152Q130 322 130 300Z",
    )
    return (
        leaves[ink.variant("leaves", 3)]
        + surface(ink, pot[ink.variant("pot", 3)], (118, 214, 164, 108))
        + rect(116, 204, 168, 24, ink.dark, 8)
    )


def clock(ink: Ink) -> str:
    """A round or square wall clock."""
    ticks = "".join(
        turned(30 * k, rect(197, 106, 6, 20 if k % 3 == 0 else 10, ink.deep, 3)) for k in range(12)
    )
    frame = (
        circle(200, 200, 128, ink.main) + circle(200, 200, 106, PAPER),
        rect(76, 76, 248, 248, ink.main, 40) + rect(96, 96, 208, 208, PAPER, 26),
    )
    return (
        frame[ink.variant("frame", 2)]
        + ticks
        + turned(30 * ink.variant("hour", 12) + 15, rect(195, 142, 10, 66, NIGHT, 5))
        + turned(30 * ink.variant("minute", 12), rect(197, 112, 6, 96, NIGHT, 3))
        + circle(200, 200, 9, ink.accent)
    )


def framed(ink: Ink) -> str:
    """A framed picture of hills."""
    hills = (
        rect(112, 82, 176, 236, ink.pale)
        + circle(238, 138, 26, ink.accent)
        + path("M112 246Q168 168 230 236T288 214V318H112Z", ink.light)
        + path("M112 288Q176 228 288 284V318H112Z", ink.dark)
    )
    return rect(94, 64, 212, 272, (WOOD_DARK, NIGHT, BRASS)[ink.variant("frame", 3)], 8) + hills


def mirror(ink: Ink) -> str:
    """A round or arched mirror."""
    inner = ("M200 76A124 124 0 1 1 199.9 76Z", "M110 326V168A90 90 0 0 1 290 168V326Z")[
        ink.variant("form", 2)
    ]
    return (
        line(inner, ink.main, 26)
        + path(inner, "#dcebf0")
        + faint(0.7, line("M150 246L236 130M170 286L262 164", "#ffffff", 13))
    )


def parcel(ink: Ink) -> str:
    """A box with a ribbon: what stands for goods of no known kind."""
    return (
        surface(ink, "M92 176H308V322H92Z", (92, 176, 216, 146))
        + rect(80, 142, 240, 46, ink.light, 6)
        + rect(182, 142, 36, 180, ink.accent)
        + mirrored(path("M200 142Q122 132 138 90Q176 72 200 142Z", ink.accent))
        + circle(200, 136, 15, mix(ink.accent, NIGHT, 0.2))
    )
