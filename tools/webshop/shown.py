"""Who shows a session's pages, and the first of those: the engine, which needs no browser.

`browsing` has the others, a browser on our own site and one on somebody else's. All answer the same
questions, so that the environment does not know which it asks: what tasks there are, where actions
lead, what is shown at a state, what a purchase earned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from armap_agents.tools.webshop.goals import Kind
from armap_agents.tools.webshop.pages import nodes, targets
from armap_agents.tools.webshop.session import Place, View
from armap_agents.tools.webshop.shop import Shop, open_shop
from armap_agents.tools.webshop.state import State
from armap_agents.trajectory import Task

MAX_STEPS = 10
"""Actions of an episode, as ARMAP (arXiv 2502.12130) counts them."""

LISTED_WITH_WORDS = 20_000
"""Up to so many tasks are listed with their instructions: wording a goal takes some 20 µs."""


class Shown(Protocol):
    """A shop as the environment asks it."""

    @property
    def alive(self) -> bool:
        """False once a process behind it is gone."""
        ...

    def tasks(self, split: str) -> list[Task]:
        """List a split's tasks; the id is the goal's index in the official order."""
        ...

    def product(self, task_id: str) -> str:
        """Return which product a task asks for, for evaluation alone; else the task's id."""
        ...

    def start(self, task_id: str) -> State:
        """Return where a task's session begins."""
        ...

    async def locate(self, start: State, actions: Sequence[str]) -> Place | None:
        """Return where actions lead, without showing it; None where only going there tells.

        Raises:
            ArmapError: There is no such session.
        """
        ...

    async def show(self, state: State, action: str | None) -> View:
        """Return what is shown at `state`.

        Args:
            state: Where to be.
            action: What leads there from what was shown last; None goes there directly.
        """
        ...

    def instruction(self, view: View) -> str:
        """Return what the session's shopper is asked to buy."""
        ...

    def price(self, view: View) -> float | None:
        """Return the highest price shown of the product at hand, US dollars."""
        ...

    def median_price(self) -> float | None:
        """Return the median price of everything for sale, where it is known."""
        ...

    def score(self, state: State) -> float:
        """Return what a purchase earned."""
        ...

    async def close(self) -> None:
        """Let go of what was opened; safe to call twice."""
        ...


class Engine:
    """Shows a shop's pages without a browser; see `Shown` for the methods' meaning.

    Args:
        data: See `open_shop`, as for the next three.
        goals: Which goals sessions have.
        seed: Seeds the draw of prices and price limits.
        nouns: The file of a table of title nouns.
        official_done: Whether the page after a purchase tells the score.
    """

    def __init__(
        self, data: str | None, goals: Kind, seed: int, nouns: str | None, official_done: bool
    ) -> None:
        self._options = (data, goals, seed, nouns)
        self._official_done = official_done

    @property
    def alive(self) -> bool:
        """Always True: there is no process."""
        return True

    @property
    def shop(self) -> Shop:
        """The shop; to open it reads files."""
        return open_shop(*self._options)

    def tasks(self, split: str) -> list[Task]:
        """List a split's tasks, with their instructions unless there are very many."""
        return list(_tasks(self.shop, split))

    def product(self, task_id: str) -> str:
        """Return the ASIN of the task's goal."""
        return self.shop.goal(task_id).asin

    def start(self, task_id: str) -> State:
        """Return where the session begins that is called as the task is."""
        return State(task_id)

    async def locate(self, start: State, actions: Sequence[str]) -> Place | None:
        """Return where actions lead."""
        return await asyncio.to_thread(self._locate, start, actions)

    async def show(self, state: State, action: str | None) -> View:
        """Return what is shown at `state`."""
        return await asyncio.to_thread(self._view, state)

    def instruction(self, view: View) -> str:
        """Return what the session's shopper is asked to buy."""
        return self.shop.goal(view.state.session).instruction

    def price(self, view: View) -> float | None:
        """Return the highest price shown of the product at hand, US dollars."""
        asin = view.state.asin
        return max(self.shop.product(asin).prices) if asin else None

    def median_price(self) -> float | None:
        """Return the median price of the catalogue."""
        return self.shop.median_price

    def score(self, state: State) -> float:
        """Return what a purchase earned."""
        return self.shop.reward(state).value

    async def close(self) -> None:
        """Let go of nothing: the shop is the whole process's."""

    def _locate(self, start: State, actions: Sequence[str]) -> Place:
        shop, place = self.shop, Place(start)
        shop.goal(start.session)
        for action in actions:
            place = place.after(action, targets(nodes(shop.page(place.state))))
        return place

    def _view(self, state: State) -> View:
        return View.of(self.shop.page(state, scored=self._official_done))


@lru_cache(maxsize=16)
def _tasks(shop: Shop, split: str) -> tuple[Task, ...]:
    indices = shop.goals.split(split)
    worded = len(indices) <= LISTED_WITH_WORDS
    return tuple(
        Task(
            id=str(k),
            environment="webshop",
            split=split,
            instruction=shop.goals[k].instruction if worded else None,
            max_steps=MAX_STEPS,
        )
        for k in indices
    )
