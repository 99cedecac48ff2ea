"""The parts of generation one by one: execution of what was changed, kinds, choosers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from toy_shop import ToyShop

from armap_agents.errors import EnvironmentFailure
from armap_agents.training.corrupt import by_turns, execute, is_possible
from armap_agents.training.domain import Corruption
from armap_agents.training.explore import LeastTried, finish, kind_of, opening, replay
from armap_agents.trajectory import Observation, Trajectory


async def beginning(shop: ToyShop | None = None) -> Trajectory:
    shop = shop or ToyShop()
    return await opening(shop, shop.tasks("train")[0])


async def played(*actions: str) -> Trajectory:
    shop = ToyShop()
    start = await beginning(shop)

    async def choose(trajectory: Trajectory) -> str:
        return actions[len(trajectory)]

    return await finish(shop, start, choose)


async def test_execute_leaves_out_what_is_impossible_and_fills_up_what_is_open() -> None:
    positive = await played("take egg", "take drum", "pay")
    rng = Random(0)
    twice = await execute(ToyShop(), positive, ("take egg", "take egg", "pay"), rng)
    assert twice.actions == ["take egg", "pay"]
    longer = await execute(ToyShop(), positive, ("take egg", "take egg", "look"), rng)
    assert longer.actions[:2] == ["take egg", "look"]
    assert len(longer) == 3
    short = await execute(ToyShop(), positive, ("take egg",), rng)
    assert short.actions == ["take egg"], "what stops early is not gone on with"
    limit = await execute(ToyShop(), positive, ("look",) * 20, rng)
    assert len(limit) == 8


async def test_a_prefix_that_is_restored_differently_is_a_failure() -> None:
    positive = await played("take egg", "pay")
    with pytest.raises(EnvironmentFailure, match="not deterministic"):
        await replay(ToyShop(), replace(positive, observation=Observation("elsewhere")), 0)


def test_what_is_possible_is_listed_fits_a_template_or_is_unknown() -> None:
    page = Observation("x", ("click[a]",), ("search[{query}]",))
    assert is_possible("click[a]", page)
    assert is_possible(f"search[{'long ' * 40}, (50% off]", page)
    assert not is_possible("click[b]", page)
    assert not is_possible("search[]", page)
    assert is_possible("anything", Observation("x"))
    assert not is_possible("anything", Observation("x", ()))


def test_kinds_take_turns() -> None:
    kinds = [Corruption(kind, (str(k),)) for k, kind in enumerate("aaabbc")]
    assert [c.kind for c in by_turns(kinds)] == ["a", "b", "c", "a", "b", "a"]
    assert {c.actions for c in by_turns(kinds)} == {c.actions for c in kinds}


async def test_of_long_lists_the_verb_is_drawn_first() -> None:
    start = await beginning()
    listed = (*(f"open door {k}" for k in range(400)), "wait", "focus[x]")
    start = replace(start, observation=Observation("x", listed))
    tried, drawn = LeastTried(), Counter[str]()

    async def never(_: Trajectory) -> str:
        raise AssertionError

    choose = tried.chooser(Random(0), never)
    for _ in range(300):
        drawn[kind_of(await choose(start))] += 1
    assert set(drawn) == {"open", "wait", "focus"}
    assert min(drawn.values()) > 60


async def test_where_nothing_is_listed_the_intent_fills_in() -> None:
    start = replace(await beginning(), observation=Observation("x", (), ("search[{query}]",)))

    async def search(_: Trajectory) -> str:
        return "search[eggs]"

    assert await LeastTried().chooser(Random(0), search)(start) == "search[eggs]"
