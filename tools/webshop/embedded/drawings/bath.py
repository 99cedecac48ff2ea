"""Drawings of what stands on a bathroom shelf."""

from __future__ import annotations

from armap_agents.tools.webshop.embedded.shapes import (
    BRASS,
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
    label,
    line,
    mirrored,
    mix,
    path,
    rect,
    surface,
    turned,
)


def pump_bottle(ink: Ink) -> str:
    """A bottle with a pump, a flip cap or a round shoulder: shampoo, lotion, soap."""
    tops = (
        rect(178, 84, 44, 34, ink.deep, 6)
        + rect(194, 54, 12, 34, ink.deep)
        + path("M140 44H216Q224 44 224 54V66H186L140 60Z", ink.deep),
        rect(164, 70, 72, 48, ink.deep, 10) + rect(164, 92, 72, 5, ink.dark),
    )
    body = (
        "M150 116H250Q276 130 276 160V296Q276 322 250 322H150Q124 322 124 296V160Q124 130 150 116Z",
        "M168 116H232Q282 200 262 322H138Q118 200 168 116Z",
    )
    return (
        tops[ink.variant("top", 2)]
        + surface(ink, body[ink.variant("body", 2)], (122, 116, 156, 206), plain=True)
        + label(ink, 152, 178, 96, 104)
    )


def spray_bottle(ink: Ink) -> str:
    """A slim can or spray."""
    return (
        rect(176, 66, 48, 36, STEEL, 8)
        + rect(190, 52, 20, 18, NIGHT, 4)
        + surface(
            ink,
            "M164 100H236Q256 106 256 130V306Q256 322 240 322"
            "H160Q144 322 144 306V130Q144 106 164 100Z",
            (144, 100, 112, 222),
        )
        + label(ink, 156, 176, 88, 96)
    )


def cream(ink: Ink) -> str:
    """A low jar of cream."""
    lid = (ink.main, (BRASS, WOOD, PAPER)[ink.variant("lid tone", 3)])[ink.variant("lid", 2)]
    return (
        surface(
            ink,
            "M92 214H308V292Q308 322 278 322H122Q92 322 92 292Z",
            (92, 214, 216, 108),
            fill=mix(ink.main, "#ffffff", 0.55),
            plain=True,
        )
        + rect(84, 148, 232, 70, lid, 14)
        + faint(0.15, rect(84, 186, 232, 32, NIGHT, 14))
        + faint(0.35, rect(104, 160, 14, 44, "#ffffff", 7))
        + circle(200, 258, 21, ink.accent)
        + rect(160, 290, 80, 7, ink.deep, 3)
    )


def tube(ink: Ink) -> str:
    """A tube of paste or cream."""
    return turned(
        (-18, 14)[ink.variant("lean", 2)],
        surface(ink, "M126 62H274L248 268H152Z", (126, 62, 148, 206)),
        rect(122, 48, 156, 24, ink.dark, 4),
        rect(156, 266, 88, 54, (PAPER, ink.deep, NIGHT)[ink.variant("cap", 3)], 8),
        circle(200, 136, 22, PAPER),
        rect(168, 176, 64, 8, PAPER, 4),
        rect(176, 196, 48, 7, PAPER, 3),
    )


def lip_stick(ink: Ink) -> str:
    """A lip balm or lipstick, open, the cap beside it."""
    tip = ("M150 160V118Q180 78 210 96V160Z", "M150 160V110Q180 92 210 110V160Z")[
        ink.variant("tip", 2)
    ]
    case = (NIGHT, BRASS, PAPER, ink.deep)[ink.variant("case", 4)]
    return (
        path(tip, ink.main)
        + path("M150 160V118Q160 100 170 98V160Z", ink.light)
        + rect(144, 158, 72, 46, STEEL)
        + faint(0.25, rect(194, 158, 22, 46, NIGHT))
        + surface(ink, "M134 202H226V322H134Z", (134, 202, 92, 120), fill=case, plain=True)
        + surface(
            ink,
            "M252 214Q252 204 262 204H306Q316 204 316 214V322H252Z",
            (252, 204, 64, 118),
            fill=case,
            plain=True,
        )
        + rect(252, 296, 64, 10, ink.main)
        + rect(134, 246, 92, 10, ink.main)
    )


def makeup_brushes(ink: Ink) -> str:
    """Brushes in a cup."""
    brushes = "".join(
        turned(
            angle,
            rect(x - 6, 120, 12, 140, (WOOD, NIGHT, ink.deep)[ink.variant("wood", 3)], 5),
            rect(x - 11, 104, 22, 30, BRASS, 3),
            path(
                f"M{x - 11} 106Q{x - w} 64 {x} {top}Q{x + w} 64 {x + 11} 106Z",
                mix("#8a5a44", ink.accent, 0.3),
            ),
            x=x,
            y=300,
        )
        for x, angle, w, top in (
            (158, -12, 26, 46),
            (184, -4, 14, 34),
            (216, 5, 30, 40),
            (242, 13, 16, 50),
        )
    )
    return (
        brushes
        + surface(
            ink, "M138 206H262L252 308Q250 322 236 322H164Q150 322 148 308Z", (138, 206, 124, 116)
        )
        + rect(132, 198, 136, 18, ink.dark, 9)
    )


