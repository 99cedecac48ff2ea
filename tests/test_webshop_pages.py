"""The shop's states, pages and transitions: addresses, official texts, clicks that mislead."""

from dataclasses import replace
from typing import get_args
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armap_agents.errors import ConfigurationError
from armap_agents.tools.webshop.pages import (
    Node,
    Page,
    clickables,
    follow,
    nodes,
    plain_text,
    rich_text,
    targets,
)
from armap_agents.tools.webshop.product import Product
from armap_agents.tools.webshop.session import Place
from armap_agents.tools.webshop.state import SUB_PAGES, Kind, State, parse_address

LAMP = Product(
    asin="LAMP000001",
    title="Desk Lamp",
    description="A lamp.\nFor desks.",
    bullets=("bright", "", "dimmable "),
    prices=(12.5, 20.0),
    price_shown="$12.5 to $20.0",
    options={"color": ("red", 'blue 4"', "grün"), "size": ("small", "red")},
    attributes=("energy saving",),
    category="garden",
    query="lamps",
    product_category="Home › Lamps",
    images=(),
)
ASKED = "Find me a lamp, and price lower than 30.00 dollars"
RESULTS = State("7", "results", ("desk", "lamp"))
ITEM = replace(RESULTS, kind="item", asin=LAMP.asin)


def page(state: State, product: Product = LAMP) -> Page:
    if state.kind == "index":
        return Page(state, ASKED)
    return Page(state, ASKED, (product,), total=1)


def go(state: State, *actions: str, product: Product = LAMP) -> State:
    for action in actions:
        state = follow(state, action, targets(nodes(page(state, product))))
    return state


texts = st.text(max_size=12) | st.sampled_from(
    [
        "a/b",
        "a+b",
        "100%",
        "%2F",
        "why?",
        "#1",
        "it's",
        '4" x 5"',
        "grün",
        "☃",
        ".",
        "..",
        "\\",
        "{}",
    ]
)
queries = texts.filter(bool).map(lambda text: tuple(text.split(" ")))
options = st.dictionaries(texts, texts, max_size=3)


@st.composite
def states(draw: st.DrawFn) -> State:
    session = draw(st.sampled_from(["0", "6909", "fixed_17", "abc def"]))
    kind: Kind = draw(st.sampled_from(get_args(Kind)))
    asin = draw(st.sampled_from(["B09KP78G37", "0123456789"]))
    if kind == "index":
        return State(session)
    if kind == "done":
        return State(session, "done", asin=asin, options=draw(options))
    found = State(session, "results", draw(queries), draw(st.integers(1, 10**6)))
    if kind == "results":
        return found
    found = replace(found, kind=kind, asin=asin, options=draw(options))
    return found if kind == "item" else replace(found, sub=draw(st.sampled_from(SUB_PAGES)))


@given(states())
def test_an_address_leads_back_to_its_state(state: State) -> None:
    assert parse_address(state.address) == state
    assert parse_address("http://127.0.0.1:3000" + state.address) == state
    assert list(parse_address(state.address).options) == list(state.options)


@given(states())
def test_browsers_keep_an_address_as_it_is(state: State) -> None:
    address = state.address
    assert address.isascii()
    assert address.isprintable()
    assert not set(address) & set(' "<>\\^`{|}')
    assert urlsplit(address).path == address
    assert not {"", ".", ".."} & set(map(unquote, address.split("/")[1:]))


@pytest.mark.parametrize(
    ("state", "path"),
    [
        (State("1518"), "/1518"),
        (
            State("4", "results", ("foot,", "hand", "&", "nail"), 2),
            "/search_results/4/foot,+hand+&+nail/2",
        ),
        (
            State(
                "4", "item", ("men's", "hat"), 1, "B0", options={"size": '9" x 5"', "farbe": "ü"}
            ),
            r"""/item_page/4/B0/men's+hat/1/{"size": "9\" x 5\"", "farbe": "\u00fc"}""",
        ),
        (
            State("4", "sub", ("hat",), 1, "B0", "Features", {"size": "it's 9"}),
            """/item_sub_page/4/B0/hat/1/Features/{'size': "it's 9"}""",
        ),
        (State("4", "done", asin="B0", options={"a": "b"}), "/done/4/B0/{'a': 'b'}"),
    ],
)
def test_addresses_are_the_official_ones_percent_encoded(state: State, path: str) -> None:
    assert state.path == path
    assert unquote(state.address) == path


