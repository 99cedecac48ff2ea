"""WebShop as an environment: the recorded episodes, restoring, splits, quarantine, its tools."""

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from official_shop import DATA, cache

from armap_agents import (
    FunctionReward,
    make_environment,
    register_reward,
    resources,
)
from armap_agents.environment import find_task
from armap_agents.errors import ConfigurationError, EnvironmentFailure
from armap_agents.evaluation.truth import Environments, judged
from armap_agents.graphs import best_of_n
from armap_agents.policy.actions import read_action
from armap_agents.pool import EnvironmentPool
from armap_agents.testing import ScriptedRequest, scripted_policy
from armap_agents.tools.webshop import WebShop, environment
from armap_agents.tools.webshop.goals import SPLITS
from armap_agents.tools.webshop.guide import guide
from armap_agents.tools.webshop.shop import Shop, open_shop
from armap_agents.tools.webshop.state import State
from armap_agents.tools.webshop.tool import webshop_tools
from armap_agents.trajectory import Observation, Status, Step, Task, Trajectory

__all__ = ["cache"]  # a fixture

GOLDEN = DATA / "golden"
NOUNS = GOLDEN / "title_nouns_en_core_web_sm_3.8.0.json"

golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"{GOLDEN}: recorded episodes not here")


@pytest.fixture
async def shop() -> AsyncIterator[WebShop]:
    environment = WebShop(render=False)
    yield environment
    await environment.close()


def task(number: int, **options: Any) -> Task:
    return Task(str(number), "webshop", **options)


async def walk(
    shop: WebShop, seen: Observation, steps: int, draw: random.Random
) -> list[tuple[str, Observation]]:
    """Act at random; return the actions and what each showed."""
    walked: list[tuple[str, Observation]] = []
    for _ in range(steps):
        ways = [way for way in seen.actions or () if way != "click[back to search]"]
        if seen.templates or not ways or draw.random() < 0.05:
            words = shop.instruction.split()
            action = f"search[{' '.join(draw.sample(words, min(3, len(words))))}]"
        else:
            action = draw.choice(ways)
        result = await shop.step(action)
        seen = result.observation
        walked.append((action, seen))
        if result.done:
            break
    return walked


def recorded() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / "traces.jsonl").read_text("utf-8").splitlines()]


def official(**options: Any) -> WebShop:
    made = make_environment("webshop", data=str(DATA), nouns=str(NOUNS), **options)
    assert isinstance(made, WebShop)
    return made


@golden
@pytest.mark.parametrize("mode", ["text", "text_rich"])
async def test_the_recorded_episodes_come_out_the_same(mode: str) -> None:
    shop = official(render=False, observation=mode, official_done=True)
    await check_recorded(shop, "obs" if mode == "text" else "rich")


@golden
@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("mode", ["text", "text_rich"])
async def test_the_recorded_episodes_come_out_the_same_in_a_browser(mode: str) -> None:
    shop = official(render=True, observation=mode, official_done=True)
    try:
        await check_recorded(shop, "obs" if mode == "text" else "rich")
    finally:
        await shop.close()


async def check_recorded(shop: WebShop, key: str) -> None:
    tasks = shop.tasks("all")
    assert tasks[2652].id == "2652"
    for episode in recorded():
        seen = await shop.reset(tasks[episode["goal_idx"]])
        done = False
        for k, step in enumerate(episode["steps"]):
            if k:
                result = await shop.step(step["action"])
                seen, done = result.observation, result.done
            if key in step:
                assert seen.text == step[key]
            clickables = [text for text in step["avail"]["clickables"] if text != "search"]
            assert seen.actions == tuple(f"click[{text}]" for text in clickables)
            assert bool(seen.templates) == step["avail"]["has_search_bar"]
            assert shop.state.path == step["url"].removeprefix("http://127.0.0.1:3000")
            assert done == step.get("done", False)
            assert shop.true_score() == step.get("reward", 0.0)


@golden
async def test_evaluation_gives_the_recorded_rewards() -> None:
    shop = official(render=False)
    environments = Environments(lambda: official(render=False), 2)
    for episode in recorded()[:20]:
        chosen = task(episode["goal_idx"])
        seen = await shop.reset(chosen)
        trajectory = Trajectory(chosen, shop.instruction, seen)
        for step in episode["steps"][1:]:
            result = await shop.step(step["action"])
            trajectory = trajectory.extended(Step(step["action"], result.observation, result.done))
        (verdict,) = await judged(environments, chosen, [{"trajectory": trajectory.to_dict()}])
        assert verdict.error is None
        assert verdict.true_score == episode["steps"][-1].get("reward", 0.0)
    await environments.aclose()


