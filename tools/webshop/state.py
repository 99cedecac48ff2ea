"""Where a session of the shop stands, as a value that is its address.

The official shop keeps the whole of a session's state in the address of its page, so that an
address restores any state. `State.path` spells it as the official text environment does;
`State.address` is the same percent-encoded, so that whatever a query or an option holds survives a
browser, and `parse_address` reads it back.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

from armap_agents.errors import ConfigurationError

Kind = Literal["index", "results", "item", "sub", "done"]
"""The start page, a page of results, a product, one of its sub pages, and after the purchase."""

SUB_PAGES = ("Description", "Features", "Reviews", "Attributes")
"""The sub pages of a product, as addresses name them."""

_UNENCODED = "!$&'()*,:;=@"  # of what a path may hold; not "+", which joins the keywords
_PAGE = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class State:
    """Where a session stands.

    Attributes:
        session: The session's name; the number in it is its goal's.
        kind: Which page is shown.
        keywords: What was searched for, split at spaces; empty on the start page.
        page: Page of the results, from 1.
        asin: The product looked at or bought.
        sub: Which sub page, one of `SUB_PAGES`.
        options: Option name → chosen value, in the order in which the names were first chosen.
    """

    session: str
    kind: Kind = "index"
    keywords: tuple[str, ...] = ()
    page: int = 1
    asin: str = ""
    sub: str = ""
    options: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def path(self) -> str:
        """The official address, unencoded; ``text_rich`` looks chosen options up in it."""
        return "/" + "/".join(
            "+".join(part) if isinstance(part, tuple) else part for part in self._segments()
        )

    @property
    def address(self) -> str:
        """The address as a browser takes it: `path`, percent-encoded."""
        return "/" + "/".join(
            _joined(part) if isinstance(part, tuple) else _encoded(part)
            for part in self._segments()
        )

    def _segments(self) -> tuple[str | tuple[str, ...], ...]:
        # Official addresses hold the options as JSON on product pages and as Python's repr behind.
        match self.kind:
            case "index":
                return (self.session,)
            case "results":
                return ("search_results", self.session, self.keywords, str(self.page))
            case "item":
                place = (self.session, self.asin, self.keywords, str(self.page))
                return ("item_page", *place, json.dumps(dict(self.options)))
            case "sub":
                place = (self.session, self.asin, self.keywords, str(self.page))
                return ("item_sub_page", *place, self.sub, repr(dict(self.options)))
            case "done":
                return ("done", self.session, self.asin, repr(dict(self.options)))


def parse_address(address: str) -> State:
    """Return the state that an address leads to, the inverse of `State.address`.

    Args:
        address: A percent-encoded path, with or without scheme and host.

    Raises:
        ConfigurationError: It is no address of the shop.
    """
    try:
        match urlsplit(address).path.split("/")[1:]:
            case ["search_results", session, keywords, page]:
                return State(_decoded(session), "results", _split(keywords), _number(page))
            case ["item_page", session, asin, keywords, page, options]:
                return State(
                    _decoded(session),
                    "item",
                    _split(keywords),
                    _number(page),
                    _decoded(asin),
                    options=_options(_decoded(options)),
                )
            case ["item_sub_page", session, asin, keywords, page, sub, options] if sub in SUB_PAGES:
                return State(
                    _decoded(session),
                    "sub",
                    _split(keywords),
                    _number(page),
                    _decoded(asin),
                    sub,
                    _options(_decoded(options)),
                )
            case ["done", session, asin, options]:
                return State(
                    _decoded(session),
                    "done",
                    asin=_decoded(asin),
                    options=_options(_decoded(options)),
                )
            case [session] if session:
                return State(_decoded(session))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass  # ways in which json and literal_eval refuse a text
    raise ConfigurationError(f"the shop has no page at {address[:200]!r}: start at /0")


def _encoded(text: str) -> str:
    return quote(text, safe=_UNENCODED, errors="surrogatepass")


def _decoded(text: str) -> str:
    return unquote(text, errors="surrogatepass")


def _joined(keywords: tuple[str, ...]) -> str:
    segment = "+".join(map(_encoded, keywords))
    # Browsers take dots, and %2E too, for a way up. No keyword has a space, which thus marks them.
    return f"%20{segment}" if segment in ("", ".", "..") and keywords else segment


def _split(segment: str) -> tuple[str, ...]:
    if not segment:
        return ()
    return tuple(_decoded(keyword) for keyword in segment.removeprefix("%20").split("+"))


def _number(page: str) -> int:
    if _PAGE.fullmatch(page) is None:
        raise ValueError(page)
    return int(page)


def _options(text: str) -> dict[str, str]:
    """Read options as JSON or as Python's repr of a dict, which official servers write as well."""
    found: Any
    try:
        found = json.loads(text)
    except ValueError:
        found = ast.literal_eval(text)
    if not isinstance(found, dict) or not all(
        isinstance(part, str) for pair in found.items() for part in pair
    ):
        raise ValueError(text)
    return found