def test_options_are_read_as_other_servers_write_them() -> None:
    official_site = "/item_page/fixed_3/B0/%5B'hat'%5D/1/%7B'size':%20'9%20m'%7D"
    assert parse_address(official_site).options == {"size": "9 m"}


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/",
        "/static/style.css",
        "/search_results/1/hat",
        "/search_results/1/hat/0",
        "/search_results/1/hat/1.5",
        "/search_results/1/hat/-1",
        "/item_page/1/B0/hat/1/__import__('os')",
        "/item_page/1/B0/hat/1/%7B1:2%7D",
        "/item_page/1/B0/hat/1/%7B%5B%5D:2%7D",
        "/item_page/1/B0/hat/1/" + "%7B" * 3000,
        "/item_sub_page/1/B0/hat/1/Secrets/%7B%7D",
        "/done/1/B0/%FF",
    ],
)
def test_what_is_no_address_of_the_shop_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="the shop has no page at"):
        parse_address(address)


def test_a_product_page_in_both_official_texts() -> None:
    chosen = replace(ITEM, options={"color": "red"})
    shown = nodes(page(chosen))
    assert plain_text(shown) == (
        f"Instruction: [SEP] {ASKED} [SEP] Back to Search [SEP] < Prev [SEP] color [SEP] red [SEP] "
        'blue 4" [SEP] grün [SEP] size [SEP] small [SEP] red [SEP] Desk Lamp [SEP] '
        "Price: $12.5 to $20.0 [SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews "
        "[SEP] Buy Now"
    )
    assert rich_text(shown, chosen.path, ()) == (
        "You have clicked red.\nYou have clicked red.\n"
        f"Instruction:\n{ASKED}\n[button] Back to Search [button_]\n[button] < Prev [button_]\n"
        "color\n  [clicked button] red [clicked button_]\n"
        '  [button] blue 4" [button_]\n  [button] grün [button_]\n'
        "size\n  [button] small [button_]\n  [clicked button] red [clicked button_]\n"
        "Desk Lamp\nPrice: $12.5 to $20.0\nRating: N.A.\n[button] Description [button_]\n"
        "[button] Features [button_]\n[button] Reviews [button_]\n[button] Buy Now [button_]\n"
    )


def test_the_newest_of_several_choices_is_told_first() -> None:
    chosen = go(ITEM, "click[small]")
    both = replace(chosen, options={**chosen.options, "color": "blue"})
    lamp = replace(LAMP, options={"color": ("blue",), "size": ("small",)})
    told = rich_text(nodes(page(both, lamp)), both.path, ()).splitlines()[:3]
    assert told == ["You have clicked small.", "You have clicked blue.", "Instruction:"]


@pytest.mark.parametrize("value", ['blue 4"', "grün"])
def test_text_rich_never_marks_what_json_escapes(value: str) -> None:
    chosen = go(ITEM, f"click[{value}]")
    assert chosen.options == {"color": value}
    assert "clicked" not in rich_text(nodes(page(chosen)), chosen.path, ())


