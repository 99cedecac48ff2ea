"""What WebShop's data generation reads off pages."""

from __future__ import annotations

import ast
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from official_shop import TRACES, cache, here

from armap_agents.tools.webshop.pages import Page, nodes, plain_text, targets
from armap_agents.tools.webshop.shop import Shop, open_shop
from armap_agents.tools.webshop.state import State
from armap_agents.training.domains.webshop_pages import (
    ItemPage,
    Receipt,
    ResultsPage,
    StartPage,
    SubPage,
    read,
)
from armap_agents.trajectory import Observation

__all__ = ["cache"]  # a fixture


@pytest.fixture(scope="module")
def shop(cache: None) -> Shop:
    return open_shop()


def seen(page: Page) -> Observation:
    shown = nodes(page)
    return Observation(plain_text(shown), tuple(f"click[{text}]" for text in targets(shown)))


@settings(max_examples=60)
@given(place=st.integers(0, 623), query=st.sampled_from(["mug", "red lamp", "tea for two", "zz"]))
def test_pages_are_read_as_they_were_written(shop: Shop, place: int, query: str) -> None:
    product = shop.catalogue[place]
    results = shop.page(State("3", "results", tuple(query.split()), 1 + place % 3))
    page = read(seen(results))
    assert isinstance(page, ResultsPage)
    assert [(hit.asin, hit.title, hit.price) for hit in page.hits] == [
        (shown.asin, shown.title, max(shown.prices)) for shown in results.products
    ]
    item = read(seen(shop.page(State("3", "item", asin=product.asin))))
    options = {name: values for name, values in product.options.items() if values}
    assert item == ItemPage(product.title, max(product.prices), options)
    sub = read(seen(shop.page(State("3", "sub", asin=product.asin, sub="Features"))))
    assert sub == SubPage(tuple(bullet.strip() for bullet in product.bullets))
    chosen = {name: values[0] for name, values in options.items()}
    done = read(seen(shop.page(State("3", "done", asin=product.asin, options=chosen))))
    assert done == Receipt(product.asin, chosen)
    assert read(seen(shop.page(State("3")))) == StartPage()


@given(st.text(max_size=200))
def test_what_is_no_page_is_read_as_none_or_as_a_page(text: str) -> None:
    for shown in (text, f"Instruction: [SEP] x [SEP] Back to Search [SEP] {text}"):
        read(Observation(shown, (f"click[{text}]",)))


@here
def test_recorded_official_pages_are_read() -> None:
    kinds = Counter[str]()
    for line in TRACES.read_text("utf-8").splitlines():
        for step in json.loads(line)["steps"]:
            clickables = step["avail"]["clickables"]
            page = read(Observation(step["obs"], tuple(f"click[{c}]" for c in clickables)))
            kinds[type(page).__name__] += 1
            match page:
                case ResultsPage(hits):
                    listed = [c for c in clickables if c not in BUTTONS]
                    assert [hit.asin.lower() for hit in hits] == listed
                case ItemPage(title, price, options):
                    assert f"{title} [SEP] Price: $" in step["obs"]
                    assert price > 0
                    values = [value for group in options.values() for value in group]
                    assert set(values) == set(clickables) - BUTTONS
                case Receipt(asin, chosen):
                    assert f"/{asin}/" in step["url"]
                    assert chosen == ast.literal_eval(step["url"].rpartition("/")[2])
    assert "NoneType" not in kinds
    assert min(kinds[k] for k in ("StartPage", "ResultsPage", "ItemPage", "SubPage")) > 5


BUTTONS = frozenset(
    ("back to search", "< prev", "next >", "description", "features", "reviews", "buy now")
)
