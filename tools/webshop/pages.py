"""What the shop shows, as text nodes; what nodes read like, what can be clicked, where it leads.

A `Page` is a state with what it shows; `nodes` lists its text nodes in the order of the page. The
engine makes them from pages, the browser reads the same from the site's documents, and one set of
functions turns either into the two official texts, the list of clickables and the next state.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from armap_agents.tools.webshop.product import Product
from armap_agents.tools.webshop.state import SUB_PAGES, Kind, State

BACK_TO_SEARCH = "Back to Search"
NEXT = "Next >"
PREVIOUS = "< Prev"
SEARCH = "Search"
BUY = "Buy Now"

PAGE_SIZE = 10
"""Products on a page of results."""

_ACTION = re.compile(r"(.+)\[(.+)\]")


@dataclass(frozen=True)
class Page:
    """A state and what is shown there.

    Attributes:
        state: Where the session stands.
        instruction: The goal in words.
        products: The hits of a page of results; else the one product, none on the start page.
        total: Number of hits on all pages of results.
        score: The purchase's reward, printed after it; None leaves the page's end out, which would
            also name the goal.
    """

    state: State
    instruction: str
    products: tuple[Product, ...] = ()
    total: int = 0
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A text node of a page.

    Attributes:
        kind: ``button``, ``product`` (a link) and ``option`` (a value to choose) can be clicked.
        text: As it stands in the document, spaces around it included.
        name: The option's name, for a value to choose.
    """

    kind: Literal["text", "button", "product", "option"]
    text: str
    name: str = ""


def nodes(page: Page) -> list[Node]:
    """Return a page's text nodes, in order."""
    return [shown for node in _NODES[page.state.kind](page) if (shown := _parsed(node))]


def plain_text(nodes: Iterable[Node]) -> str:
    """Return the official observation in mode ``text``."""
    return " [SEP] ".join(node.text.strip() for node in nodes)


def rich_text(nodes: Iterable[Node], path: str, visited: Collection[str]) -> str:
    """Return the official observation in mode ``text_rich``.

    Args:
        nodes: The page's.
        path: The page's address, unencoded: a value that stands in it in double quotes counts as
            chosen. By this rule of the official environment a value with quotes or letters beyond
            ASCII, which JSON escapes, never does.
        visited: ASINs looked at since the session was last at its start.
    """
    chosen, lines = "", []
    for node in nodes:
        text = node.text
        match node.kind:
            case "text":
                lines.append(text)
            case "button":
                lines.append(f"[button] {text} [button_]")
            case "option" if f'"{text}"' in path:
                chosen = f"You have clicked {text}.\n{chosen}"
                lines.append(f"  [clicked button] {text} [clicked button_]")
            case "option":
                lines.append(f"  [button] {text} [button_]")
            case "product" if text in visited:
                lines.append(f"\n[clicked button] {text} [clicked button_]")
            case "product":
                lines.append(f"\n[button] {text} [button_]")
    return chosen + "".join(f"{line}\n" for line in lines)


def targets(nodes: Iterable[Node]) -> dict[str, Node]:
    """Return what can be clicked: text → node, in the official order.

    Buttons come first, then products, then values, lower-cased. Of equal texts the place of the
    first and the node of the last count.
    """
    found: dict[str, Node] = {}
    listed = list(nodes)
    for kind in ("button", "product", "option"):
        found |= {node.text.lower(): node for node in listed if node.kind == kind}
    return found


def clickables(nodes: Iterable[Node]) -> list[str]:
    """Return the texts that can be clicked, in the official order."""
    return list(targets(nodes))


def parse_action(action: str) -> tuple[str, str]:
    """Return an action's name and its argument in lower case; two empty texts for none."""
    match = _ACTION.match(action)
    return (match[1], match[2].lower()) if match else ("", "")


def follow(state: State, action: str, clickable: Mapping[str, Node]) -> State:
    """Return where an action leads, by the rules of the official text environment.

    A search is taken on every page. What a click does goes by its text before what was clicked: a
    value to choose that is called ``description`` opens the description. Two oddities are left out:
    the official environment goes on after a purchase, and where a query holds the name of a page,
    such as ``item_page``, it takes ``< prev`` for that page's.

    Args:
        state: Where the session stands.
        action: ``search[…]`` or ``click[…]``, the argument in any capitalisation.
        clickable: The `targets` of the state's page.

    Returns:
        `state` itself where the action does nothing, as every action after the purchase.
    """
    name, argument = parse_action(action)
    if state.kind == "done":
        return state
    if name == "search":
        return State(state.session, "results", tuple(argument.split(" ")))
    if name == "click" and argument != SEARCH.lower() and argument in clickable:
        return _clicked(state, argument, clickable[argument])
    return state


