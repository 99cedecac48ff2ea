"""What a policy is told about the shop: the rules, and two purchases to learn the form from.

The worked examples happen in a shop of three invented products, so that they are short, belong to
no split and look exactly as the environment's pages do: they are made by the same functions.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from armap_agents.environment import Guide
from armap_agents.tools.webshop.pages import Page
from armap_agents.tools.webshop.product import Product
from armap_agents.tools.webshop.session import ObservationMode, Place, View, observation
from armap_agents.tools.webshop.state import State
from armap_agents.trajectory import Step, Task, Trajectory

_RULES = (
    "You shop in a web shop for what the instruction asks for. search[words] finds products; a "
    "few words that name the product and its most telling features work best. click[text] "
    "clicks what the page shows under that text: a product's id opens it, a value such as a colour "
    "or a size chooses it, < prev goes back, next > shows more results. Before you buy, compare "
    "the product with the instruction: what it is, every feature, its price; look at description "
    "and features where the title leaves doubt. Choose a value of every option that the "
    "instruction names. click[buy now] buys the product with the chosen values and ends the "
    "episode: you buy once."
)


def _product(
    asin: str, title: str, price: float, bullets: tuple[str, ...], **options: tuple[str, ...]
) -> Product:
    return Product(
        asin=asin,
        title=title,
        description="",
        bullets=bullets,
        prices=(price,),
        price_shown=f"${price}",
        options=options,
        attributes=(),
        category="",
        query="",
        product_category="",
        images=(),
    )


_LANTERN = _product(
    "EX00000001",
    "Fennmoor Camping Lantern with Hook",
    18.5,
    ("runs on three AA cells", "splash proof housing"),
    color=("olive", "orange"),
)
_CHARGED = _product(
    "EX00000002",
    "Fennmoor Rechargeable Camping Lantern",
    34.0,
    ("charges by USB in four hours", "splash proof housing"),
    color=("olive", "orange", "sand"),
)
_TEAPOT = _product(
    "EX00000003",
    "Quillby Stoneware Teapot",
    27.25,
    ("dishwasher safe",),
    color=("moss", "slate"),
    size=("2 cups", "4 cups"),
)

_EXAMPLES = (
    (
        "Find me a dishwasher safe stoneware teapot with color: slate, and size: 4 cups, and price "
        "lower than 40.00 dollars",
        (_TEAPOT,),
        (
            ("I look for the teapot by what it is made of.", "search[stoneware teapot]"),
            ("The price is below 40 dollars, and it is stoneware.", "click[ex00000003]"),
            ("Is it dishwasher safe?", "click[features]"),
            ("It is. Back to the product to choose.", "click[< prev]"),
            ("The colour has to be slate.", "click[slate]"),
            ("And the size 4 cups.", "click[4 cups]"),
            ("Everything fits.", "click[buy now]"),
        ),
    ),
    (
        "Find me a splash proof rechargeable lantern with color: sand, and price lower than 40.00 "
        "dollars",
        (_LANTERN, _CHARGED),
        (
            ("Rechargeable is the most telling word.", "search[rechargeable lantern]"),
            (
                "The first lantern's title does not say rechargeable, the second's does, and it "
                "costs less than 40 dollars.",
                "click[ex00000002]",
            ),
            ("The colour has to be sand.", "click[sand]"),
            ("Product, colour and price fit.", "click[buy now]"),
        ),
    ),
)


@cache
def guide(mode: ObservationMode) -> Guide:
    """Return the rules and the worked examples, with observations in an official text mode."""
    return Guide(
        _RULES,
        tuple(
            _played(f"example-{k}", instruction, products, steps, mode)
            for k, (instruction, products, steps) in enumerate(_EXAMPLES, 1)
        ),
    )


def _played(
    name: str,
    instruction: str,
    products: tuple[Product, ...],
    steps: Iterable[tuple[str, str]],
    mode: ObservationMode,
) -> Trajectory:
    """Return an episode in a shop where every search finds all of `products`."""
    place = Place(State(name))
    view = View.of(_page(place.state, instruction, products))
    opening = observation(view, place.visited, mode, {})
    task = Task(name, "webshop", instruction=instruction)
    trajectory = Trajectory(task, instruction, opening)
    for thought, action in steps:
        place = place.after(action, view.clickable)
        view = View.of(_page(place.state, instruction, products))
        seen = observation(view, place.visited, mode, {})
        done = place.state.kind == "done"
        trajectory = trajectory.extended(Step(action, seen, done, thought=thought))
    return trajectory


def _page(state: State, instruction: str, products: tuple[Product, ...]) -> Page:
    if state.kind == "index":
        return Page(state, instruction)
    shown = tuple(p for p in products if state.asin in ("", p.asin))
    return Page(state, instruction, shown, total=len(products))
