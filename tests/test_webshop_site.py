"""The shop's site over HTTP: read by the official rule with a parser that knows nothing of it."""

from __future__ import annotations

import json
import random
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armap_agents.tools.webshop.pages import Page, clickables, follow, nodes, targets
from armap_agents.tools.webshop.product import Product
from armap_agents.tools.webshop.shop import Shop, open_shop
from armap_agents.tools.webshop.site import open_site, site
from armap_agents.tools.webshop.site.documents import shop_document
from armap_agents.tools.webshop.state import State, parse_address

OFFICIAL = Path(__file__).parents[2] / "shared" / "data" / "webshop"
TABLE = OFFICIAL / "golden" / "title_nouns_en_core_web_sm_3.8.0.json"
with_official_data = pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason="WebShop's public 1,000 products are not here"
)

VOID = {"meta", "link", "input", "img", "hr", "br"}
NOT_TEXT = {"style", "script", "head", "title", "meta"}


@dataclass
class Element:
    """An element of a document; `inside` holds elements and texts in their order."""

    tag: str
    attributes: dict[str, str]
    parent: Element | None = None
    inside: list[Element | str] = field(default_factory=list)

    def all(self) -> Iterator[Element]:
        yield self
        for child in self.inside:
            if isinstance(child, Element):
                yield from child.all()

    def texts(self) -> Iterator[tuple[Element, str]]:
        """The text nodes with their parents, as BeautifulSoup's html.parser keeps them."""
        for child in self.inside:
            if isinstance(child, Element):
                yield from child.texts()
            elif child.strip(" \n\t\f\r"):
                yield self, child
            else:
                yield self, "\n" if "\n" in child else " "

    def find(self, **wanted: str) -> list[Element]:
        return [e for e in self.all() if wanted.items() <= {**e.attributes, "tag": e.tag}.items()]

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()


class Document(HTMLParser):
    """A document as a tree."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = self.here = Element("", {})
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {k: v or "" for k, v in attrs}, self.here)
        self.here.inside.append(element)
        if tag not in VOID:
            self.here = element

    def handle_endtag(self, tag: str) -> None:
        assert self.here.tag == tag, f"</{tag}> closes <{self.here.tag}>"
        assert self.here.parent is not None
        self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        self.here.inside.append(data)


def official_texts(document: Document) -> list[tuple[Element, str]]:
    """The text nodes of a page, by the official rule."""
    return [
        (parent, text)
        for parent, text in document.root.texts()
        if parent.tag not in NOT_TEXT and parent.tag != "" and text != "\n"
    ]


def official_text(document: Document) -> str:
    return " [SEP] ".join(text.strip() for _, text in official_texts(document))


def official_rich(document: Document, path: str, visited: set[str]) -> str:
    """The official ``text_rich``, whose marks depend on a text's parent alone."""
    before, told = "", ""
    for parent, text in official_texts(document):
        if parent.tag == "button":
            told += f"[button] {text} [button_]\n"
        elif parent.tag == "label" and f'"{text}"' in path:
            told += f"  [clicked button] {text} [clicked button_]\n"
            before = f"You have clicked {text}.\n" + before
        elif parent.tag == "label":
            told += f"  [button] {text} [button_]\n"
        elif parent.attributes.get("class") == "product-link":
            mark = "clicked button" if text in visited else "button"
            told += f"\n[{mark}] {text} [{mark}_]\n"
        else:
            told += f"{text}\n"
    return before + told


def official_clickables(document: Document) -> list[str]:
    """What can be clicked, found as the official environment finds it."""
    every = list(document.root.all())
    found = [official_inside(e) for e in every if "btn" in e.classes]
    found += [official_inside(e) for e in every if "product-link" in e.classes]
    found += [e.attributes["value"] for e in every if e.attributes.get("type") == "radio"]
    return list(dict.fromkeys(text.lower() for text in found))


def official_inside(element: Element) -> str:
    return "".join(text for _, text in element.texts())


def clicked_element(document: Document, text: str) -> str:
    """Where the element leads that a click on a text means: the last one of that text."""
    links: dict[str, str] = {}
    for element in document.root.all():
        if "btn" in element.classes:
            assert element.parent is not None
            links[official_inside(element).lower()] = element.parent.attributes["action"]
    for element in document.root.all():
        if "product-link" in element.classes:
            links[official_inside(element).lower()] = element.attributes["href"]
    for element in document.root.all():
        if element.attributes.get("type") == "radio":
            links[element.attributes["value"].lower()] = element.attributes["data-url"]
    return links[text]


@pytest.fixture(scope="module")
def cache_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARMAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def official(cache_: None) -> Shop:
    return open_shop(str(OFFICIAL), "synthetic", 0, str(TABLE))


