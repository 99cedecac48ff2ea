"""Drawings of clothes and shoes."""

from __future__ import annotations

from armap_agents.tools.webshop.embedded.shapes import (
    BRASS,
    NIGHT,
    PAPER,
    STEEL,
    STEEL_DARK,
    WOOD,
    Ink,
    circle,
    faint,
    line,
    mirrored,
    path,
    rect,
    surface,
    turned,
)


def t_shirt(ink: Ink) -> str:
    """A T-shirt with a round or a V neck."""
    neck = ("Q200 132 244 84", "L200 142L244 84")[ink.variant("neck", 2)]
    inside = ("M156 84Q200 100 244 84Q200 132 156 84Z", "M156 84Q200 98 244 84L200 142Z")
    pocket = path("M226 172H264V206L245 216L226 206Z", ink.dark)
    body = f"M156 84{neck}L318 128L284 186L264 174V322H136V174L116 186L82 128Z"
    return (
        path(inside[ink.variant("neck", 2)], ink.deep)
        + surface(ink, body, (82, 84, 236, 238))
        + (pocket if ink.variant("pocket", 2) else "")
    )


def shirt(ink: Ink) -> str:
    """A shirt with collar and buttons."""
    return (
        surface(
            ink,
            "M156 78H244L312 116L336 288L296 296L268 190V322H132V190L104 296L64 288L88 116Z",
            (64, 78, 272, 244),
        )
        + mirrored(path("M156 78L200 110L172 138L146 86Z", ink.pale))
        + line("M200 112V320", ink.dark, 4)
        + "".join(circle(200, y, 5, PAPER) for y in (136, 176, 216, 256, 296))
    )


def sweater(ink: Ink) -> str:
    """A sweater, with a roll neck or a hood."""
    neck = (
        rect(158, 62, 84, 42, ink.dark, 14),
        path("M140 110Q132 50 200 48Q268 50 260 110Q200 150 140 110Z", ink.dark)
        + path("M164 104Q160 76 200 74Q240 76 236 104Q200 126 164 104Z", ink.deep),
    )
    return (
        surface(
            ink,
            "M152 92H248L304 120L344 300L302 312L270 190V322H130V190L98 312L56 300L96 120Z",
            (56, 92, 288, 230),
        )
        + neck[ink.variant("neck", 2)]
        + rect(130, 300, 140, 22, ink.dark, 4)
        + mirrored(turned(14, rect(54, 282, 48, 22, ink.dark, 5), x=78, y=292))
    )


def jacket(ink: Ink) -> str:
    """A jacket, zipped or buttoned."""
    closing = (
        line("M200 104V318", STEEL, 5) + rect(195, 150, 10, 18, STEEL_DARK, 3),
        "".join(circle(208, y, 6, BRASS) for y in (150, 196, 242, 288)),
    )
    return (
        surface(
            ink,
            "M152 76H248L306 108L342 298L298 312L272 190V322H128V190L102 312L58 298L94 108Z",
            (58, 76, 284, 246),
        )
        + path("M152 76L200 136L248 76L236 64H164Z", ink.deep)
        + mirrored(path("M152 76L200 136L168 162L138 92Z", ink.light))
        + closing[ink.variant("closing", 2)]
        + mirrored(line("M146 250L168 236", ink.deep, 6))
    )


def dress(ink: Ink) -> str:
    """A dress with straps or sleeves and a belt."""
    top = (
        line("M166 62V110M234 62V110", ink.dark, 9),
        mirrored(path("M160 84L116 98Q104 130 128 144L166 128Z", ink.dark)),
    )
    skirt = (
        "M158 96Q200 124 242 96L236 178L304 316Q200 340 96 316L164 178Z",
        "M158 96Q200 124 242 96L236 178L272 322H128L164 178Z",
    )
    return (
        top[ink.variant("top", 2)]
        + surface(ink, skirt[ink.variant("skirt", 2)], (96, 90, 208, 236))
        + rect(160, 168, 80, 16, ink.accent, 6)
    )


def trousers(ink: Ink) -> str:
    """Trousers, wide or narrow."""
    legs = (
        "M136 70H264L276 324H220L200 150L180 324H124Z",
        "M136 70H264L294 324H216L200 150L184 324H106Z",
    )
    return (
        surface(ink, legs[ink.variant("cut", 2)], (106, 70, 188, 254))
        + rect(134, 64, 132, 20, ink.dark, 5)
        + mirrored(line("M146 88Q146 118 162 122", ink.deep, 5))
        + line("M200 84V146", ink.deep, 5)
    )