def palette(ink: Ink) -> str:
    """A palette of powders."""
    pans = "".join(
        circle(
            124 + 51 * column,
            218 + 54 * row,
            20,
            mix(
                (ink.main, ink.accent, "#b5766a")[(column + row) % 3],
                "#ffffff",
                0.16 * ((column + 2 * row) % 4),
            ),
        )
        for row in range(2)
        for column in range(4)
    )
    return (
        rect(76, 84, 248, 100, NIGHT, 14)
        + rect(88, 96, 224, 76, GLASS, 8)
        + faint(0.7, line("M116 158L156 108M136 160L176 110", "#ffffff", 8))
        + rect(76, 180, 248, 132, ink.deep, 14)
        + pans
    )


def soap(ink: Ink) -> str:
    """A bar of soap with bubbles."""
    bubbles = "".join(
        faint(0.7, circle(x, y, r, "#ffffff"))
        for x, y, r in (
            (128, 128, 22),
            (170, 98, 13),
            (282, 122, 26),
            (246, 84, 11),
            (318, 168, 10),
        )
    )
    return (
        bubbles
        + surface(
            ink,
            "M108 178H292Q328 178 328 214V256Q328 290 292 290"
            "H108Q72 290 72 256V214Q72 178 108 178Z",
            (72, 178, 256, 112),
        )
        + rect(118, 200, 164, 62, ink.light, 26)
        + (circle(200, 231, 18, ink.dark), rect(164, 226, 72, 10, ink.dark, 5))[
            ink.variant("stamp", 2)
        ]
        + rect(56, 288, 288, 20, WOOD, 8)
        + mirrored(rect(84, 304, 40, 18, WOOD_DARK, 4))
    )


def perfume(ink: Ink) -> str:
    """A bottle of perfume."""
    body = (
        "M120 166H280Q292 166 292 178V306Q292 322 276 322H124Q108 322 108 306V178Q108 166 120 166Z",
        "M200 160Q296 168 296 246Q296 322 200 322Q104 322 104 246Q104 168 200 160Z",
        "M150 160H250L296 232L256 322H144L104 232Z",
    )
    form = ink.variant("form", 3)
    return (
        rect(178, 128, 44, 40, BRASS, 4)
        + (rect(160, 70, 80, 62, ink.deep, 8), circle(200, 100, 37, ink.deep))[
            ink.variant("cap", 2)
        ]
        + surface(
            ink, body[form], (104, 160, 192, 162), fill=mix(ink.main, "#ffffff", 0.3), plain=True
        )
        + faint(
            0.4, path("M112 250Q200 236 288 250V300Q276 316 256 316H144Q120 316 112 300Z", ink.main)
        )
        + rect(160, 216, 80, 60, PAPER, 6)
        + circle(200, 240, 12, ink.accent)
        + rect(176, 260, 48, 5, NIGHT, 2)
    )


def toothbrush(ink: Ink) -> str:
    """Two toothbrushes, one of them ours."""
    brushes = []
    for angle, fill in ((16, ink.accent), (-14, ink.main)):
        bristles = "".join(
            rect(222, 62 + 15 * k, 24, 10, (PAPER, ink.pale)[k % 2], 3) for k in range(5)
        )
        brushes.append(
            turned(
                angle,
                bristles,
                rect(198, 52, 28, 92, fill, 13),
                rect(204, 130, 16, 66, fill, 8),
                rect(196, 186, 32, 150, fill, 16),
                faint(0.35, rect(204, 200, 8, 110, "#ffffff", 4)),
                x=212,
                y=320,
            )
        )
    return "".join(brushes)


def razor(ink: Ink) -> str:
    """A razor or trimmer."""
    return turned(
        24,
        rect(128, 70, 144, 48, STEEL, 12),
        rect(138, 84, 124, 7, STEEL_DARK, 3),
        rect(138, 98, 124, 7, STEEL_DARK, 3),
        rect(186, 112, 28, 40, ink.deep, 8),
        surface(
            ink,
            "M182 146H218Q232 240 220 330Q200 346 180 330Q168 240 182 146Z",
            (172, 146, 58, 192),
        ),
    )


def hair_brush(ink: Ink) -> str:
    """A brush or comb."""
    pins = "".join(circle(158 + 21 * c, 88 + 24 * r, 5, NIGHT) for r in range(5) for c in range(5))
    return turned(
        26,
        rect(128, 56, 144, 158, ink.main, 66),
        rect(144, 72, 112, 126, ink.pale, 52),
        pins,
        surface(
            ink,
            "M184 208H216L224 330Q224 352 200 352Q176 352 176 330Z",
            (176, 208, 48, 144),
            fill=ink.dark,
            plain=True,
        ),
    )


def wig(ink: Ink) -> str:
    """Hair on a stand."""
    return (
        rect(184, 262, 32, 50, WOOD)
        + ellipse(200, 314, 70, 12, WOOD_DARK)
        + path(
            "M200 70Q308 70 304 200Q302 280 276 306Q252 288 256 200"
            "H144Q148 288 124 306Q98 280 96 200Q92 70 200 70Z",
            ink.dark,
        )
        + ellipse(200, 196, 56, 74, "#f1d3bd")
        + path(
            "M140 190Q136 110 200 108Q264 110 260 190Q236 140 196 140Q160 146 140 190Z", ink.main
        )
        + faint(0.4, line("M118 200Q116 110 190 88M284 220Q288 140 244 102", ink.light, 7))
    )