@pytest.fixture(scope="module")
def shop(cache_: None) -> Shop:
    return open_shop()


def client(shop: Shop, *, official_done: bool = False) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(site(shop, official_done=official_done))
    return httpx.AsyncClient(transport=transport, base_url="http://shop")


def traces() -> list[dict[str, Any]]:
    lines = (OFFICIAL / "golden" / "traces.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def visited_after(visited: set[str], state: State) -> set[str]:
    if state.kind == "index":
        return set()
    return visited | {state.asin} if state.asin else visited


@with_official_data
async def test_the_recorded_pages_read_as_recorded(official: Shop) -> None:
    compared = 0
    async with client(official, official_done=True) as http:
        for trace in traces():
            state, visited = State(str(trace["goal_idx"])), set[str]()
            for step in trace["steps"]:
                page = official.page(state, scored=True)
                if "action" in step:
                    state = follow(state, step["action"], targets(nodes(page)))
                visited = visited_after(visited, state)
                answer = await http.get(state.address)
                assert answer.status_code == 200
                document = Document(answer.text)
                assert official_text(document) == step["obs"]
                assert official_clickables(document) == step["avail"]["clickables"]
                assert (
                    bool(document.root.find(id="search_input")) == step["avail"]["has_search_bar"]
                )
                if "rich" in step:
                    path = unquote(urlsplit(step["url"]).path)
                    assert official_rich(document, path, visited) == step["rich"]
                compared += 1
    assert compared > 200


@with_official_data
async def test_every_element_leads_where_the_engine_goes(official: Shop) -> None:
    draw = random.Random(3)
    followed = 0
    async with client(official) as http:
        for trace in draw.sample(traces(), 15):
            for step in trace["steps"]:
                state = parse_address(quote(urlsplit(step["url"]).path, safe="/+"))
                document = Document((await http.get(state.address)).text)
                clickable = targets(nodes(official.page(state)))
                for text in clickable:
                    if text == "search":
                        continue
                    expected = follow(state, f"click[{text}]", clickable).address
                    assert clicked_element(document, text) == expected
                    followed += 1
    assert followed > 500


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40
) | st.sampled_from(
    ["", " ", "\n", " \t ", "\r", "a\r\nb", "<b>", "&amp;", "</label><script>", '" on="', "{{7}}"]
)  # fmt: skip
PRODUCTS = st.builds(
    Product,
    asin=st.text("ABC0123456789<&\"' é", min_size=1, max_size=10).filter(str.strip),
    title=TEXTS,
    description=TEXTS,
    bullets=st.lists(TEXTS, max_size=3).map(tuple),
    prices=st.just((1.0,)),
    price_shown=st.sampled_from(["$1.0", "$1.0 to $2.0"]),
    options=st.dictionaries(TEXTS, st.lists(TEXTS, max_size=3).map(tuple), max_size=3),
    attributes=st.lists(TEXTS, max_size=3).map(tuple),
    category=TEXTS,
    query=TEXTS,
    product_category=TEXTS,
    images=st.just(()),
)


def states_of(product: Product) -> list[State]:
    chosen = {name: values[0].lower() for name, values in product.options.items() if values}
    results = State("0", "results", ("a",), 2)
    item = replace(results, kind="item", asin=product.asin)
    subs = ("Description", "Features", "Reviews", "Attributes")
    return [
        State("0"),
        results,
        item,
        replace(item, options=chosen),
        *(replace(item, kind="sub", sub=sub, options=chosen) for sub in subs),
        State("0", "done", asin=product.asin, options=chosen),
    ]


@settings(max_examples=150, deadline=None)
@given(PRODUCTS, TEXTS)
def test_whatever_a_product_holds_is_read_as_it_stands(product: Product, instruction: str) -> None:
    for state in states_of(product):
        score = 0.5 if state.kind == "done" else None
        page = Page(state, instruction, (product,), 1, score)
        document = Document(shop_document(page))
        assert [text for _, text in official_texts(document)] == [n.text for n in nodes(page)]
        assert not document.root.find(tag="script")
        assert all(not name.startswith("on") for e in document.root.all() for name in e.attributes)
        # A value of white space has no text to be clicked by.
        assert [text for text in official_clickables(document) if text.strip()] == [
            text for text in clickables(nodes(page)) if text.strip()
        ]


def test_characters_that_html_cannot_hold_are_replaced() -> None:
    product = replace(PLAIN, title="half \ud83d of one", description="nothing \0 here")
    for state, shown in (
        (State("0", "item", ("a",), asin="B1"), "half � of one"),
        (State("0", "sub", ("a",), asin="B1", sub="Description"), "nothing � here"),
    ):
        document = Document(shop_document(Page(state, "", (product,))))
        assert shown in [text for _, text in official_texts(document)]


