"""A page as an HTML document: which template shows it, and where its buttons and links lead."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from armap_agents.tools.webshop import pages
from armap_agents.tools.webshop.pages import Node, Page, follow, nodes
from armap_agents.tools.webshop.state import State

_NOT_IN_HTML = re.compile("[\0\ud800-\udfff]")


def shop_document(page: Page) -> str:
    """Return the document of a page of the shop; its text nodes are `nodes(page)`."""
    return _environment.get_template(f"{page.state.kind}.html").render(
        page=page,
        state=page.state,
        nodes=partial(nodes, page),
        lead=partial(_lead, page.state),
        picture=picture_address,
    )


def home_document(instructions: Sequence[str], goals: int) -> str:
    """Return the entrance.

    Args:
        instructions: Of the first few goals.
        goals: How many goals there are.
    """
    return _environment.get_template("home.html").render(instructions=instructions, goals=goals)


def missing_document(message: str) -> str:
    """Return the page for an address that leads nowhere."""
    return _environment.get_template("missing.html").render(message=message)


def picture_address(asin: str, options: Mapping[str, str]) -> str:
    """Return where a product is drawn as the chosen options have it."""
    query = urlencode(dict(options), errors="replace")
    return f"/pictures/{quote(asin, safe='', errors='replace')}.svg" + (
        f"?{query}" if query else ""
    )


def _lead(state: State, kind: str, text: str, name: str = "") -> str:
    """Return the address that clicking a node leads to.

    Each element leads where the shop says that a click on it leads, so that a person, an agent in
    the browser and an agent on the engine come to the same page.
    """
    node = Node(kind, text, name)  # type: ignore[arg-type]  # the templates pass Node's kinds
    return follow(state, f"click[{text}]", {text.lower(): node}).address


def _presentable(value: Any) -> Any:
    """Escape a text so that a reader of the document gets the very same text.

    HTML reads a bare carriage return as a line feed, and can hold neither NUL nor halves of
    characters.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    shown = escape(_NOT_IN_HTML.sub("\ufffd", value))
    return Markup(shown.replace("\r", Markup("&#13;")))  # noqa: S704  # both parts are escaped


_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=_presentable,
)
_environment.globals.update(
    BACK_TO_SEARCH=pages.BACK_TO_SEARCH,
    BUY=pages.BUY,
    NEXT=pages.NEXT,
    PREVIOUS=pages.PREVIOUS,
    SEARCH=pages.SEARCH,
)
