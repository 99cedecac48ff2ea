"""A tab that shows a shop's pages and acts on them as a person does: real clicks, real typing.

What it sees are a page's text nodes, read from the document, and pictures. Every click that does
something is one navigation, as is a search where there is a field; every state is reached by one.
Whatever goes wrong below becomes an `EnvironmentFailure`, and the next `Tab.open` begins with what
is alive.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from armap_agents.errors import EnvironmentDied, EnvironmentFailure
from armap_agents.tools.webshop.chromium import (
    VIEWPORT,
    Chromium,
    Fence,
    first_line,
    open_context,
    release,
)
from armap_agents.tools.webshop.pages import SEARCH, Node, parse_action, targets
from armap_agents.tools.webshop.state import State, parse_address
from armap_agents.trajectory import Image

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, CDPSession, Page, Response

PATIENCE = 30.0
"""Seconds that an action may take; a browser that needs longer hangs."""

TALLEST = 4096
"""Pixels of a page's height that go into its full picture."""

JPEG_QUALITY = 80

CLOSING = 5.0
"""Seconds that closing a tab may take, before it is left to the end of its browser."""

_UNBROKEN = re.compile(r"\S{2000}")
"""What Chromium takes quadratic time to paint beyond the viewport."""

SWEPT_EVERY = 25
"""Moves after which a tab collects its garbage: Chromium alone lets hundreds of pages pile up."""


@dataclass(frozen=True)
class Seen:
    """What a page shows.

    Attributes:
        address: Where it is: the path, as the browser spells it.
        nodes: Its text nodes, in order.
        searchable: Whether it has a search field.
        image: The part in the viewport, 384×384.
        full_page: All of it, down to a limit.
    """

    address: str
    nodes: tuple[Node, ...]
    searchable: bool
    image: Image | None = None
    full_page: Image | None = None


@dataclass(eq=False)
class _Opened:
    """What an open tab holds."""

    chromium: Chromium
    context: BrowserContext
    page: Page
    devtools: CDPSession


