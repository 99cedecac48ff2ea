"""Colours by the words that shops use for them."""

from __future__ import annotations

import re

COLOURS = {
    "black": "#33343f", "ebony": "#33302e", "white": "#f4f2ee", "ivory": "#f3ead7",
    "cream": "#f2e5c9", "beige": "#dcc7a3", "sand": "#dbc3a0", "nude": "#dfb79c",
    "natural": "#d5b083", "clear": "#dbe9ee", "gray": "#9499a3", "grey": "#9499a3",
    "charcoal": "#4d5059", "graphite": "#555962", "silver": "#c0c7d0", "champagne": "#e5cfa6",
    "gold": "#d8ad53", "rose gold": "#dda48f", "copper": "#c1774d", "bronze": "#a57445",
    "brown": "#8b6247", "chestnut": "#87503a", "walnut": "#7e5640", "espresso": "#53392f",
    "coffee": "#6c4b3a", "chocolate": "#6b4230", "camel": "#c1965f", "tan": "#cba678",
    "khaki": "#b5a878", "oak": "#cda26b", "ash": "#d9cfc0", "driftwood": "#a89a88",
    "wood": "#c08f5f", "cherry": "#8f3b36", "red": "#cf4b45", "burgundy": "#7e2f42",
    "wine": "#7e2f42", "rust": "#b65a35", "terracotta": "#c96f4d", "coral": "#ef806c",
    "orange": "#ec8b3d", "amber": "#dc9838", "mustard": "#d5a33a", "yellow": "#f0c84a",
    "lemon": "#f1d558", "honey": "#e2a83c", "citrus": "#f0b445", "lime": "#a9c94b",
    "green": "#5f9d6a", "sage": "#9db295", "olive": "#7f8650", "mint": "#a5d6bf",
    "eucalyptus": "#8fb3a1", "thyme": "#7f9a76", "teal": "#3b8b8c",
    "turquoise": "#4fbdbb", "blue": "#4c7fbf", "navy": "#30456f", "sky": "#8fc0e6",
    "cobalt": "#3559a8", "ocean": "#2f79b0", "purple": "#8463ae", "plum": "#6f4169",
    "lilac": "#c2a9d8", "lavender": "#b0a0d6", "jasmine": "#efe2ae", "pink": "#ec9db3",
    "blush": "#efc0b8", "rose": "#df8a98", "berry": "#a93f66", "raspberry": "#c43f66",
    "hibiscus": "#c6466a", "peach": "#f4b393", "vanilla": "#f1dfb3", "caramel": "#c88a45",
    "cinnamon": "#a8623a", "hazelnut": "#a4744a", "coconut": "#efe6d6", "cedar": "#b88d68",
    "chamomile": "#efd36b", "rooibos": "#a84f34", "clover": "#d99fb3", "acacia": "#f0c764",
    "multicolor": "#e0795f",
}  # fmt: skip
"""Hex values by word."""

OWN = (
    "#d9785c", "#5c87b8", "#7fa67a", "#e0b04f", "#a183bd", "#4f9a99", "#d98c9f", "#6b7688",
    "#c79a6b", "#8fb0a0", "#b5614f", "#46618c",
)  # fmt: skip
"""Colours of products of which no word tells the colour."""

ACCENTS = ("#f2b35e", "#e8755f", "#5a8f8b", "#f4d58b", "#7c8fc4", "#e9a3a3", "#88b598", "#b58fc2")
"""Colours of details."""

_WORDS = re.compile(r"\b(" + "|".join(sorted(COLOURS, key=len, reverse=True)) + r")\b")


def colour_of(text: str) -> str | None:
    """Return the colour that a text names first, as hex, or None.

    First, since shops put the finer word there: ``sage green``, ``sky blue``.
    """
    found = _WORDS.search(text.lower())
    return COLOURS[found[1]] if found else None