def _clicked(state: State, text: str, node: Node) -> State:
    if text == BUY.lower():
        return State(state.session, "done", asin=state.asin, options=state.options)
    if text == BACK_TO_SEARCH.lower():
        return State(state.session)
    if text == NEXT.lower() and state.kind == "results":
        return replace(state, page=state.page + 1)
    if text == PREVIOUS.lower():
        match state.kind:
            case "results":
                return replace(state, page=state.page - 1)
            case "item":
                return State(state.session, "results", state.keywords, state.page)
            case "sub":
                return replace(state, kind="item", sub="")
    for sub in SUB_PAGES:
        if text == sub.lower():
            return replace(state, kind="sub", sub=sub)
    if node.kind == "product":
        return replace(state, kind="item", asin=node.text)
    if node.kind == "option":
        return replace(state, options={**state.options, node.name: text})
    return state


def _parsed(node: Node) -> Node | None:
    """Return a node as the official environment's HTML parser keeps it, or None.

    Of a text that is nothing but white space it keeps one space, or nothing where lines break.
    """
    if node.text.strip(" \n\t\f\r"):
        return node
    return Node(node.kind, " ", node.name) if node.text and "\n" not in node.text else None


def _text(*texts: str) -> Iterator[Node]:
    return (Node("text", text) for text in texts)


def _buttons(*texts: str) -> Iterator[Node]:
    return (Node("button", text) for text in texts)


def _index(page: Page) -> Iterator[Node]:
    yield from _text("WebShop", "Instruction: ", page.instruction)
    yield from _buttons(SEARCH)


def _head(page: Page) -> Iterator[Node]:
    yield from _text("Instruction:", page.instruction)
    yield from _buttons(BACK_TO_SEARCH)


def _results(page: Page) -> Iterator[Node]:
    yield from _head(page)
    yield from _text(f"Page {page.state.page} (Total results: {page.total})")
    yield from _buttons(*([PREVIOUS] if page.state.page > 1 else []), NEXT)
    for product in page.products:
        yield Node("product", product.asin)
        yield from _text(product.title, product.price_shown)


def _item(page: Page) -> Iterator[Node]:
    (product,) = page.products
    yield from _head(page)
    yield from _buttons(PREVIOUS)
    for name, values in product.options.items():
        yield from _text(name)
        yield from (Node("option", value, name) for value in values)
    yield from _text(product.title, f"Price: {product.price_shown}", "Rating: N.A.")
    yield from _buttons(*SUB_PAGES[:3], BUY)


def _sub(page: Page) -> Iterator[Node]:
    (product,) = page.products
    yield from _head(page)
    yield from _buttons(PREVIOUS)
    match page.state.sub:
        case "Description":
            yield from _text(product.description)
        case "Features":
            yield from _text(*(f" {bullet}" for bullet in product.bullets))
        case "Attributes":
            yield from _text(*(f" {attribute}" for attribute in product.attributes))
            yield from _text(product.category, product.query, product.product_category)


def _done(page: Page) -> Iterator[Node]:
    yield from _text("Thank you for shopping with us!", "Your code: ", "None")
    yield from _text(" (Paste it in your MTurk interface.)", "Purchased")
    yield from _text("asin", page.state.asin, "options", _script_json(page.state.options))
    for label in ("attrs", "category", "query", "product category"):
        yield from _text(label, "None")
    if page.score is not None:
        yield from _text("Target", "asin", "options", "attrs", "price upper", "instuction text")
        yield from _text("category", "product category", "query", "Goal ", "None", "Reward")
        yield from _text("Your score (min 0.0, max 1.0)", str(page.score))
        yield from _text("Reward Details ", "None")


def _script_json(options: Mapping[str, str]) -> str:
    """Return options as the official page prints them: sorted, and safe inside a script."""
    text = json.dumps(dict(options), sort_keys=True)
    for character in "<>&'":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


_NODES: dict[Kind, Callable[[Page], Iterator[Node]]] = {
    "index": _index,
    "results": _results,
    "item": _item,
    "sub": _sub,
    "done": _done,
}
