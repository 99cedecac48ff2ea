import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armap_agents.tools.webshop.embedded import write_embedded
from armap_agents.tools.webshop.embedded.kinds import drawing_of
from armap_agents.tools.webshop.embedded.pictures import picture
from armap_agents.tools.webshop.embedded.vocabulary import vocabulary
from armap_agents.tools.webshop.goals import Goal
from armap_agents.tools.webshop.product import Product, read_product
from armap_agents.tools.webshop.reward import reward
from armap_agents.tools.webshop.shop import Shop, open_shop

DIGESTS = {
    "items_shuffle.json": "3ec4b2a23a8af980a39bd0512f73a62f8c996d84aed2e32151ec0b930109cedf",
    "items_ins_v2.json": "7d52b221d289137170c88b912f997106dfaccab4cb3951528d9b6ea133e75337",
    "items_human_ins.json": "988e23f96e0a5edc20f970d263b5f716ba0fc2bb186dcbe23742451f29b4617d",
}
"""SHA-256 of the files: goal numbers, splits and recorded runs hang on every byte of them."""

LAMP = read_product(
    {
        "asin": "E0LAMP0001",
        "name": "Table Lamp",
        "query": "table lamps",
        "customization_options": {"Color": [{"value": "Teal"}, {"value": "Burgundy"}]},
    },
    None,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write_embedded(folder)
    return folder


@pytest.fixture(scope="module")
def shop(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARMAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        return open_shop(str(folder))


@pytest.fixture(scope="module")
def human_shop(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARMAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        return open_shop(str(folder), "human")


def bought(shop: Shop, goal: Goal, position: int, choose: bool = True) -> float:
    """The reward of a product, with the options of the goal as far as it has them."""
    product = shop.catalogue[position]
    asked = goal.options.values() if isinstance(goal.options, dict) else goal.options
    options = {
        name: value
        for name, values in product.options.items()
        for value in values
        if choose and value in asked
    }
    return reward(goal, product, float(shop.prices[position]), options, shop.nouns).value


def test_the_files_are_the_same_everywhere(folder: Path) -> None:
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    assert found == DIGESTS


def test_records_have_the_official_shape(folder: Path) -> None:
    records: list[dict[str, Any]] = json.loads((folder / "items_shuffle.json").read_text("utf-8"))
    asins = [record["asin"] for record in records]
    assert len(set(asins)) == len(asins) == 624
    assert all(len(asin) == 10 and asin.startswith("E0") and asin.isalnum() for asin in asins)
    assert len({record["category"] for record in records}) == 8
    assert {len(record["pricing"].split(" - ")) for record in records} == {1, 2}
    assert sum(record["pricing"] == "" for record in records) >= 5
    assert all(" › " in record["product_category"] for record in records)


def test_every_attribute_is_told_on_the_products_pages(shop: Shop) -> None:
    for product in shop.catalogue:
        told = " ".join(product.searchable_texts)
        unknown = product.attributes == ("DUMMY_ATTR",)
        assert unknown or all(attribute in told for attribute in product.attributes)


def test_many_attributes_are_not_told_by_the_title(shop: Shop) -> None:
    told = Counter(
        attribute in product.title.lower()
        for product in shop.catalogue
        for attribute in product.attributes
    )
    assert told[True] < told[False]


def test_goals_are_many_and_skewed(shop: Shop) -> None:
    per_product = Counter(goal.asin for goal in shop.goals).most_common()
    assert len(shop.goals) > 2500
    assert sum(count for _, count in per_product[:20]) > 0.3 * len(shop.goals)
    assert sum(count <= 4 for _, count in per_product) > 0.7 * len(per_product)
    assert all(2 <= len(goal.attributes) <= 4 for goal in shop.goals)


def test_enough_training_goals_are_disjoint_from_evaluation(shop: Shop) -> None:
    assert len(shop.goals.split("train-pool")) >= 250
    assert len(shop.goals.asins("train-pool")) >= 150


@pytest.mark.parametrize("which", ["shop", "human_shop"])
def test_every_goal_can_be_achieved(which: str, request: pytest.FixtureRequest) -> None:
    shop: Shop = request.getfixturevalue(which)
    assert len(shop.goals) >= 150
    for goal in shop.goals:
        position = shop.catalogue.position(goal.asin)
        assert position is not None
        assert bought(shop, goal, position) == 1.0, goal


@pytest.mark.parametrize("which", ["shop", "human_shop"])
def test_searching_the_instruction_finds_look_alikes_too(
    which: str, request: pytest.FixtureRequest
) -> None:
    shop: Shop = request.getfixturevalue(which)
    goals = [shop.goals[k] for k in range(0, len(shop.goals), max(1, len(shop.goals) // 150))]
    first, graded = 0.0, 0
    for goal in goals:
        hits = shop.index.search(goal.instruction)
        assert shop.catalogue.position(goal.asin) in hits
        first += bought(shop, goal, hits[0], choose=False)
        graded += len({bought(shop, goal, hit) for hit in hits[:10]}) >= 3
    assert first / len(goals) < 0.8
    assert graded / len(goals) > 0.8


def svg_of(product: Product, options: dict[str, str]) -> ElementTree.Element:
    return ElementTree.fromstring(picture(product, options))


def test_the_chosen_colour_colours_the_picture() -> None:
    assert picture(LAMP, {}) == picture(LAMP, {"color": "teal"})
    assert picture(LAMP, {"color": "burgundy"}) != picture(LAMP, {"color": "teal"})


def test_products_of_a_kind_look_different() -> None:
    plain = replace(LAMP, options={})
    pictures = {picture(replace(plain, asin=f"E0LAMP{k:04}"), {}) for k in range(40)}
    assert len(pictures) == 40


def test_every_kind_of_the_shop_has_a_drawing_and_all_are_well_formed() -> None:
    drawings = set()
    for kind in vocabulary().kinds:
        drawings.add(drawing_of(kind.query))
        for k in range(12):
            product = replace(LAMP, asin=f"E0KIND{k:04}", query=kind.query)
            assert svg_of(product, {}).get("viewBox") == "0 0 400 400"
    assert len(drawings) == len(vocabulary().kinds)
    assert drawing_of("zzz") not in drawings


SHAPES = {"svg", "g", "rect", "circle", "ellipse", "path", "clipPath"}
hostile = st.one_of(
    st.text(), st.sampled_from(["<script>alert(1)</script>red", '"/><text>teal', "url(#x) lamp"])
)


@settings(max_examples=60)
@given(asin=hostile, title=hostile, query=hostile, value=hostile)
def test_nothing_of_the_products_texts_gets_into_its_picture(
    asin: str, title: str, query: str, value: str
) -> None:
    product = replace(LAMP, asin=asin, title=title, query=query, options={"color": (value,)})
    svg = svg_of(product, {"color": value, "style": title})
    for element in svg.iter():
        assert element.tag.removeprefix("{http://www.w3.org/2000/svg}") in SHAPES
        assert not (element.text or "").strip()
        assert not (element.tail or "").strip()
        for attribute in element.attrib.values():
            assert set(attribute) <= set(
                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 #.-()"
            )
