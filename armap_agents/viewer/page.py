"""A document as one self-contained page: style, scripts, data and pictures in a single file.

The page loads nothing and sends nothing: its Content-Security-Policy allows this very script and
style by their hashes, pictures, and no connection at all. What comes from a run goes in as JSON and
reaches the screen as text alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path

from armap_agents.viewer.document import Document
from armap_agents.viewer.text import one_line

SCRIPTS = (
    *("dom", "colour", "replay", "layout", "visible"),
    *("signs", "draw", "canvas", "keys"),
    *("seen", "panel", "run", "curve", "timeline", "main"),
)
"""The page's scripts in the order in which they are put together; `main` starts the page."""

PICTURE_BYTES = 32 << 20
"""Most bytes of pictures put into a page; further ones are left out, and the page says so."""

_DIGEST = re.compile(r"[0-9a-f]{64}")

Linker = Callable[[str], str | None]
"""Returns the address of a picture by its sha256, None where it cannot be shown."""


def render_page(document: Document, link: Linker) -> str:
    """Return the page of a document.

    Args:
        document: What `read_document` returned.
        link: Says where each picture is; `embedded` puts it into the page.
    """
    pictures = {sha: link(sha) for sha in _pictures(document)}
    style, script = static_text("page.css"), _script()
    return fill(
        static_text("page.html"),
        {
            "title": escape(one_line(document["instruction"] or document["run"], 80)),
            "policy": escape(page_policy()),
            "style": style,
            "script": script,
            "data": _embedded_json({**document, "pictures": pictures}),
        },
    )


def embedded(folder: Path, most: int = PICTURE_BYTES) -> Linker:
    """Return a linker that reads pictures from a run's folder into ``data:`` addresses.

    Args:
        folder: Folder of the run.
        most: Bytes after which no further picture is taken.
    """
    taken = 0

    def link(sha256: str) -> str | None:
        nonlocal taken
        found = read_picture(folder, sha256)
        if found is None or taken + len(found[0]) > most:
            return None
        data, media_type = found
        taken += len(data)
        return f"data:{media_type};base64,{base64.b64encode(data).decode()}"

    return link


def read_picture(folder: Path, sha256: str) -> tuple[bytes, str] | None:
    """Return a picture's bytes and media type, None where it is missing or of no known kind.

    The type is told from the bytes: what a trace says of itself decides nothing a browser does.
    """
    if not _DIGEST.fullmatch(sha256):
        return None
    try:
        data = (folder / "blobs" / sha256).read_bytes()
    except OSError:
        return None
    media_type = _media_type(data)
    return None if media_type is None else (data, media_type)


def _media_type(data: bytes) -> str | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def _pictures(document: Document) -> Iterator[str]:
    """Yield the digests of all pictures once, those most worth seeing first."""
    answer = [step[1] for step in (document["answer"] or {"steps": []})["steps"]]
    states = [d["observation"] for d in document["details"] if "observation" in d]
    rest = range(len(document["observations"]))
    found = (
        sha256
        for number in [*answer, *states, *rest]
        for _, sha256 in document["observations"][number].get("pictures", ())
    )
    yield from dict.fromkeys(found)


def page_policy() -> str:
    """Return the Content-Security-Policy of every page that `render_page` returns."""
    return content_policy(static_text("page.css"), _script())


def content_policy(style: str, script: str | None = None) -> str:
    """Return a Content-Security-Policy that allows this style, this script and pictures."""
    scripts = f"script-src {_hash(script)}; " if script is not None else ""
    return (
        f"default-src 'none'; {scripts}style-src {_hash(style)}; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def fill(template: str, parts: dict[str, str]) -> str:
    """Return a template with ``{{name}}`` replaced once: what is put in is not read again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _embedded_json(document: Document) -> str:
    """Return JSON that no HTML parser can leave its script element on."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


@cache
def static_text(name: str) -> str:
    """Return the text of a file that lies in ``static/``."""
    return (files("armap_agents.viewer") / "static" / name).read_text(encoding="utf-8")


def _script() -> str:
    return "\n".join(static_text(f"{name}.js") for name in SCRIPTS)