def test_the_other_pages() -> None:
    head = f"Instruction: [SEP] {ASKED} [SEP] Back to Search"
    shown = {
        State("7"): f"WebShop [SEP] Instruction: [SEP] {ASKED} [SEP] Search",
        RESULTS: f"{head} [SEP] Page 1 (Total results: 1) [SEP] Next > [SEP] LAMP000001 [SEP] "
        "Desk Lamp [SEP] $12.5 to $20.0",
        replace(
            ITEM, kind="sub", sub="Description"
        ): f"{head} [SEP] < Prev [SEP] A lamp.\nFor desks.",
        replace(ITEM, kind="sub", sub="Features"): f"{head} [SEP] < Prev [SEP] bright [SEP]  [SEP] "
        "dimmable",
        replace(ITEM, kind="sub", sub="Reviews"): f"{head} [SEP] < Prev",
        replace(
            ITEM, kind="sub", sub="Attributes"
        ): f"{head} [SEP] < Prev [SEP] energy saving [SEP] garden [SEP] lamps [SEP] Home › Lamps",
    }
    for state, text in shown.items():
        assert plain_text(nodes(page(state))) == text
    nothing = Page(replace(RESULTS, page=6), ASKED, (), total=44)
    assert plain_text(nodes(nothing)) == (
        f"{head} [SEP] Page 6 (Total results: 44) [SEP] < Prev [SEP] Next >"
    )


@pytest.mark.parametrize(
    ("description", "kept"),
    [("", []), ("  \n ", []), (" \t ", [" "]), (" a\n", [" a\n"]), ("\u00a0", ["\u00a0"])],
)
def test_white_space_is_kept_as_the_official_parser_keeps_it(
    description: str, kept: list[str]
) -> None:
    state = replace(ITEM, kind="sub", sub="Description")
    shown = nodes(page(state, replace(LAMP, description=description)))
    assert [node.text for node in shown[4:]] == kept


def test_products_looked_at_are_marked_until_the_session_starts_over() -> None:
    place = Place(State("7"))
    for action in ("search[lamp]", "click[lamp000001]", "click[features]", "search[desk lamp]"):
        place = place.after(action, targets(nodes(page(place.state))))
    shown = rich_text(nodes(page(place.state)), place.state.path, place.visited)
    assert "\n\n[clicked button] LAMP000001 [clicked button_]\n" in shown
    place = place.after("click[back to search]", targets(nodes(page(place.state))))
    assert place == Place(State("7"))


def test_equal_texts_have_the_place_of_the_first_and_the_node_of_the_last() -> None:
    lamp = replace(LAMP, options={"kind": ("description", "x"), "other": ("x",)})
    shown = nodes(page(ITEM, lamp))
    found = ["back to search", "< prev", "description", "features", "reviews", "buy now", "x"]
    assert clickables(shown) == found
    assert targets(shown)["description"] == Node("option", "description", "kind")
    assert targets(shown)["x"] == Node("option", "x", "other")


def test_a_value_that_two_options_share_is_chosen_for_the_last() -> None:
    assert go(ITEM, "click[red]").options == {"size": "red"}


@pytest.mark.parametrize(
    ("value", "leads"),
    [
        ("description", replace(ITEM, kind="sub", sub="Description")),
        ("attributes", replace(ITEM, kind="sub", sub="Attributes")),
        ("buy now", State("7", "done", asin=LAMP.asin)),
        ("back to search", State("7")),
        ("< prev", RESULTS),
        ("next >", replace(ITEM, options={"kind": "next >"})),
        ("search", ITEM),
    ],
)
def test_a_click_goes_by_its_text_before_what_was_clicked(value: str, leads: State) -> None:
    lamp = replace(LAMP, options={"kind": (value,)})
    assert go(ITEM, f"click[{value}]", product=lamp) == leads


def test_the_ways_through_the_shop() -> None:
    assert go(State("7"), "search[Desk  LAMP]") == State("7", "results", ("desk", "", "lamp"))
    third = go(RESULTS, "click[next >]", "click[NEXT >]")
    assert third == replace(RESULTS, page=3)
    item = go(third, "click[LAMP000001]")
    assert item == replace(ITEM, page=3)
    chosen = go(item, "click[small]", "click[grün]", "click[red]")
    assert list(chosen.options.items()) == [("size", "red"), ("color", "grün")]
    assert go(chosen, "click[features]", "click[< prev]") == chosen
    assert go(chosen, "click[< prev]") == third
    assert go(third, "click[< prev]", "click[< prev]") == RESULTS
    assert go(chosen, "click[features]", "click[back to search]") == State("7")
    assert go(chosen, "click[buy now]") == State(
        "7", "done", asin=LAMP.asin, options={"size": "red", "color": "grün"}
    )