class Tab:
    """A tab of its own in the browser of the running event loop.

    Args:
        origin: The shop's, such as ``http://127.0.0.1:3000``; the tab reaches nothing else.
        pictures: Whether to take any.

    Attributes:
        fence: Counts the requests to elsewhere, all of which are refused.
    """

    def __init__(self, origin: str, *, pictures: bool = True) -> None:
        self._origin = _origin(origin)
        self._pictures = pictures
        self._opened: _Opened | None = None
        self._seen: Seen | None = None
        self._interrupted = False
        self._moves = 0
        self.fence = Fence()

    @property
    def alive(self) -> bool:
        """False once its browser is known to be gone; the next `open` begins with another."""
        return self._opened is None or not self._opened.chromium.gone

    async def open(self, address: str) -> Seen:
        """Go to an address of the shop, by one navigation.

        Raises:
            EnvironmentFailure: The shop does not answer, or has no such page.
            EnvironmentDied: The browser is gone, or hangs.
            ConfigurationError: There is no browser.
        """
        return await self._do(lambda page: page.goto(self._origin + address))

    async def act(self, action: str) -> Seen:
        """Do ``search[…]`` or ``click[…]`` on the page; what is not possible does nothing.

        Raises:
            EnvironmentFailure: The page leads off the shop, or to none of its pages.
            EnvironmentDied: The browser is gone, or hangs.
        """
        seen = self._seen
        if seen is None:
            raise EnvironmentFailure("the tab shows no page: open one first")
        name, argument = parse_action(action)
        if name == "search":
            return await self._do(lambda page: self._search(page, seen, argument))
        node = targets(seen.nodes).get(argument)
        if name != "click" or node is None or argument == SEARCH.lower():
            return seen
        # By identity: equal nodes at other places are other elements.
        place = next(k for k, shown in enumerate(seen.nodes) if shown is node)
        return await self._do(lambda page: self._click(page, place))

    async def close(self) -> None:
        """Close the tab, and the browser with the last one; safe to call twice."""
        opened, self._opened, self._seen = self._opened, None, None
        if opened is None:
            return
        try:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSING):
                    await opened.context.close()
        finally:
            self.fence.close()
            await release(opened.chromium)

    async def _do(self, move: Callable[[Page], Awaitable[Response | None]]) -> Seen:
        """Make a move and look where it led, closing the tab where that fails."""
        from playwright.async_api import Error

        self._seen = None  # until it is known, should this be broken off
        if self._interrupted:  # what was cancelled may still be on its way to another page
            self._interrupted = False
            await self.close()
        try:
            async with asyncio.timeout(PATIENCE):
                if self._opened is None:
                    self._opened = await self._begin()
                response = await move(self._opened.page)
                self._check(self._opened.page, response)
                seen = await self._look(self._opened)
                self._moves += 1
                if self._moves % SWEPT_EVERY == 0:
                    await self._opened.devtools.send("HeapProfiler.collectGarbage")
                self._seen = seen
                return seen
        except asyncio.CancelledError:
            self._interrupted = True
            raise
        except (Error, TimeoutError) as error:
            await self.close()
            if "net::ERR_TUNNEL" in str(error):  # the fence's answer where encryption was asked for
                raise EnvironmentFailure("the page led off the shop: refused") from error
            # An aborted navigation is a page's process that ended under it.
            if "net::" in str(error) and "net::ERR_ABORTED" not in str(error):
                raise EnvironmentFailure(
                    f"{self._origin} does not answer ({first_line(error)}): see that it is running"
                ) from error
            raise EnvironmentDied(f"the browser died or hangs: {first_line(error)}") from error

    async def _begin(self) -> _Opened:
        self.fence = Fence()
        async with contextlib.AsyncExitStack() as undo:
            address = await self.fence.start()
            undo.callback(self.fence.close)
            chromium, context = await open_context(self._origin, address)
            undo.push_async_callback(release, chromium)
            undo.push_async_callback(context.close)
            page = await context.new_page()
            context.on("page", _close)
            # Else a question that the page's process no longer answers would wait for its deadline.
            page.on("crash", lambda _: _close(context))
            devtools = await context.new_cdp_session(page)
            undo.pop_all()
        return _Opened(chromium, context, page, devtools)

    async def _search(self, page: Page, seen: Seen, query: str) -> Response | None:
        if not seen.searchable:
            session = parse_address(seen.address).session
            await page.goto(self._origin + State(session).address)
        await page.evaluate("document.querySelector('#search_input').select()")
        await page.keyboard.insert_text(query)
        async with page.expect_navigation() as navigation:
            await page.keyboard.press("Enter")
        return await navigation.value

    async def _click(self, page: Page, place: int) -> Response | None:
        way = await self._read(place)
        if "address" in way:
            return await page.goto(way["address"])
        if "x" not in way:
            return None
        async with page.expect_navigation() as navigation:
            await page.mouse.click(way["x"], way["y"])
            # What the pointer happens to rest on would look different on the next page.
            await page.mouse.move(0, 0)
        return await navigation.value

    def _check(self, page: Page, response: Response | None) -> None:
        place = urlsplit(page.url)
        if _origin(page.url) != self._origin:
            raise EnvironmentFailure(f"the page led off the shop, to {page.url[:200]}: refused")
        if response is not None and response.status >= 400:
            raise EnvironmentFailure(
                f"the shop has no page at {place.path[:200]} (status {response.status})"
            )

    async def _read(self, place: int | None = None) -> dict[str, Any]:
        """Run the reader: what the page shows, or how the node at a place is clicked."""
        assert self._opened is not None
        # Straight from the developer tools, which takes half as long as `Page.evaluate`.
        read = await self._opened.devtools.send(
            "Runtime.evaluate",
            {"expression": f"({_reader()})({json.dumps(place)})", "returnByValue": True},
        )
        if "exceptionDetails" in read:
            raise EnvironmentFailure(f"{self._origin} has a page that no reader understands")
        value: dict[str, Any] = read["result"]["value"]
        return value

    async def _look(self, opened: _Opened) -> Seen:
        read = await self._read()
        image = full_page = None
        if self._pictures:
            paintable = not any(_UNBROKEN.search(text) for _, text, _ in read["nodes"])
            height = read["height"] if paintable else VIEWPORT
            image, full_page = await _take_pictures(opened.devtools, height)
        return Seen(
            urlsplit(opened.page.url).path,
            tuple(Node(*node) for node in read["nodes"]),
            read["searchable"],
            image,
            full_page,
        )


def _origin(address: str) -> str:
    """Return scheme, host and port as browsers write them."""
    place = urlsplit(address)
    host = (place.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}.get(place.scheme)
    port = f":{place.port}" if place.port not in (None, usual) else ""
    return f"{place.scheme}://{host}{port}"


async def _take_pictures(devtools: CDPSession, height: int) -> tuple[Image, Image]:
    """Return what the viewport shows, and the whole page."""
    image = await _take_picture(devtools, {})
    if height <= VIEWPORT:
        return image, image
    # Not side by side: while the whole page is taken, the viewport is as large.
    clip = {"x": 0, "y": 0, "width": VIEWPORT, "height": min(height, TALLEST), "scale": 1}
    return image, await _take_picture(devtools, {"clip": clip, "captureBeyondViewport": True})


async def _take_picture(devtools: CDPSession, which: dict[str, Any]) -> Image:
    taken = await devtools.send(
        "Page.captureScreenshot",
        {"format": "jpeg", "quality": JPEG_QUALITY, "optimizeForSpeed": True, **which},
    )
    return Image(base64.b64decode(taken["data"]), "image/jpeg")


_closing: set[asyncio.Future[None]] = set()


def _close(opened: Page | BrowserContext) -> None:
    closing = asyncio.ensure_future(_closed(opened))
    _closing.add(closing)
    closing.add_done_callback(_closing.discard)


async def _closed(opened: Page | BrowserContext) -> None:
    with contextlib.suppress(Exception):
        await opened.close()


@cache
def _reader() -> str:
    return files("armap_agents.tools.webshop").joinpath("read_page.js").read_text("utf-8")