async def test_splits_are_the_official_ones(shop: WebShop) -> None:
    ids = {split: [int(t.id) for t in shop.tasks(split)] for split in (*SPLITS, "train-pool")}
    assert ids["all"] == list(range(len(ids["all"])))
    assert ids["test"] == list(range(500))
    assert ids["dev"] == list(range(500, 1500))
    assert ids["train"] == list(range(1500, len(ids["all"])))
    assert ids["std"] == list(range(200))
    goals = open_shop().goals
    held_out = {goals[k].asin for k in ids["test"] + ids["dev"]}
    assert ids["train-pool"]
    assert not held_out & {goals[k].asin for k in ids["train-pool"]}
    assert set(ids["train-pool"]) < set(ids["train"])


async def test_tasks_tell_what_the_agent_may_see_alone(shop: WebShop) -> None:
    listed = shop.tasks("std")[17]
    assert listed == Task("17", "webshop", "std", listed.instruction, listed.max_steps)
    seen = await shop.reset(task(17))
    assert shop.instruction == listed.instruction
    assert listed.instruction in seen.text
    assert find_task(shop, "17", ["test"]).instruction == listed.instruction


async def test_a_purchase_from_beginning_to_end(shop: WebShop) -> None:
    asked = open_shop().goal("1500")
    seen = await shop.reset(task(1500))
    assert (seen.actions, seen.templates, seen.facts) == ((), ("search[{query}]",), {})
    result = await shop.step(f"search[{asked.name}]")
    opened = f"click[{asked.asin.lower()}]"
    assert opened in (result.observation.actions or ())
    assert result.observation.templates == ()
    await shop.step(opened)
    assert shop.true_score() == 0.0
    for value in dict(asked.options).values():
        result = await shop.step(f"click[{value}]")
        assert not result.done
    result = await shop.step("click[Buy Now]")
    assert result.done
    assert (result.observation.actions, result.observation.templates) == ((), ())
    assert shop.true_score() == 1.0
    assert await shop.step("search[more]") == result


async def test_what_does_nothing_shows_the_same_again(shop: WebShop) -> None:
    seen = await shop.reset(task(3))
    for action in ("click[search]", "click[buy now]", "hello", "search[]"):
        result = await shop.step(action)
        assert (result.observation, result.done) == (seen, False)


