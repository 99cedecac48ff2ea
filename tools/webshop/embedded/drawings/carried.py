"""Drawings of what people carry, wear on top or take outdoors."""

from __future__ import annotations

from armap_agents.tools.webshop.embedded.shapes import (
    BRASS,
    GLOW,
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
    ring,
    surface,
)


def backpack(ink: Ink) -> str:
    """A backpack."""
    return (
        line("M168 92C168 46 232 46 232 92", ink.deep, 12)
        + mirrored(rect(82, 200, 40, 98, ink.dark, 16))
        + surface(
            ink,
            "M106 168Q106 80 200 80Q294 80 294 168V294Q294 322 266 322H134Q106 322 106 294Z",
            (106, 80, 188, 242),
        )
        + line("M128 168H272", ink.deep, 6)
        + rect(132, 206, 136, 92, ink.dark, 16)
        + line("M148 230H252", (STEEL, BRASS)[ink.variant("zip", 2)], 5)
        + rect(246, 228, 8, 22, ink.accent, 4)
        + (
            rect(164, 116, 72, 28, ink.accent, 8)
            if ink.variant("patch", 2)
            else circle(200, 130, 17, ink.accent)
        )
    )


def handbag(ink: Ink) -> str:
    """A bag with a handle, or a cosmetic case."""
    return (
        line("M142 170C142 66 258 66 258 170", ink.deep, 13)
        + surface(ink, "M94 160H306L326 300Q326 322 304 322H96Q74 322 74 300Z", (74, 160, 252, 162))
        + path("M90 160H310L316 206Q200 256 84 206Z", ink.dark)
        + rect(184, 214, 32, 28, BRASS, 6)
    )


def hat(ink: Ink) -> str:
    """A hat with a brim."""
    crown = (
        "M128 228Q124 112 200 112Q276 112 272 228Z",
        "M130 228L150 128Q200 106 250 128L270 228Z",
    )
    return (
        ellipse(200, 240, 160, 46, ink.dark)
        + ellipse(200, 232, 160, 42, ink.main)
        + surface(ink, crown[ink.variant("crown", 2)], (124, 110, 152, 128))
        + path("M127 202Q200 226 273 202L272 232Q200 254 128 232Z", ink.accent)
    )


def helmet(ink: Ink) -> str:
    """A bicycle helmet."""
    return (
        line("M112 238L160 316L214 244", NIGHT, 8)
        + rect(150, 304, 24, 16, ink.accent, 5)
        + surface(
            ink,
            "M62 246Q56 96 206 92Q336 94 346 222Q346 240 328 240L286 236Q230 262 160 258Z",
            (58, 92, 288, 168),
            plain=True,
        )
        + "".join(
            path(f"M{x} {y}q34 -40 72 -34q-26 18 -40 48z", ink.deep)
            for x, y in ((92, 208), (158, 196), (224, 196))
        )
        + (
            path("M300 206L376 214Q372 238 330 240Z", ink.dark)
            if ink.variant("visor", 2)
            else circle(84, 228, 10, "#e4483f")
        )
    )


def watch(ink: Ink) -> str:
    """A wrist watch, square or round."""
    face = (
        rect(126, 126, 148, 148, STEEL_DARK, 40) + rect(138, 138, 124, 124, NIGHT, 30),
        circle(200, 200, 84, STEEL_DARK) + circle(200, 200, 71, NIGHT),
    )
    rings = line("M200 154A46 46 0 1 1 157 216", ink.accent, 9)
    rings += line("M200 170A30 30 0 1 1 192 229", ink.light, 9)
    hands = line("M200 200V154M200 200L232 218", PAPER, 7) + circle(200, 200, 7, ink.accent)
    return (
        surface(ink, "M156 40H244L256 140H144Z", (144, 40, 112, 100), plain=True)
        + surface(ink, "M144 260H256L244 364H156Z", (144, 260, 112, 104), plain=True)
        + "".join(circle(200, y, 5, ink.deep) for y in (306, 324, 342))
        + rect(272, 184, 15, 32, STEEL, 6)
        + face[ink.variant("form", 2)]
        + (rings, hands)[ink.variant("dial", 2)]
    )