PLAIN = Product(
    asin="B1",
    title="Desk Lamp",
    description="Lights a desk.",
    bullets=("dimmable",),
    prices=(20.0,),
    price_shown="$20.0",
    options={"color": ("red", "blue")},
    attributes=(),
    category="garden",
    query="desk lamps",
    product_category="Home › Lamps",
    images=(),
)


def test_chosen_options_are_marked_and_values_have_their_hooks() -> None:
    state = State("0", "item", ("a",), asin="B1", options={"color": "blue"})
    document = Document(shop_document(Page(state, "Find me", (PLAIN,))))
    radios = document.root.find(tag="input", type="radio")
    assert [r.attributes["value"] for r in radios] == ["red", "blue"]
    assert {r.attributes["name"] for r in radios} == {"color"}
    assert ["checked" in r.attributes for r in radios] == [False, True]
    labels = document.root.find(tag="label")
    assert [e.attributes["for"] for e in labels] == [r.attributes["id"] for r in radios]
    for radio, label in zip(radios, labels, strict=True):
        (link,) = label.find(tag="a")
        assert link.attributes["href"] == radio.attributes["data-url"]
        assert parse_address(link.attributes["href"]).options == {
            "color": radio.attributes["value"]
        }
    (image,) = document.root.find(tag="img")
    assert image.attributes["src"] == "/pictures/B1.svg?color=blue"


async def test_forms_are_answered_with_an_address(shop: Shop) -> None:
    async with client(shop) as http:
        query = {"search_query": "Warm  Wool/100% é+&"}
        body = urlencode(query)
        form = {"content-type": "application/x-www-form-urlencoded"}
        posted = await http.post("/3", content=body, headers=form)
        asked = await http.get("/3", params=query)
        assert posted.status_code == asked.status_code == 303
        assert posted.headers["location"] == asked.headers["location"]
        state = parse_address(posted.headers["location"])
        assert state == shop.follow(State("3"), f"search[{query['search_query']}]")
        again = await http.post(state.address)
        assert (again.status_code, again.headers["location"]) == (303, state.address)
        empty = await http.post("/3", content="search_query=", headers=form)
        assert parse_address(empty.headers["location"]) == State("3")


async def test_sessions_are_called_by_number_or_as_the_official_ones(shop: Shop) -> None:
    async with client(shop) as http:
        texts = [official_text(Document((await http.get(a)).text)) for a in ("/17", "/fixed_17")]
    assert texts[0] == texts[1]
    assert shop.goals[17].instruction in texts[0]


async def test_the_score_is_shown_on_demand_alone(shop: Shop) -> None:
    goal = shop.goals[5]
    assert isinstance(goal.options, Mapping)
    state = State("5", "done", asin=goal.asin, options=goal.options)
    score = str(shop.reward(state).value)
    async with client(shop) as http:
        plain = (await http.get(state.address)).text
    async with client(shop, official_done=True) as http:
        scored = (await http.get(state.address)).text
    assert "Thank you for shopping" in plain
    for told in ("Your score", "Reward", "Target", "Goal", goal.instruction):
        assert told not in plain
    assert f"Your score (min 0.0, max 1.0) [SEP] {score}" in official_text(Document(scored))


def addresses(shop: Shop) -> list[str]:
    """An address of each kind, with the entrance and a picture."""
    item = State("2", "item", ("lamp",), asin=shop.goals[2].asin)
    return [
        "/",
        "/2",
        State("2", "results", ("lamp",)).address,
        State("2", "results", ("lamp",), 9).address,
        item.address,
        replace(item, kind="sub", sub="Features").address,
        replace(item, kind="done").address,
        f"/pictures/{item.asin}.svg?color=red",
        "/static/style.css",
        "/static/icon.svg",
        "/nothing/here",
    ]


async def test_pages_carry_no_script_and_name_no_other_host(shop: Shop) -> None:
    async with client(shop, official_done=True) as http:
        for address in addresses(shop):
            answer = await http.get(address)
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'")
            assert "script" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            bare = answer.text.replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"//|<script|javascript:|@import", bare), address
            if "text/html" in answer.headers["content-type"]:
                for element in Document(answer.text).root.all():
                    assert "style" not in element.attributes
                    for name in ("href", "src", "action", "data-url"):
                        assert element.attributes.get(name, "/").startswith("/")


async def test_pictures_follow_the_chosen_options(shop: Shop) -> None:
    asin = next(p.asin for p in shop.catalogue if len(p.options.get("color", ())) > 1)
    colours = shop.product(asin).options["color"]
    async with client(shop) as http:
        drawn = {
            (await http.get(f"/pictures/{asin}.svg", params={"color": c})).text for c in colours
        }
        first = await http.get(f"/pictures/{asin}.svg", params={"color": colours[0]})
    assert len(drawn) > 1
    assert first.headers["content-type"].startswith("image/svg+xml")
    assert first.text in drawn