def shorts(ink: Ink) -> str:
    """Shorts or swimming trunks."""
    cord = line("M200 126q-18 26 -22 44M200 126q18 26 22 44", PAPER, 6)
    return (
        surface(ink, "M118 104H282L322 296H216L200 206L184 296H78Z", (78, 104, 244, 192))
        + rect(114, 96, 172, 28, ink.dark, 8)
        + (cord if ink.variant("cord", 2) else line("M200 124V196", ink.deep, 5))
    )


def swimsuit(ink: Ink) -> str:
    """A swimsuit, bodysuit or undergarment."""
    return line("M164 64V120M236 64V120", ink.dark, 10) + surface(
        ink,
        "M152 112Q200 150 248 112Q238 190 268 240"
        "Q238 256 218 322H182Q162 256 132 240Q162 190 152 112Z",
        (132, 112, 136, 210),
    )


def socks(ink: Ink) -> str:
    """A pair of socks."""
    d = "M{x} 76H{r}V212Q{r} 232 {t} 250L{u} 290Q{v} 322 {w} 302Q{p} 292 {q} 268L{x} 220Z"
    pairs = []
    for x, fill in ((206, ink.dark), (132, ink.main)):
        form = d.format(x=x, r=x + 66, t=x + 48, u=x + 2, v=x - 36, w=x - 60, p=x - 74, q=x - 56)
        pairs.append(
            surface(ink, form, (x - 74, 76, 140, 246), fill=fill)
            + rect(x - 4, 70, 74, 28, ink.accent, 8)
        )
    return "".join(pairs)


def sneaker(ink: Ink) -> str:
    """A sneaker."""
    mark = (
        line("M196 222Q240 262 300 230", ink.accent, 13),
        line("M206 212L190 268M232 222L216 270M258 232L244 272", ink.accent, 10),
        circle(226, 246, 20, ink.accent),
    )
    return (
        surface(
            ink,
            "M70 168Q108 190 148 160L176 150Q232 214 304 228Q346 238 346 286H58Q48 214 70 168Z",
            (56, 150, 290, 136),
        )
        + path("M148 160L176 150Q214 198 262 218L246 238Q186 216 148 160Z", ink.pale)
        + line("M166 184L192 170M186 204L212 190M208 222L234 208", PAPER, 7)
        + mark[ink.variant("mark", 3)]
        + path("M296 286Q300 244 334 250Q346 262 346 286Z", ink.dark)
        + rect(52, 280, 304, 34, PAPER, 17)
        + rect(52, 296, 304, 18, (ink.dark, ink.accent)[ink.variant("sole", 2)], 9)
    )


def boot(ink: Ink) -> str:
    """A boot, laced or with an elastic side."""
    lacing = line("M196 142H232M198 172H236M206 202H246", PAPER, 7)
    gore = path("M158 122H196L190 216H170Z", ink.deep)
    return (
        surface(
            ink, "M116 84H230Q226 176 262 208Q340 218 344 288H112Z", (112, 84, 232, 204), plain=True
        )
        + (lacing, gore)[ink.variant("closing", 2)]
        + rect(110, 76, 126, 22, ink.dark, 9)
        + line("M124 98V60", ink.deep, 7)
        + path("M104 284H348V300Q348 314 334 314H206L198 302H182L176 322H104Z", NIGHT)
        + faint(0.5, line("M296 222Q334 236 338 276", ink.light, 6))
    )


def heel(ink: Ink) -> str:
    """A pump or sandal with a heel."""
    strap = line("M84 178Q110 130 150 168", ink.dark, 11)
    return (
        path("M66 170Q84 196 96 240L84 322H72L58 220Z", ink.deep)
        + surface(
            ink,
            "M60 148Q78 204 130 236Q196 276 230 248Q276 212 324 286"
            "Q346 312 322 318H250Q200 318 150 276Q104 240 64 234Q48 190 60 148Z",
            (50, 148, 290, 172),
        )
        + path("M236 316Q196 314 152 278L160 270Q206 302 250 304H336Q336 318 322 318Z", NIGHT)
        + (strap if ink.variant("strap", 2) else circle(276, 258, 13, ink.accent))
    )


def sandal(ink: Ink) -> str:
    """A flat sandal, slipper or clog."""
    return (
        rect(48, 284, 304, 34, NIGHT, 17)
        + rect(48, 270, 304, 28, WOOD, 14)
        + surface(ink, "M170 274Q186 178 252 184Q326 196 332 274Z", (170, 182, 162, 92))
        + (line("M78 270Q96 196 184 232", ink.dark, 15) if ink.variant("strap", 2) else "")
        + circle(226, 232, 10, BRASS)
    )
