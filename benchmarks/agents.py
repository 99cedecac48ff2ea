"""Agents that need no LLM, for candidates to pick from: careless shoppers and a wanderer."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

import typer

from armap_agents import Trajectory
from armap_agents.training.domain import Choose, domain
from armap_agents.training.domains import webshop_pages as pages

TOLD, SKIPPED = 0.5, 0.15
"""How often the careless shopper takes an option's value from the instruction, if it names one, and
how often none at all."""

_OPTIONS = re.compile(r" with [\w ]+: |, and price lower than ")
"""Where an instruction goes on to options and price, which are nothing to search for."""

Agent = Callable[[Trajectory, Random], Choose]
"""Begins an episode: what chooses its actions."""


def careless_shopper(opened: Trajectory, rng: Random) -> Choose:
    """Return a shopper for one episode, who searches for the product."""
    return shopper(opened, rng, _OPTIONS.split(opened.instruction)[0])


def verbatim_shopper(opened: Trajectory, rng: Random) -> Choose:
    """Return a shopper for one episode, who searches for all of the instruction."""
    return shopper(opened, rng, opened.instruction)


def shopper(opened: Trajectory, rng: Random, query: str) -> Choose:
    """Return a careless shopper with that query for one episode."""
    asked = opened.instruction.lower()

    async def choose(trajectory: Trajectory) -> str:
        page = pages.read(trajectory.last)
        if isinstance(page, pages.ResultsPage) and page.hits:
            return pages.opens(rng.choice(page.hits).asin)
        if isinstance(page, pages.ItemPage):
            clicked = set(trajectory.actions)
            groups = list(page.options.values())
            decided = [k for k, g in enumerate(groups) if clicked & {pages.picks(v) for v in g}]
            for values in groups[max(decided, default=-1) + 1 :]:
                if rng.random() < SKIPPED:
                    continue
                told = [value for value in values if value.lower() in asked]
                return pages.picks(rng.choice(told if told and rng.random() < TOLD else values))
            return pages.BUY
        return f"search[{query}]"

    return choose


def uniform(opened: Trajectory, rng: Random) -> Choose:
    """Return a chooser that draws from the listed actions."""

    async def choose(trajectory: Trajectory) -> str:
        return rng.choice(trajectory.last.actions or ())

    return choose


SHOPPERS = {"own": careless_shopper, "verbatim": verbatim_shopper}
"""The agents of WebShop."""


def agent_of(environment: str, name: str) -> Agent:
    """Return the agent of that name.

    Raises:
        typer.BadParameter: There is none in this environment.
    """
    if name == "uniform":
        return uniform
    if environment == "webshop" and name in SHOPPERS:
        return SHOPPERS[name]
    if name == "own":
        return domain(environment).intent
    raise typer.BadParameter(f"{environment} has no agent {name!r}", param_hint="--agent")
