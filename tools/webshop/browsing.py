"""Pages in a real browser: on our own site, where every state is known, or on another server.

On our own site the state says where an action has to lead, and should a page ever lead elsewhere
the browser is sent there by address. A server of somebody else is read as it comes: its pages tell
the instruction and the prices, its addresses tell the state.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from armap_agents.errors import ConfigurationError, EnvironmentFailure
from armap_agents.tools.webshop.browser import Seen, Tab
from armap_agents.tools.webshop.goals import SPLITS
from armap_agents.tools.webshop.session import Place, View
from armap_agents.tools.webshop.shown import MAX_STEPS, Engine
from armap_agents.tools.webshop.site.serve import Site, open_site
from armap_agents.tools.webshop.state import State, parse_address
from armap_agents.trajectory import Task

_PRICE = re.compile(r"Price: \$([0-9.]+)(?: to \$([0-9.]+))?")
_SCORE = re.compile(r"Your score \(min 0\.0, max 1\.0\)\s*(?:<[^>]*>\s*)*([0-9.]+)")


class OwnSite(Engine):
    """Shows a shop's pages as the site shows them to a browser; takes what `Engine` takes."""

    _site: Site | None = None
    _tab: Tab | None = None

    @property
    def alive(self) -> bool:
        """False once the browser is gone."""
        return self._tab is None or self._tab.alive

    async def show(self, state: State, action: str | None) -> View:
        """Do the action on the page, or go to the state's address."""
        tab = await self._open()
        seen = await (tab.open(state.address) if action is None else tab.act(action))
        if parse_address(seen.address) != state:
            seen = await tab.open(state.address)
        return _view(state, seen)

    async def close(self) -> None:
        """Close the tab, and let go of the site."""
        tab, site = self._tab, self._site
        self._tab = self._site = None
        if tab is not None:
            await tab.close()
        if site is not None:
            await asyncio.to_thread(site.close)

    async def _open(self) -> Tab:
        if self._tab is None:
            self._site = await asyncio.to_thread(self._serve)
            self._tab = Tab(self._site.origin)
        return self._tab

    def _serve(self) -> Site:
        return open_site(self.shop, official_done=self._official_done)


class OtherServer:
    """Shows the pages of a WebShop server; see `Shown` for the methods' meaning.

    Args:
        address: Where it is, such as ``http://127.0.0.1:3000``.

    Raises:
        ConfigurationError: It is no such address.
    """

    def __init__(self, address: str) -> None:
        place = urlsplit(address)
        if place.scheme not in ("http", "https") or not place.netloc:
            raise ConfigurationError(f"{address!r} is no server: write http://127.0.0.1:3000")
        self._origin = f"{place.scheme}://{place.netloc}"
        self._tab = Tab(self._origin)
        self._instructions: dict[str, str] = {}
        self._prices: dict[str, float] = {}

    @property
    def alive(self) -> bool:
        """False once the browser is gone."""
        return self._tab.alive

    def tasks(self, split: str) -> list[Task]:
        """List the tasks of a split whose size is fixed: a server tells nobody how many it has."""
        goals = SPLITS.get(split, slice(None))
        if goals.stop is None:
            raise ConfigurationError(
                f"a server does not tell its goals of split {split!r}: use test, dev or std"
            )
        return [
            Task(id=str(k), environment="webshop", split=split, max_steps=MAX_STEPS)
            for k in range(goals.start, goals.stop)
        ]

    def product(self, task_id: str) -> str:
        """Return the task's id: which product a goal asks for, the server does not say."""
        return task_id

    def start(self, task_id: str) -> State:
        """Return the start of a session, called so that the official server takes this goal."""
        if not (task_id.isascii() and task_id.isdecimal()):
            raise ConfigurationError(f"webshop has no task {task_id[:40]!r}: use a goal's number")
        return State(f"fixed_{task_id}")

    async def locate(self, start: State, actions: Sequence[str]) -> Place | None:
        """Return the start; where actions lead, only the server's pages tell."""
        return None if actions else Place(start)

    async def show(self, state: State, action: str | None) -> View:
        """Do the action on the page, or go to the state's address."""
        seen = await (self._tab.open(state.address) if action is None else self._tab.act(action))
        try:
            state = parse_address(seen.address)
        except ConfigurationError:
            raise EnvironmentFailure(
                f"{self._origin} led to {seen.address[:200]}, which is no page of a shop: see that "
                "it is a WebShop server"
            ) from None
        view = _view(state, seen)
        self._note(view)
        return view

    def instruction(self, view: View) -> str:
        """Return what the pages of this session ask for."""
        told = self._instructions.get(view.state.session)
        if told is None:
            raise EnvironmentFailure(
                f"{self._origin} shows no instruction: is it a WebShop server?"
            )
        return told

    def price(self, view: View) -> float | None:
        """Return the price that the product's page showed, where it was seen."""
        return self._prices.get(view.state.asin)

    def median_price(self) -> float | None:
        """Return None: only the server knows its catalogue."""
        return None

    def score(self, state: State) -> float:
        """Fetch the page after the purchase, without the browser, and read the score."""
        import httpx

        try:
            # Like the browser: straight to the server and nowhere else.
            answer = httpx.get(self._origin + state.address, timeout=30.0, trust_env=False)
        except httpx.HTTPError as error:
            raise EnvironmentFailure(f"{self._origin} does not answer: {error}") from None
        found = _SCORE.search(answer.text)
        if found is None:
            raise EnvironmentFailure(
                f"{self._origin} shows no score after the purchase: one of ours is started with "
                "`armap serve shop --score`"
            )
        return float(found[1])

    async def close(self) -> None:
        """Close the tab."""
        await self._tab.close()

    def _note(self, view: View) -> None:
        texts = [node.text.strip() for node in view.nodes]
        for text, following in zip(texts, [*texts[1:], ""], strict=False):
            if text.startswith("Instruction:"):
                told = text.removeprefix("Instruction:").strip() or following
                self._instructions.setdefault(view.state.session, told)
            elif price := _PRICE.match(text):
                self._prices[view.state.asin] = max(map(float, filter(None, price.groups())))


def _view(state: State, seen: Seen) -> View:
    attachments = {} if seen.full_page is None else {"full_page": seen.full_page}
    return View(state, seen.nodes, seen.searchable, seen.image, attachments)