def jewel(ink: Ink) -> str:
    """A necklace with a pendant."""
    return (
        line("M92 84Q110 236 200 250Q290 236 308 84", BRASS, 8)
        + path("M200 246L240 290L200 338L160 290Z", ink.main)
        + path("M200 246L216 290L200 338L184 290Z", ink.light)
    )


def glasses(ink: Ink) -> str:
    """Glasses, or a viewer worn like them."""
    return (
        line("M60 180L40 140M340 180L360 140", ink.dark, 12)
        + mirrored(
            rect(58, 164, 126, 100, ink.main, 42),
            rect(72, 178, 98, 72, mix(NIGHT, ink.accent, 0.25), 30),
        )
        + line("M182 196Q200 182 218 196", ink.main, 13)
        + mirrored(faint(0.3, line("M92 230L128 190", "#ffffff", 10)))
    )


def umbrella(ink: Ink) -> str:
    """An open umbrella."""
    crook = line("M200 96V300Q200 330 176 330Q154 330 154 308", WOOD_DARK, 11)
    return (
        crook
        + line("M200 66V90", STEEL_DARK, 8)
        + surface(
            ink,
            "M40 218Q48 84 200 84Q352 84 360 218Q334 190 306 218Q280 190 253 218"
            "Q226 190 200 218Q174 190 147 218Q120 190 94 218Q66 190 40 218Z",
            (40, 84, 320, 134),
        )
        + faint(
            0.35,
            line(
                "M200 86Q150 130 147 212M200 86Q250 130 253 212"
                "M200 86Q96 120 94 212M200 86Q304 120 306 212",
                ink.deep,
                4,
            ),
        )
    )


def mat(ink: Ink) -> str:
    """A mat, partly rolled."""
    strap = (rect(206, 128, 16, 150, ink.accent, 5), "")[ink.variant("strap", 2)]
    return (
        path("M118 276H330L364 322H84Z", ink.light)
        + surface(
            ink,
            "M96 130H318V278H96Z",
            (96, 130, 222, 148),
            plain=ink.pattern not in {"stripes", "band", "waves"},
        )
        + ellipse(318, 204, 34, 74, ink.dark)
        + ring(318, 204, 24, 56, ink.light, 6)
        + ring(318, 204, 14, 34, ink.light, 6)
        + ring(318, 204, 5, 13, ink.light, 6)
        + ellipse(96, 204, 32, 74, ink.main)
        + strap
    )


def lantern(ink: Ink) -> str:
    """A camping lantern, lit."""
    return (
        faint(0.55, circle(200, 206, 134, GLOW))
        + line("M136 128C130 40 270 40 264 128", STEEL_DARK, 9)
        + rect(134, 146, 132, 122, "#fff6d8", 10)
        + circle(200, 206, 31, "#ffd56b")
        + "".join(
            rect(x, 146, 8, 122, ink.dark) for x in (140, 196, 252)[:: 1 + ink.variant("bars", 2)]
        )
        + path("M152 110H248L276 150H124Z", ink.main)
        + surface(
            ink,
            "M126 264H274L288 312Q288 322 276 322H124Q112 322 112 312Z",
            (112, 264, 176, 58),
            plain=True,
        )
        + circle(200, 294, 10, ink.accent)
    )


def tent(ink: Ink) -> str:
    """A tent, ridge or dome."""
    ridge = (
        surface(ink, "M200 92L352 318H48Z", (48, 92, 304, 226))
        + path("M200 92L250 318H150Z", ink.deep)
        + path("M200 92L176 318H150Z", ink.light)
    )
    dome = (
        surface(ink, "M44 318Q60 108 200 108Q340 108 356 318Z", (44, 108, 312, 210))
        + path("M200 150Q262 210 258 318H142Q138 210 200 150Z", ink.deep)
        + path("M200 150Q150 210 172 318H142Q138 210 200 150Z", ink.light)
    )
    return (
        rect(20, 314, 360, 12, LEAF, 6)
        + (ridge, dome)[ink.variant("form", 2)]
        + mirrored(line("M66 296L34 322", STEEL_DARK, 4))
    )