@pytest.mark.parametrize(
    "start", [State("7"), RESULTS, ITEM, replace(ITEM, kind="sub", sub="Reviews")]
)
def test_a_search_is_taken_on_every_page(start: State) -> None:
    assert go(start, "search[hat]") == State("7", "results", ("hat",))


@pytest.mark.parametrize(
    "action",
    [
        "",
        "hat",
        "buy now",
        "search",
        "search[]",
        "click[]",
        " search[hat]",
        "Search[hat]",
        "search[hat\n]",
        "think\nsearch[hat]",
        "search[a] and click[small]",
        "click[a[small]",  # the pattern is greedy: this is "click[a" with the argument "small"
        "search[[hat]",
        "click[ small]",
        "click[search]",
        "click[next >]",
        "click[lamp000001]",
        "click[rating: n.a.]",
        "click[no such thing]",
        "buy[buy now]",
    ],
)
def test_what_does_nothing_leaves_the_state_itself(action: str) -> None:
    assert go(ITEM, action) is ITEM


@pytest.mark.parametrize(
    ("action", "leads"),
    [
        ("click[SMALL]", replace(ITEM, options={"size": "small"})),
        ("click[small] please", replace(ITEM, options={"size": "small"})),
        ("search[a]b]", State("7", "results", ("a]b",))),
        ("search[ ]", State("7", "results", ("", ""))),
    ],
)
def test_what_the_official_pattern_takes_though_it_looks_odd(action: str, leads: State) -> None:
    assert go(ITEM, action) == leads


def test_the_first_page_of_results_has_no_way_back() -> None:
    assert clickables(nodes(page(RESULTS))) == ["back to search", "next >", "lamp000001"]
    assert go(RESULTS, "click[< prev]") is RESULTS


def test_nothing_happens_after_the_purchase() -> None:
    bought = go(ITEM, "click[buy now]")
    assert go(bought, "search[hat]") is bought
    assert clickables(nodes(page(bought))) == []


def test_the_purchase_ends_before_score_and_goal() -> None:
    state = State("7", "done", asin="B0", options={"size": "9", "color": "men's <b> & \u00fc"})
    official = nodes(Page(state, ASKED, (), score=0.25))
    quarantined = nodes(Page(state, ASKED))
    assert official[: len(quarantined)] == quarantined
    assert official[len(quarantined)].text == "Target"
    assert plain_text(quarantined) == (
        "Thank you for shopping with us! [SEP] Your code: [SEP] None [SEP] (Paste it in your MTurk "
        "interface.) [SEP] Purchased [SEP] asin [SEP] B0 [SEP] options [SEP] "
        r'{"color": "men\u0027s \u003cb\u003e \u0026 \u00fc", "size": "9"} [SEP] attrs [SEP] None '
        "[SEP] category [SEP] None [SEP] query [SEP] None [SEP] product category [SEP] None"
    )
    assert plain_text(official).endswith(
        "Your score (min 0.0, max 1.0) [SEP] 0.25 [SEP] Reward Details [SEP] None"
    )


@given(st.lists(st.sampled_from(["search[desk lamp]", "click[%s]"]), max_size=12), st.randoms())
def test_every_state_on_the_way_has_an_address(actions: list[str], random: object) -> None:
    state = State("7")
    for action in actions:
        ways = clickables(nodes(page(state))) or ["nothing"]
        state = go(state, action.replace("%s", random.choice(ways)))  # type: ignore[attr-defined]
        assert parse_address(state.address) == state
