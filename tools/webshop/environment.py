"""WebShop as an Environment, on the engine alone or as a real site in a real browser.

A session is known by its state, which is an address: it is restored by going there, however long
the way was, and where an action leads is worked out from the state. Engine and browser only show
it. With ``address=…`` the browser drives a WebShop server of somebody else, whose addresses are
taken as they come. After a purchase nothing is fetched: the official page would name score and
goal, so what the agent sees then is made of its own doings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from armap_agents.environment import Guide, StepResult
from armap_agents.errors import ConfigurationError, EnvironmentFailure
from armap_agents.tools.webshop.guide import guide
from armap_agents.tools.webshop.pages import Page
from armap_agents.tools.webshop.rank import search_rank
from armap_agents.tools.webshop.session import ObservationMode, Place, View, observation
from armap_agents.tools.webshop.state import State
from armap_agents.trajectory import Observation, Task, Trajectory

if TYPE_CHECKING:
    from armap_agents.tools.webshop.goals import Kind
    from armap_agents.tools.webshop.shown import Shown

_PACKAGES = ("rapidfuzz", "regex")
_SITE_PACKAGES = ("jinja2", "playwright", "starlette", "uvicorn")

REMEMBERED = 1000
"""Prefixes of a task whose places are kept, so that a server need not be led there again."""

_LIMIT = re.compile(r"price lower than (\d+(?:\.\d+)?) dollars")


def require_packages(*, site: bool) -> None:
    """Make sure that the extra is installed, with what showing real pages needs if `site`.

    Raises:
        ConfigurationError: Something of it is missing.
    """
    needed = _PACKAGES + (_SITE_PACKAGES if site else ())
    if any(find_spec(package) is None for package in needed):
        raise ConfigurationError(
            'webshop needs more packages: run `pip install "armap-agents[webshop]"`'
        )


class WebShop:
    """The WebShop environment; see `armap_agents.Environment` for the members' meaning.

    `Observation.actions` are the official clickables in their order, ``search`` on the start page
    left out: the official environment lists it and does nothing when it is clicked.

    Args:
        data: The folder of WebShop's official files, or one items file in it; None takes the
            embedded catalogue.
        goals: ``synthetic`` or ``human``.
        render: Whether a browser shows real pages and takes pictures; else the engine does.
        observation: The official ``text`` or ``text_rich``.
        official_done: Whether the page after a purchase is the official one, which prints the
            score: for comparison with the official environment, never for agents.
        seed: Seeds the draw of prices and price limits.
        nouns: The file of a table of title nouns, for the reward.
        address: ``http://…`` of a WebShop server to drive in place of a shop of our own.

    Raises:
        ConfigurationError: An option is none of these.
    """

    name = "webshop"
    restorable = True
    selectors: ClassVar[Mapping[str, Callable[[Trajectory], float]]] = {"search_rank": search_rank}

    def __init__(
        self,
        data: str | None = None,
        goals: Kind = "synthetic",
        render: bool = True,
        observation: ObservationMode = "text",
        official_done: bool = False,
        seed: int = 0,
        nouns: str | None = None,
        address: str | None = None,
    ) -> None:
        _check("goals", goals, ("synthetic", "human"))
        _check("observation", observation, get_args(ObservationMode))
        _check("render", render, (True, False))
        _check("official_done", official_done, (True, False))
        if type(seed) is not int:  # a bool is an int too
            raise ConfigurationError(f"webshop does not take seed={seed!r}: use a whole number")
        if address is not None and not render:
            raise ConfigurationError("a server is read in a browser: leave render=false out")
        self.pool_size = 4 if render else 64
        self.instruction = ""
        """What the shopper is asked to buy, after reset."""
        self._options = (None if data is None else str(data), goals, seed, nouns, official_done)
        self._render = render
        self._address = address
        self._mode: ObservationMode = observation
        self._official_done = official_done
        self._task_id = ""
        self._actions: tuple[str, ...] = ()
        self._places: dict[tuple[str, ...], Place] = {}
        self._at: tuple[Place, View] | None = None
        self._seen = Observation("")

    @property
    def guide(self) -> Guide:
        """The rules, and worked examples in a shop of invented products."""
        return guide(self._mode)

    @property
    def alive(self) -> bool:
        """False once the browser is gone; one is started when it is needed."""
        return "_shown" not in self.__dict__ or self._shown.alive

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._current()[0].state

    def tasks(self, split: str) -> list[Task]:
        """List a split's tasks in the official order; the id is the goal's index."""
        return self._shown.tasks(split)

    async def reset(self, task: Task) -> Observation:
        """Begin a task's session on its start page."""
        return await self.restore(task, ())

    async def step(self, action: str) -> StepResult:
        """Take ``search[…]`` or ``click[…]``; what does nothing shows the same page again."""
        place, view = self._current()
        after = place.after(action, view.clickable)
        actions = (*self._actions, action)
        if after is place:
            self._actions = actions
        else:
            await self._arrive(after, action, actions)
        return StepResult(self._seen, done=after.state.kind == "done")

    async def restore(self, task: Task, actions: Sequence[str]) -> Observation:
        """Go to where `actions` lead, in one navigation; a server is led there where it must be."""
        self._at = None
        if task.id != self._task_id:
            self._task_id, self._places = task.id, {}
        start = self._shown.start(task.id)
        done = tuple(actions)
        place = self._places.get(done) or await self._shown.locate(start, done)
        if place is not None:
            await self._arrive(place, None, done)
            return self._seen
        await self._arrive(Place(start), None, ())
        for action in done:
            await self.step(action)
        return self._seen

    def group(self, task: Task) -> str:
        """The product asked for: goals of one product are no independent evidence."""
        return self._shown.product(task.id)

    def true_score(self) -> float:
        """The official reward of the purchase, 0.0 where nothing was bought; may ask a server."""
        return self._shown.score(self.state) if self.state.kind == "done" else 0.0

    async def close(self) -> None:
        """Let go of the browser's tab."""
        self._at = None
        if "_shown" in self.__dict__:
            await self._shown.close()

    @cached_property
    def _shown(self) -> Shown:
        require_packages(site=self._render)
        if not self._render:
            from armap_agents.tools.webshop.shown import Engine

            return Engine(*self._options)
        from armap_agents.tools.webshop.browsing import OtherServer, OwnSite

        return OwnSite(*self._options) if self._address is None else OtherServer(self._address)

    def _current(self) -> tuple[Place, View]:
        if self._at is None:
            raise EnvironmentFailure("webshop has no session: call reset(task) first")
        return self._at

    async def _arrive(self, place: Place, action: str | None, actions: tuple[str, ...]) -> None:
        """Look at where `actions` lead, of which the last, `action`, was not yet taken."""
        self._at = None  # until it is known, should this fail
        if place.state.kind == "done" and not self._official_done:
            view = View.of(Page(place.state, instruction=""))
        else:
            view = await self._shown.show(place.state, action)
        place = place.at(view.state)
        self.instruction = self._shown.instruction(view)
        self._seen = observation(view, place.visited, self._mode, self._facts(view))
        if len(self._places) >= REMEMBERED:
            self._places.clear()
        self._actions, self._places[actions] = actions, place
        self._at = place, view

    def _facts(self, view: View) -> dict[str, Any]:
        price = self._shown.price(view)
        if price is None:
            return {}
        named = _LIMIT.findall(self.instruction)
        limit = float(named[-1]) if named else self._shown.median_price()
        return {} if limit is None else {"price": price, "price_limit": limit}


def _check(option: str, value: object, allowed: Sequence[object]) -> None:
    if value not in allowed:
        ways = " or ".join(str(way).lower() for way in allowed)
        raise ConfigurationError(f"webshop does not take {option}={value!r}: use {ways}")