@pytest.mark.parametrize(
    "address",
    [
        "/nobody",
        "/99999999",
        "/fixed_",
        "/-1",
        "/search_results/1/a/0",
        "/search_results/1/a/x",
        "/search_results/nobody/a/1",
        "/item_page/1/NOTHERE/a/1/{}",
        "/item_page/1/NOTHERE/a/1/__import__('os')",
        "/item_sub_page/1/NOTHERE/a/1/Secrets/{}",
        "/done/1/NOTHERE/{}",
        "/done/1",
        "/pictures/NOTHERE.svg",
        "/static/app.py",
        "/static/..%2Fapp.py",
        "/%00",
        "/%FF%FE",
        "/?task=nobody",
        "/favicon.ico",
    ],
)
async def test_what_does_not_exist_is_a_clean_page(shop: Shop, address: str) -> None:
    async with client(shop) as http:
        answer = await http.get(address)
    assert answer.status_code == 404
    assert "text/html" in answer.headers["content-type"]
    texts = [text for _, text in official_texts(Document(answer.text))]
    assert texts[0] == "Nothing here"
    assert "Traceback" not in answer.text


async def test_other_methods_are_refused(shop: Shop) -> None:
    async with client(shop) as http:
        assert (await http.delete("/1")).status_code == 405
        assert (await http.put("/", content=b"x")).status_code == 405


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["1", "item_page", "item_sub_page", "search_results", "done", "Features", "{}", "[1]",
             "{'a': 1}", '{"a": "b"}', "pictures", "B.svg", "static", "a+b", "%7B%7D", "..", "%2e"]
        ) | st.text(max_size=8).map(lambda text: quote(text, safe="")),
        max_size=8,
    )
)  # fmt: skip
async def test_no_address_breaks_the_site(shop: Shop, parts: list[str]) -> None:
    application = site(shop)
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    path = "/" + "/".join(parts)
    scope = {
        "type": "http", "method": "GET", "path": unquote(path), "raw_path": path.encode(),
        "query_string": b"", "headers": [], "scheme": "http", "server": ("shop", 80),
        "root_path": "", "http_version": "1.1",
    }  # fmt: skip
    await application(scope, receive, send)
    assert status in (200, 303, 404)


async def test_people_choose_a_task(shop: Shop) -> None:
    async with client(shop) as http:
        entrance = Document((await http.get("/")).text)
        links = [e.attributes["href"] for e in entrance.root.find(tag="a")]
        assert links[:3] == ["/0", "/1", "/2"]
        assert shop.goals[1].instruction in official_text(entrance)
        assert (await http.get("/", params={"task": " 12 "})).headers["location"] == "/12"
        drawn = {(await http.get("/", params={"random": ""})).headers["location"] for _ in range(9)}
    assert len(drawn) > 1
    assert all(int(address[1:]) < len(shop.goals) for address in drawn)


def listens(origin: str) -> bool:
    place = urlsplit(origin)
    with socket.socket() as probe:
        return probe.connect_ex((str(place.hostname), int(place.port or 0))) == 0


def test_a_running_site_is_shared_until_the_last_lets_go(shop: Shop) -> None:
    found: list[str] = []
    held = []

    def hold() -> None:
        mine = open_site(shop)
        held.append(mine)
        found.append(httpx.get(f"{mine.origin}/1").text)

    threads = [threading.Thread(target=hold) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({mine.origin for mine in held}) == 1
    assert len(set(found)) == 1
    assert "WebShop" in found[0]
    origin = held[0].origin
    scored = open_site(shop, official_done=True)
    assert scored.origin != origin
    for mine in held[1:]:
        mine.close()
        mine.close()
    assert listens(origin)
    held[0].close()
    assert not listens(origin)
    assert listens(scored.origin)
    scored.close()
    assert not listens(scored.origin)
    again = open_site(shop)
    assert httpx.get(f"{again.origin}/1").text == found[0]
    again.close()
    assert "webshop site" not in [thread.name for thread in threading.enumerate()]


def test_a_site_stops_while_a_browser_keeps_its_connection(shop: Shop) -> None:
    mine = open_site(shop)
    with httpx.Client() as http:
        assert http.get(f"{mine.origin}/1").status_code == 200
        mine.close()
        assert not listens(mine.origin)


def test_addresses_may_be_long(shop: Shop) -> None:
    mine = open_site(shop)
    state = State("1", "results", ("lamp",) * 40_000)
    connection = HTTPConnection(urlsplit(mine.origin).netloc)
    connection.request("GET", state.address)
    answer = connection.getresponse().read().decode()
    connection.close()
    mine.close()
    assert len(state.address) > 190_000
    assert official_text(Document(answer)).startswith("Instruction:")
