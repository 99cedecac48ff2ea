"""What evaluation asks the shop beside the score: the search rank, and goals of one product."""

from __future__ import annotations

import pytest

from armap_agents import Trajectory, make_environment
from armap_agents.tools.webshop import WebShop
from armap_agents.tools.webshop.rank import NOT_BOUGHT, search_rank
from armap_agents.training.explore import extend, opening

pytest.importorskip("rapidfuzz")


async def shopping(*actions: str | int, observation: str = "text") -> Trajectory:
    """Act on the first test task; a number stands for the hit at that place of the page."""
    shop = make_environment("webshop", render=False, observation=observation)
    trajectory = await opening(shop, shop.tasks("test")[0])
    for action in actions:
        if isinstance(action, int):
            listed = trajectory.last.actions or ()
            action = [each for each in listed if each.startswith("click[e0")][action]
        trajectory = await extend(shop, trajectory, action)
    await shop.close()
    return trajectory


@pytest.mark.parametrize("observation", ["text", "text_rich"])
async def test_rank_is_the_place_among_the_results(observation: str) -> None:
    buy = "click[buy now]"
    search = "search[mug]"
    for place in (0, 3, 9):
        bought = await shopping(search, place, buy, observation=observation)
        assert search_rank(bought) == -place
    later = await shopping(search, "click[next >]", 2, buy, observation=observation)
    assert search_rank(later) == -12
    second = await shopping(search, 5, "click[< prev]", 1, buy, observation=observation)
    assert search_rank(second) == -1


async def test_who_buys_nothing_is_last() -> None:
    assert search_rank(await shopping()) == NOT_BOUGHT
    assert search_rank(await shopping("search[mug]", 0)) == NOT_BOUGHT
    assert search_rank(await shopping("click[buy now]")) == NOT_BOUGHT


def test_goals_of_one_product_are_a_group() -> None:
    shop = WebShop(render=False)
    tasks = shop.tasks("test")
    groups = {task.id: shop.group(task) for task in tasks}
    assert 1 < len(set(groups.values())) < len(tasks)
    assert groups[tasks[0].id] in shop._shown.shop.goals.asins("test")  # type: ignore[attr-defined]
