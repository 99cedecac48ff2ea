"""WebShop's training data: read off the pages, disjoint from evaluation, right where it says so."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from official_shop import DATA, cache, here

from armap_agents.errors import ConfigurationError
from armap_agents.reward.render import Rendering, render
from armap_agents.tools.webshop import embedded
from armap_agents.tools.webshop.environment import WebShop
from armap_agents.tools.webshop.rank import search_rank
from armap_agents.tools.webshop.shop import open_shop
from armap_agents.training.domain import Continuations, Corruption, Instruction, domain
from armap_agents.training.domains.webshop import WebShopDomain
from armap_agents.training.domains.webshop_asks import Asked
from armap_agents.training.domains.webshop_pages import Receipt, read
from armap_agents.training.domains.webshop_phrases import Ordinary, features_in, runs
from armap_agents.training.domains.webshop_visits import Purchase, Visit, purchase, visit
from armap_agents.training.domains.webshop_wording import asked_for
from armap_agents.training.explore import extend, finish, opening
from armap_agents.training.records import bare
from armap_agents.trajectory import Observation, Task, Trajectory

__all__ = ["cache"]  # a fixture


@dataclass
class Work:
    """The domain at work in a shop."""

    domain: WebShopDomain
    shop: WebShop
    tasks: list[Task]

    @classmethod
    def begin(cls, data: str | None = None) -> Work:
        known, shop = WebShopDomain(), WebShop(data, render=False)
        return cls(known, shop, known.tasks(shop))

    async def episode(self, task: Task, seed: object) -> Trajectory:
        start = await opening(self.shop, task)
        return await finish(self.shop, start, self.domain.intent(start, Random(f"play {seed}")))

    async def episodes(self, task: Task, count: int = 6) -> list[Trajectory]:
        return [await self.episode(task, f"{task.id} {k}") for k in range(count)]

    async def executed(self, task: Task, actions: Sequence[str]) -> Trajectory:
        played = await opening(self.shop, task)
        for action in actions:
            if played.done:
                break
            played = await extend(self.shop, played, action)
        return played

    def drawn(self, count: int) -> list[Task]:
        return Random(7).sample(self.tasks, count)


@pytest.fixture
def work() -> Work:
    return Work.begin()


@dataclass
class Made:
    """An instruction, what fulfils it and what should not."""

    good: Trajectory
    instruction: Instruction
    bad: list[tuple[Corruption, Trajectory]]


async def made_in(work: Work, tasks: Sequence[Task], seed: int = 0) -> list[Made]:
    found = []
    for task in tasks:
        played = await work.episodes(task)
        for good in played:
            rng = Random(f"{seed} {good.id}")
            instruction = work.domain.instruct(good, rng)
            if instruction is not None:
                others = [one for one in played if one is not good]
                ways = work.domain.corruptions(good, instruction, others, rng)
                bad = [(way, await work.executed(task, way.actions)) for way in ways]
                found.append(Made(good, instruction, bad))
    return found


@dataclass
class Sample:
    """What was made of some tasks of a shop."""

    work: Work
    data: str | None
    made: list[Made]


@pytest.fixture(
    scope="module",
    params=[None, pytest.param(str(DATA), marks=here)],
    ids=["embedded", "official"],
)
def sample(cache: None, request: pytest.FixtureRequest) -> Sample:
    work = Work.begin(request.param)
    return Sample(work, request.param, asyncio.run(made_in(work, work.drawn(20))))


def asin_of(trajectory: Trajectory) -> str | None:
    page = read(trajectory.last)
    return page.asin if isinstance(page, Receipt) else None


# What is asked for.


def test_instructions_are_fulfilled_and_corruptions_mostly_are_not(sample: Sample) -> None:
    work = sample.work
    assert len(sample.made) > 80
    dropped = Counter[str]()
    kinds = Counter[str]()
    for made in sample.made:
        assert made.good.done
        assert work.domain.fulfils(made.good, made.instruction) == 1.0
        assert work.domain.grounded(made.instruction.text, made.instruction)
        assert work.domain.fulfils(made.good.prefix(len(made.good) - 1), made.instruction) == 0.0
        for way, bad in made.bad:
            assert bad.actions != made.good.actions
            kinds[way.kind] += 1
            dropped[way.kind] += work.domain.fulfils(bad, made.instruction) == 1.0
    assert set(kinds) >= {"another product", "over the price", "wrong option", "missing option"}
    # Another product may be just as good, which is found out by executing; nothing else may.
    assert set(+dropped) <= {"another product", "another kind of product"}
    assert sum(dropped.values()) < 0.2 * kinds.total()


def test_nothing_is_about_a_product_that_an_evaluation_asks_for(sample: Sample) -> None:
    work, goals = sample.work, open_shop(sample.data).goals
    held_out = goals.asins("test") | goals.asins("dev")
    assert work.domain.held_out == held_out
    assert {task.id for task in work.tasks} == {str(k) for k in goals.split("train-pool")}
    listed: set[str] = set()
    for made in sample.made:
        assert made.instruction.asks["asin"] == asin_of(made.good)
        for trajectory in (made.good, *(bad for _, bad in made.bad)):
            stands = visit(trajectory)
            assert not held_out & {*stands.looked, asin_of(trajectory)}
            listed |= set(stands.listed)
    assert listed & held_out  # they are seen among the results all the same


async def test_a_held_out_purchase_gets_no_instruction(work: Work) -> None:
    shop = open_shop()
    asked = shop.goals[3]
    title = " ".join(asked.name.split())
    good = await work.executed(
        work.tasks[0], [f"search[{title}]", f"click[{asked.asin.lower()}]", "click[buy now]"]
    )
    assert asin_of(good) == asked.asin
    assert work.domain.instruct(good, Random(1)) is None
    assert work.domain.evaluated(good)
    assert not work.domain.evaluated(good.prefix(2))


def test_the_products_that_are_held_out_have_to_be_known() -> None:
    with pytest.raises(ConfigurationError, match="call tasks"):
        WebShopDomain().held_out  # noqa: B018 - reading it is what fails
    with pytest.raises(ConfigurationError, match="without address"):
        WebShopDomain().tasks(WebShop(address="http://127.0.0.1:9"))


async def test_other_pages_than_the_plain_ones_are_refused(work: Work) -> None:
    start = await opening(WebShop(render=False, observation="text_rich"), work.tasks[0])
    with pytest.raises(ConfigurationError, match="observation"):
        work.domain.intent(start, Random(0))


def test_as_much_is_asked_for_as_one_wants(sample: Sample) -> None:
    for made in sample.made:
        for count in (1, 2, 3):
            found = sample.work.domain.instruct(made.good, Random(count), count)
            assert found is not None
            asked = Asked.from_json(found.asks)
            things = len(asked.features) + len(asked.options) + (asked.below is not None)
            assert things <= count
            assert things == count or count > 1 + len(asked.options)


async def test_every_place_among_the_results_is_bought_from_alike(work: Work) -> None:
    places = Counter[int]()
    for task in work.drawn(60):
        for played in await work.episodes(task):
            if work.domain.instruct(played, Random(played.id)) is not None:
                places[int(-search_rank(played)) % 10] += 1
    assert set(places) == set(range(10))
    assert 3.5 < fmean(places.elements()) < 5.5
    assert max(places.values()) < 4 * min(places.values())


async def test_the_same_seed_gives_the_same(work: Work) -> None:
    again = Work.begin()
    tasks = work.drawn(3)
    assert await made_in(work, tasks) == await made_in(again, tasks)
    assert await made_in(work, tasks) != await made_in(again, tasks, seed=1)


def test_lists_of_actions_are_needed_by_corruptions_alone(sample: Sample) -> None:
    work = sample.work
    for made in sample.made:
        short = bare(made.good)
        assert work.domain.fulfils(short, made.instruction) == 1.0
        assert work.domain.instruct(short, Random(5)) == work.domain.instruct(made.good, Random(5))


# Negatives.


def test_negatives_look_like_their_positives(sample: Sample) -> None:
    longer = Counter[int]()
    kinds = Counter[str]()
    for made in sample.made:
        for way, bad in made.bad:
            kinds[way.kind] += 1
            longer[len(bad) - len(made.good)] += 1
            assert all(action in made.good.actions for action in way.actions[:1]) or (
                way.kind == "another kind of product"
            )
            if way.kind == "not bought":
                assert not bad.done
            else:
                assert bad.actions[-1] == "click[buy now]"
                assert bad.done
    assert longer[0] > 0.6 * longer.total()
    easy = kinds["not bought"] + kinds["another kind of product"]
    assert easy < 0.3 * kinds.total()


def test_an_option_is_wrong_or_missing_as_its_kind_says(sample: Sample) -> None:
    kinds = Counter[str]()
    for made in sample.made:
        asked = Asked.from_json(made.instruction.asks)
        for way, bad in made.bad:
            bought = purchase(bad)
            if bought is None:
                continue
            kinds[way.kind] += 1
            wrong = [name for name, value in asked.options.items()
                     if name in bought.options and bought.options[name] != value]  # fmt: skip
            missing = asked.options.keys() - bought.options.keys()
            match way.kind:
                case "wrong option":
                    assert (len(wrong), bought.asin) == (1, asked.asin)
                case "several wrong options":
                    assert (len(wrong) > 1, bought.asin) == (True, asked.asin)
                case "missing option":
                    assert (len(missing), bought.asin) == (1, asked.asin)
                case "over the price":
                    assert asked.below is not None
                    assert bought.price > asked.below
                    assert bought.asin in {hit.asin for hit in bought.visit.hits}
                case "another product":
                    assert bought.asin != asked.asin
                    assert bought.asin in {hit.asin for hit in bought.visit.hits}
    assert min(kinds[kind] for kind in ("wrong option", "missing option", "another product")) > 5


def test_a_trajectory_that_buys_nothing_cannot_be_corrupted(sample: Sample) -> None:
    made = sample.made[0]
    unfinished = made.good.prefix(len(made.good) - 1)
    assert sample.work.domain.corruptions(unfinished, made.instruction, [], Random(0)) == []


# Continuations.


async def test_continuations_return_more_the_further_one_got(sample: Sample) -> None:
    work = sample.work
    made = [m for m in sample.made if m.instruction.asks["options"]][:25]
    sums = Counter[str]()
    for one in made:
        for name, k in (("start", 0), ("end", len(one.good) - 1)):
            prefix = one.good.prefix(k)
            played = await continued(work, prefix, one.instruction)
            assert played == await continued(work, bare(prefix), one.instruction)
            assert played.count == 4
            assert 0 <= played.total <= 4
            sums[name] += played.total / len(made)
            if played.example is not None:
                whole = await work.executed(one.good.task, [*prefix.actions, *played.example])
                assert work.domain.fulfils(whole, one.instruction) == 1.0
    assert sums["end"] > sums["start"] + 1


async def continued(work: Work, prefix: Trajectory, instruction: Instruction) -> Continuations:
    return await work.domain.continued(work.shop, prefix, instruction, 4, Random(11))


async def test_after_the_purchase_nothing_goes_on(sample: Sample) -> None:
    work, made = sample.work, sample.made[0]
    assert (await continued(work, made.good, made.instruction)).total == 1.0
    bad = next(bad for way, bad in made.bad if bad.done and way.kind != "another product")
    assert (await continued(work, bad, made.instruction)).example is None


# Fulfilment and grounding.

CUP = Asked(
    "E012345678", "tea cup", ("bone china",), {"color": "sage green", "size": "4 cups"}, 40.0
)
SAID = (
    "Find me a bone china tea cup with color: sage green, and size: 4 cups, and price lower than "
    "40.00 dollars"
)


def bought(**changed: Any) -> Purchase:
    cup = Purchase(
        "E012345678",
        "Quillby Tea Cup of Bone China",
        25.0,
        {"color": "sage green", "size": "4 cups"},
        ("Quillby Tea Cup of Bone China",),
        Visit(),
    )
    return replace(cup, **changed)


@pytest.mark.parametrize(
    ("changed", "share"),
    [
        ({}, 1.0),
        ({"price": 40.0}, 1.0),
        ({"told": ("Quillby Tea Cup", "Made of bone china.")}, 1.0),
        ({"told": ("Quillby Tea Cups, Bone-China",)}, 1.0),
        ({"options": {"colour": "Sage Green", "size": "4 cups"}}, 1.0),
        ({"price": 41.0}, 3 / 4),
        ({"options": {"color": "sage", "size": "4 cups"}}, 3 / 4),
        ({"options": {"size": "4 cups"}}, 3 / 4),
        ({"options": {}}, 1 / 2),
        ({"told": ("Quillby Tea Cup",)}, 3 / 4),
        ({"told": ("Quillby Tea Pot of Bone China",)}, 3 / 4),
        ({"told": ("Quillby Lamp of Bone China",)}, 0.0),
    ],
)
def test_the_share_of_what_is_asked_for(changed: Mapping[str, Any], share: float) -> None:
    assert CUP.share(bought(**changed)) == pytest.approx(share)


@pytest.mark.parametrize(
    "text",
    [
        SAID,
        "I need tea cups made of bone china, in sage green, 4 cups, under $40",
        "looking for a sage green bone china tea cup, size: 4 cups, for less than 40 dollars",
    ],
)
def test_a_text_that_asks_for_the_same_is_grounded(text: str) -> None:
    assert CUP.named_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        SAID.replace("tea ", ""),
        SAID.replace("bone china ", ""),
        SAID.replace("sage green", "green"),
        SAID.replace("4 cups", "14 cups"),
        SAID.replace("40.00", "50.00"),
        SAID.replace(", and price lower than 40.00 dollars", ""),
        SAID + " or $45",
        SAID.replace("size:", "pack: dozen, and size:"),
        SAID + "\nThought: this is it",
        SAID + " please" * 80,
    ],
)
def test_a_text_that_asks_for_something_else_is_not_grounded(text: str) -> None:
    assert not CUP.named_in(text)


def test_free_and_its_like_stay_with_the_word_before_them() -> None:
    titles = ["Aaa B Cruelty Free Perfume", "Ccc D Cruelty Free Perfume, Heat Proof Glass"]
    ordinary = Ordinary(titles, ["heat proof glass"])
    found = [phrase.text for phrase in features_in(runs(titles[1], ordinary), ordinary)]
    assert found == ["cruelty free", "heat proof"]


def test_a_price_is_asked_for_only_where_one_is() -> None:
    free = replace(CUP, below=None)
    assert free.named_in(SAID.replace(", and price lower than 40.00 dollars", ""))
    assert not free.named_in(SAID)


@given(st.text(max_size=60), st.text(max_size=30), st.text(min_size=1, max_size=10))
def test_any_text_can_be_judged(text: str, kind: str, value: str) -> None:
    asked = Asked("A", f"cup {kind}", (), {"color": value}, 20.0)
    assert Asked.from_json(json.loads(json.dumps(asked.to_json()))) == asked
    assert asked.named_in(text) in (True, False)
    assert 0.0 <= asked.share(bought()) <= 1.0


words = st.sampled_from(
    [
        "Quillby",
        "tea",
        "CUPS",
        "men's",
        "no.1",
        "red:blue",
        "x-large",
        "a_b",
        "(",
        "with",
        "&",
        "-",
        "4",
    ]
)


@given(st.lists(words | st.text(max_size=8), max_size=12).map(" ".join), st.floats(0.5, 2000))
def test_whatever_a_title_is_like_its_purchase_fulfils_the_instruction(
    title: str, price: float
) -> None:
    cup = bought(title=title, told=(title, "Red: blue. Made for tea cups."), price=price)
    found = asked_for(replace(cup, visit=Visit(listed={"A": title})), "find tea cups", Random(0))
    if found is not None:
        asked, text = found
        assert asked.share(cup) == 1.0
        assert asked.named_in(text)


# What the reward model reads.


def test_a_step_says_what_was_seen_and_nothing_else(sample: Sample) -> None:
    rendering = Rendering.from_dict(sample.work.domain.rendering.to_dict())
    for made in sample.made:
        found = purchase(made.good)
        assert found is not None
        shown = replace(made.good, instruction=made.instruction.text)
        steps = render(shown, rendering).steps
        for step in steps:
            assert made.good.task.instruction not in step.observation
            assert "[SEP]" not in step.observation
            assert "Instruction" not in step.observation
            assert "Back to Search" not in step.observation
            assert found.asin not in step.observation
        assert len(steps) == len(made.good)  # the start page shows nothing
        before, last = steps[-2].observation, steps[-1]
        assert found.title in before or not found.visit.read
        assert last.observation == f"bought with {json.dumps(dict(sorted(found.options.items())))}"
        items = [step.observation for step in steps if step.observation.startswith(found.title)]
        assert items[-1].startswith(f"{found.title}, $")
        choices = items[-1].removeprefix(f"{found.title}, $")
        assert len(choices) < 400
        for name in found.visit.items[found.asin].options:
            assert name in choices or choices.endswith(", …")


@given(
    st.lists(
        st.sampled_from([" [SEP] ", "Price: $5", "Rating: N.A.", "B012345678", "; ", "a" * 60])
    )
)
def test_no_text_gets_longer(parts: list[str]) -> None:
    text = "Instruction: [SEP] x [SEP] Back to Search [SEP] " + "".join(parts) * 30
    asked = Trajectory(Task("1", "webshop"), "x", Observation(text))
    assert len(render(asked, WebShopDomain.rendering).steps[0].observation) <= len(text)


def test_the_domain_is_the_registered_one() -> None:
    known = domain("webshop")
    assert isinstance(known, WebShopDomain)
    assert known.options == {"render": False}


# Nothing hidden gets in.


def marked(folder: Path) -> str:
    """Write the embedded shop with a mark in every field that is hidden."""
    embedded.write_embedded(folder)
    items = json.loads((folder / "items_shuffle.json").read_text("utf-8"))
    for item in items:
        item |= {"query": "zqquery", "category": "zqcategory"}
        item["product_category"] = "zqpath › zqpart"
    known = json.loads((folder / "items_ins_v2.json").read_text("utf-8"))
    for entry in known.values():
        entry["attributes"] = [f"zqattribute {a}" for a in entry["attributes"]]
        if "instruction" in entry:
            entry["instruction"] += " zqwanted"
            entry["instruction_attributes"] = ["zqneeded"]
    (folder / "items_shuffle.json").write_text(json.dumps(items), "utf-8")
    (folder / "items_ins_v2.json").write_text(json.dumps(known), "utf-8")
    return str(folder)


def test_hidden_fields_are_nowhere(tmp_path: Path) -> None:
    async def check() -> None:
        work = Work.begin(marked(tmp_path))
        everything = await made_in(work, work.drawn(10))
        assert len(everything) > 30
        openings = 0
        for made in everything:
            assert "zq" not in made.instruction.text
            assert "zq" not in json.dumps(made.instruction.asks)
            for trajectory in (made.good, *(bad for _, bad in made.bad)):
                shown = replace(trajectory, instruction=made.instruction.text)
                rendered = render(shown, work.domain.rendering)
                assert "zq" not in "".join(step.observation for step in rendered.steps)
                # The opening's own words, which every agent sees, may be searched with.
                assert "zq" not in rendered.text.replace("zqwanted", "")
                openings += "zqwanted" in rendered.text
        assert openings

    asyncio.run(check())
