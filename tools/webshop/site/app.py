"""The shop's pages over HTTP: the official addresses and hooks, drawn in a style of its own.

A page's text nodes are exactly `pages.nodes`, so that whoever reads it by the official rule gets
the official observation; all else is style sheet and pictures. A session lives in its address
alone. Nothing here runs a script or names another host, and the headers forbid both, so that
whatever a catalogue holds is shown as the text that it is.
"""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from armap_agents.errors import ArmapError
from armap_agents.tools.webshop.embedded.pictures import picture
from armap_agents.tools.webshop.pages import follow
from armap_agents.tools.webshop.shop import Shop
from armap_agents.tools.webshop.site.documents import home_document, missing_document, shop_document
from armap_agents.tools.webshop.state import State, parse_address

OFFERED = 9
"""Goals that the entrance lists; any other is asked for by its number."""

_STATIC = Path(__file__).parent / "static"
_MEDIA_TYPES = {"style.css": "text/css", "icon.svg": "image/svg+xml"}

_GUARDS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PAGE_HEADERS = _GUARDS | {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
}
_FILE_HEADERS = _GUARDS | {
    "Cache-Control": "max-age=3600",
    # Drawings style themselves; opened on their own they may do nothing else.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}


def site(shop: Shop, *, official_done: bool = False) -> Starlette:
    """Return the application that shows a shop.

    Args:
        shop: What is for sale, and the goals.
        official_done: Whether the page after a purchase prints the score, as the official one does.
    """
    pages = _Pages(shop, official_done)
    return Starlette(
        routes=[
            Route("/", pages.home),
            Route("/static/{name}", _static),
            Route("/pictures/{asin}.svg", pages.picture),
            Route("/{address:path}", pages.shop_page, methods=["GET", "POST"]),
        ],
        exception_handlers={HTTPException: _http_error, ArmapError: _not_found},
    )


class _Pages:
    """The routes that need the shop.

    They run on the server's event loop: a page is a matter of milliseconds, and the loop belongs to
    the site alone.
    """

    def __init__(self, shop: Shop, official_done: bool) -> None:
        self._shop = shop
        self._official_done = official_done
        self._draw = lru_cache(maxsize=2048)(self._drawn)

    async def home(self, request: Request) -> Response:
        """Let a person choose a goal: one of a few, by number, or any."""
        asked = request.query_params
        count = len(self._shop.goals)
        if "random" in asked and count:
            return _go(State(str(random.randrange(count))))
        if "task" in asked:
            state = State(asked["task"].strip())
            self._shop.goal(state.session)
            return _go(state)
        offered = [self._shop.goals[k].instruction for k in range(min(OFFERED, count))]
        return _html(home_document(offered, count))

    async def shop_page(self, request: Request) -> Response:
        """Show the page of a state, or go where a form leads."""
        state = parse_address(request.scope["raw_path"].decode("latin-1"))
        query = await _search_query(request)
        if query is not None and state.kind == "index":
            self._shop.goal(state.session)
            return _go(follow(state, f"search[{query}]", {}))
        if request.method == "POST":
            # So that going back or reloading never asks a person to send a form again.
            return _go(state)
        return _html(shop_document(self._shop.page(state, scored=self._official_done)))

    async def picture(self, request: Request) -> Response:
        """Draw a product as the options in the query have it."""
        options = tuple(request.query_params.items())
        drawing = self._draw(request.path_params["asin"], options)
        return Response(drawing, media_type="image/svg+xml", headers=_FILE_HEADERS)

    def _drawn(self, asin: str, options: tuple[tuple[str, str], ...]) -> bytes:
        return picture(self._shop.product(asin), dict(options)).encode(errors="replace")


async def _search_query(request: Request) -> str | None:
    """Return what the search form asks for, which may come either way."""
    text = request.url.query
    if request.method == "POST":
        text = (await request.body()).decode("latin-1")
    found = parse_qs(text, keep_blank_values=True, errors="replace").get("search_query")
    return found[-1] if found else None


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _MEDIA_TYPES:
        raise HTTPException(404)
    return Response(_file(name), media_type=_MEDIA_TYPES[name], headers=_FILE_HEADERS)


@lru_cache
def _file(name: str) -> bytes:
    return (_STATIC / name).read_bytes()


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = "There is no such page here."
    return _html(missing_document(message), error.status_code)


async def _not_found(_: Request, error: Exception) -> Response:
    return _html(missing_document(str(error)), 404)


def _go(state: State) -> Response:
    return RedirectResponse(state.address, 303, headers=_PAGE_HEADERS)


def _html(document: str, status: int = 200) -> Response:
    return Response(document, status, headers=_PAGE_HEADERS, media_type="text/html")