@pytest.mark.parametrize("mode", ["text", "text_rich"])
async def test_restoring_shows_one_page_and_the_same(
    mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from armap_agents.tools.webshop.shown import Engine

    looks = []
    show = Engine.show

    async def counted(self: Engine, state: State, action: str | None) -> Any:
        looks.append(state)
        return await show(self, state, action)

    monkeypatch.setattr(Engine, "show", counted)
    shop, fresh = (WebShop(render=False, observation=mode) for _ in range(2))
    draw = random.Random(4)
    for number in range(1600, 1615):
        opening = await shop.reset(task(number))
        walked = await walk(shop, opening, 12, draw)
        actions = [action for action, _ in walked]
        for k in (0, 1, len(actions) // 2, len(actions)):
            expected = walked[k - 1][1] if k else opening
            looks.clear()
            other = fresh if k % 2 else WebShop(render=False, observation=mode)
            assert await other.restore(task(number), actions[:k]) == expected
            assert len(looks) <= 1
            assert other.true_score() == (shop.true_score() if k == len(actions) else 0.0)
            assert other.instruction == shop.instruction


async def test_a_random_search_is_drawn_once_for_session_and_words(shop: WebShop) -> None:
    await shop.reset(task(5))
    first = (await shop.step("search[<r> anything]")).observation
    second = (await shop.step("click[next >]")).observation
    assert not set(first.actions or ()) & {a for a in second.actions or () if len(a) == 17}
    restored = WebShop(render=False)
    assert await restored.restore(task(5), ["search[<r> anything]"]) == first
    assert await restored.restore(task(6), ["search[<r> anything]"]) != first


async def test_the_official_marks_search_by_category_query_and_attribute(shop: WebShop) -> None:
    catalogue = open_shop().catalogue
    product = open_shop().product(open_shop().goal("1500").asin)
    await shop.reset(task(5))
    for mark, wanted, of in (
        ("<c>", product.category, lambda p: p.category == product.category),
        ("<q>", product.query, lambda p: p.query == product.query),
        ("<a>", product.attributes[0], lambda p: product.attributes[0] in p.attributes),
    ):
        seen = (await shop.step(f"search[{mark} {wanted}]")).observation
        found = [p.asin for p in catalogue if of(p)]
        assert f"Page 1 (Total results: {len(found)})" in seen.text
        shown = [way[6:-1].upper() for way in seen.actions or () if len(way) == 17]
        assert shown == found[:10]
    nothing = (await shop.step("search[<c>]")).observation
    assert "(Total results: 0)" in nothing.text


async def test_price_and_limit_are_told_from_the_product_on() -> None:
    shop = WebShop(render=False)
    asked = open_shop().goal("1500")
    await shop.reset(task(1500))
    facts = [
        (await shop.step(action)).observation.facts
        for action in (
            f"search[{asked.name}]",
            f"click[{asked.asin}]",
            "click[features]",
            "click[< prev]",
            "click[buy now]",
        )
    ]
    price = max(open_shop().product(asked.asin).prices)
    assert facts[0] == {}
    assert facts[1:] == [{"price": price, "price_limit": asked.price_upper}] * 4


async def test_the_limit_is_the_median_where_the_instruction_names_none(
    shop: WebShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_LIMIT", environment.re.compile("(?!)"))
    asked = open_shop().goal("1500")
    actions = [f"search[{asked.name}]", f"click[{asked.asin}]"]
    facts = (await shop.restore(task(1500), actions)).facts
    prices = sorted(open_shop().prices.tolist())
    assert prices[0] < facts["price_limit"] < prices[-1]
    assert sum(price < facts["price_limit"] for price in prices) == pytest.approx(
        len(prices) / 2, abs=5
    )


async def test_many_at_once_share_a_shop(tmp_path: Path) -> None:
    environments = [WebShop(render=False) for _ in range(8)]
    seen = await asyncio.gather(*(e.reset(task(k)) for k, e in enumerate(environments)))
    assert len({observation.text for observation in seen}) == 8
    assert open_shop() is open_shop()


async def test_the_pool_restores_it() -> None:
    pool = EnvironmentPool(lambda: WebShop(render=False))
    chosen = task(1500)
    async with pool.lease(chosen) as lease:
        trajectory = Trajectory(chosen, lease.instruction, lease.opening)
        for action in ("search[speaker]", "click[next >]"):
            result = await lease.step(action)
            trajectory = trajectory.extended(Step(action, result.observation, result.done))
    async with pool.lease(chosen, trajectory.prefix(1)) as lease:
        assert lease.caught_up == 0
        assert (await lease.step("click[next >]")).observation == trajectory.last
    await pool.aclose()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"goals": "many"}, "goals='many': use synthetic or human"),
        ({"observation": "html"}, "observation='html': use text or text_rich"),
        ({"render": "maybe"}, "render='maybe': use true or false"),
        ({"render": False, "address": "http://127.0.0.1:1"}, "leave render=false out"),
    ],
)
def test_wrong_options_say_what_is_right(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as raised:
        make_environment("webshop", **options)
    assert "\n" not in str(raised.value)


async def test_what_is_missing_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="put WebShop's official files there"):
        WebShop(data=str(tmp_path), render=False).tasks("test")
    with pytest.raises(ConfigurationError, match="correct the path"):
        WebShop(nouns=str(tmp_path / "nouns.json"), render=False).tasks("test")
    with pytest.raises(ConfigurationError, match="no split 'exam'"):
        WebShop(render=False).tasks("exam")
    for number in ("99999", "-1", "1.5", "nobody", "٣"):
        with pytest.raises(ConfigurationError, match=r"no goal .*: use one from 0 to"):
            await WebShop(render=False).reset(Task(number, "webshop"))
    with pytest.raises(EnvironmentFailure, match="call reset"):
        await WebShop(render=False).step("search[hat]")
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install \"armap-agents\[webshop\]\""):
        WebShop(render=False).tasks("test")


