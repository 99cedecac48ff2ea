"""Text from models, environments and the web, made safe to show.

Escaping for markup is the business of whoever writes markup; here goes what no markup escapes:
terminal escape sequences, control characters, characters that reorder what is displayed, halves of
surrogate pairs (which no file can hold) and numbers that JSON does not know.
"""

from __future__ import annotations

import math
import re
from typing import Any

_TERMINAL_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC, DCS, …
    r"|\x1b[ -/]*[0-~]"  # two-character escapes
)
_UNSHOWABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, line break and tab excepted
    r"\u202a-\u202e\u2066-\u2069"  # bidirectional embeddings, overrides, isolates
    r"\ud800-\udfff]"
)


def presentable(text: str) -> str:
    """Return `text` without terminal sequences; other characters that hide or reorder become �."""
    text = _TERMINAL_SEQUENCE.sub("", text.replace("\r\n", "\n"))
    return _UNSHOWABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def presentable_json(value: Any) -> Any:
    """Return a JSON value with every string presentable and every NaN or infinity None."""
    if isinstance(value, str):
        return presentable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {presentable(str(key)): presentable_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [presentable_json(item) for item in value]
    return value


def one_line(text: str, width: int) -> str:
    """Return `text` on one line, cut to `width` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