def test_making_one_imports_nothing_heavy_and_starts_nothing() -> None:
    code = (
        "import sys, threading\n"
        "from armap_agents import make_environment\n"
        "env = make_environment('webshop')\n"
        "assert env.guide.examples and env.pool_size == 4\n"
        "heavy = {'numpy', 'playwright', 'uvicorn', 'starlette', 'jinja2', 'rapidfuzz', 'regex'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("mode", ["text", "text_rich"])
def test_the_worked_examples_are_valid_and_belong_to_no_shop(mode: Any) -> None:
    assert guide(mode) is WebShop(render=False, observation=mode).guide
    embedded = open_shop()
    instructions = {embedded.goals[k].instruction for k in range(len(embedded.goals))}
    for example in guide(mode).examples:
        assert example.status is Status.ENDED
        assert example.instruction not in instructions
        seen = example.observation
        for step in example.steps:
            assert read_action(step.action, seen) == step.action
            assert step.thought
            seen = step.observation
            for way in seen.actions or ():
                assert embedded.catalogue.position(way[6:-1].upper()) is None
        assert example.actions[-1] == "click[buy now]"


async def test_agents_shop_with_two_tools(shop: WebShop) -> None:
    search, click = webshop_tools(shop)
    assert (search.name, click.name) == ("search", "click")
    assert "call reset" in await search.ainvoke({"query": "speaker"})
    await shop.reset(task(1500))
    asked = open_shop().goal("1500")
    answer = await search.ainvoke({"query": asked.name})
    assert "You can click: back to search; next >; " in answer
    answer = await click.ainvoke({"target": asked.asin})
    assert "Buy Now" in answer
    assert "; buy now" in answer
    answer = await click.ainvoke({"target": "back to search"})
    assert answer.endswith("You can search.")
    await search.ainvoke({"query": asked.name})
    await click.ainvoke({"target": asked.asin})
    answer = await click.ainvoke({"target": "buy now"})
    assert answer.endswith("nothing is left to do.")


# What must reach nobody stands in every field of the goal and its product.
SENTINEL = "sentinel"
SCORE = 0.6180339887
TARGET = "SENTINEL01"


def sentinel_files(folder: Path) -> None:
    def record(asin: str, name: str, hidden: str) -> dict[str, Any]:
        return {
            "asin": asin,
            "name": name,
            "full_description": name,
            "small_description": [name],
            "pricing": "$20.00",
            "customization_options": {"color": [{"value": f"{name} {k}"} for k in range(3)]},
            "category": hidden,
            "query": hidden,
            "product_category": f"{hidden} › {hidden}",
            "images": [""],
        }

    records = [record(f"ORDINARY{k:02}", f"warm hat {k}", "garment") for k in range(12)]
    target = record(TARGET, "sentinel", "sentinel hidden")
    # No word that a search could find it by.
    records.insert(5, target | {"customization_options": {"sentinel": [{"value": "sentinel"}]}})
    known = {"attributes": ["sentinel attribute"], "instruction": "", "instruction_attributes": []}
    told = {
        "instruction": "I need a warm hat.",
        "instruction_attributes": ["sentinel attribute"],
        "instruction_options": ["sentinel option"],
    }
    for name, content in {
        "items_shuffle": records,
        "items_ins_v2": {item["asin"]: known for item in records},
        "items_human_ins": {TARGET: [told]},
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")


@dataclass(frozen=True)
class Telling:
    """A reward that can be recognised."""

    value: float = SCORE


def hat_buyer(request: ScriptedRequest) -> str:
    """Search for hats, buy half of the products looked at, do anything that is valid elsewhere."""
    buys = [way for way in request.choices or () if way.startswith("click[buy")]
    return buys[0] if buys and request.random.random() < 0.5 else "search[warm hat]"


async def test_score_and_goal_reach_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sentinel_files(tmp_path)
    options = {"data": str(tmp_path), "goals": "human", "render": False}
    asked = []
    monkeypatch.setattr(Shop, "reward", lambda self, state: asked.append(state) or Telling())
    register_reward("length", lambda: FunctionReward(lambda t: len(t.last.text), "length"))
    listed = WebShop(**options).tasks("all")  # type: ignore[arg-type]
    assert [entry.id for entry in listed] == ["0"]
    folder = tmp_path / "runs"
    async with scripted_policy(hat_buyer) as server, resources(folder):
        out = await best_of_n.graph.ainvoke(
            {"task": listed[0].to_dict()},
            context={
                "policy_url": server.url,
                "policy_model": "scripted",
                "reward": "length",
                "n": 12,
                "environment_options": options,
            },
        )
        sent = [request.body for request in server.requests]
    assert asked == []
    bought = [c for c in out["candidates"] if c["trajectory"]["status"] == "ended"]
    assert bought
    written = "".join(path.read_text("utf-8") for path in folder.rglob("*") if path.is_file())
    everything = json.dumps([listed[0].to_dict(), out, sent]) + written
    assert "ordinary" in everything.lower()
    assert SENTINEL not in everything.lower()
    assert str(SCORE) not in everything
    await check_the_score_can_be_found(options, bought[0]["trajectory"])


async def check_the_score_can_be_found(options: dict[str, Any], bought: dict[str, Any]) -> None:
    actions = [step["action"] for step in bought["steps"]]
    quarantined, shown = WebShop(**options), WebShop(**options, official_done=True)
    seen = await quarantined.restore(task(0), actions)
    page = await shown.restore(task(0), actions)
    assert page.text.startswith(seen.text)
    assert str(SCORE) in page.text
    assert quarantined.true_score() == SCORE


@pytest.fixture
async def browsed() -> AsyncIterator[WebShop]:
    environment = WebShop(observation="text_rich")
    yield environment
    await environment.close()


@pytest.mark.slow
@pytest.mark.browser
async def test_a_browser_shows_what_the_engine_shows(browsed: WebShop) -> None:
    engine = WebShop(render=False, observation="text_rich")
    draw = random.Random(11)
    for number in range(1700, 1704):
        opening = await engine.reset(task(number))
        walked = await walk(engine, opening, 10, draw)
        assert same(await browsed.reset(task(number)), opening)
        for action, expected in walked:
            assert same((await browsed.step(action)).observation, expected)
        middle = len(walked) // 2
        actions = [action for action, _ in walked]
        assert same(await browsed.restore(task(number), actions[:middle]), walked[middle - 1][1])
        assert browsed.true_score() == 0.0


def same(rendered: Observation, plain: Observation) -> bool:
    """Whether two observations are equal up to the pictures, which a page in the browser has."""
    bought = plain.actions == () and not plain.templates
    assert (rendered.image is None) == bought
    assert set(rendered.attachments) == (set() if bought else {"full_page"})
    alike = (rendered.text, rendered.actions, rendered.templates, rendered.facts)
    return alike == (plain.text, plain.actions, plain.templates, plain.facts)


@pytest.mark.slow
@pytest.mark.browser
async def test_another_server_is_driven_by_its_pages_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from armap_agents.tools.webshop.browser import Tab
    from armap_agents.tools.webshop.site.serve import open_site

    def fetched(*_: Any) -> None:
        raise AssertionError("a page was fetched after the purchase")

    site = open_site(open_shop(), official_done=True)
    driven = WebShop(address=site.origin)
    asked = open_shop().goal("150")
    try:
        assert [t.id for t in driven.tasks("std")] == [str(k) for k in range(200)]
        with pytest.raises(ConfigurationError, match="use test, dev or std"):
            driven.tasks("train")
        await driven.reset(task(150))
        assert driven.instruction == asked.instruction
        value = next(iter(dict(asked.options).values()))
        actions = [f"search[{asked.name}]", f"click[{asked.asin}]", f"click[{value}]"]
        seen = [(await driven.step(action)).observation for action in actions]
        price = max(open_shop().product(asked.asin).prices)
        assert seen[-1].facts == {"price": price, "price_limit": asked.price_upper}
        with monkeypatch.context() as patch:
            for way in ("act", "open"):
                patch.setattr(Tab, way, fetched)
            result = await driven.step("click[buy now]")
        assert result.done
        assert "Target" not in result.observation.text
        state = State("150", "done", asin=asked.asin, options=driven.state.options)
        assert driven.true_score() == open_shop().reward(state).value
        for restored in (driven, WebShop(address=site.origin)):
            again = await restored.restore(task(150), actions)
            assert (again.text, again.actions) == (seen[-1].text, seen[-1].actions)
            await restored.close()
    finally:
        await driven.close()
        site.close()


async def test_tool_calls_made_at_once_are_done_one_after_the_other() -> None:
    world = WebShop(render=False)
    await world.reset(world.tasks("train")[0])
    search, click = webshop_tools(world)
    await search.ainvoke({"query": "coffee mug"})
    calls = [click.ainvoke({"target": target}) for target in ("next >", "next >", "< prev")]
    said = await asyncio.gather(*calls)
    assert [text.partition("Page ")[2][0] for text in said] == ["2", "3", "2"]
    await world.close()
