"""Instructions about things that come to be: mixed, grown, lit, melted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from armap_agents.training.domains.scienceworld_asks import IT, ask
from armap_agents.training.domains.scienceworld_clauses import (
    Clause,
    Clauses,
    connects,
    first_focus,
    focuses_of,
    put_away,
    sort_of,
)
from armap_agents.training.domains.scienceworld_kinds import base, is_a, kinds
from armap_agents.training.domains.scienceworld_reading import Event, Story


def mixture(story: Story, rng: Random) -> Clauses | None:
    """Mix things, and name what came out; paints perhaps twice."""
    made = [event for event in story.events if event.do == "make"]
    if not made:
        return None
    focuses = focuses_of(story)
    products = _products(made, focuses) or [made[0].what]
    if focuses and focuses[0].step < made[0].step:
        return None
    kind = rng.choice(("", "the substance "))
    clauses = [
        Clause(
            f"Your task is to use chemistry to create {kind}{products[-1]}.",
            (ask("at", made[0].room),),
        )
    ]
    clauses += [
        Clause(
            "When you are part-way done, focus on the intermediate (secondary color) paint you "
            "created.",
            (ask("make", product), ask("focus", product)),
        )
        for product in products[:-1]
    ]
    clauses.append(Clause("", (ask("make", products[-1], words=[products[-1]]),)))
    if _products(made, focuses):
        when = "completely done" if len(products) > 1 else "done"
        focus = f"When you are {when}, focus on the {products[-1]}."
        clauses.append(Clause(focus, (ask("focus", products[-1]),)))
    return clauses


def _products(made: Sequence[Event], focuses: Sequence[Event]) -> list[str]:
    """Return what was made and then focused on, first things first; at most two."""
    products: list[str] = []
    for focus in focuses[:2]:
        if not any(is_a(focus.what, m.what) and m.step < focus.step for m in made):
            break
        products.append(base(focus.what))
    return list(dict.fromkeys(products))


def growing(story: Story, rng: Random) -> Clauses | None:
    """Plant a seed."""
    focus = first_focus(story)
    if focus is None or "seed" not in kinds(focus.what):
        return None
    sort = sort_of(focus)
    clauses = [
        Clause(
            f"Your task is to grow a {sort} plant from seed. Seeds can be found in the "
            f"{focus.room}.",
            (ask("at", focus.room),),
        ),
        Clause("First, focus on a seed.", (ask("focus", focus.what, words=[f"{sort} plant"]),)),
    ]
    put = put_away(story, focus.what, focus.step, "pot")
    if put is not None:
        clauses.append(
            Clause(
                rng.choice(
                    (
                        "Then, make changes to the environment that grow the plant until it "
                        "reaches the reproduction life stage.",
                        "Then, bring it into soil and water, and let the plant grow.",
                    )
                ),
                (ask("at", put.room), ask("move", IT, "flower pot", put.room)),
            )
        )
    return clauses


def circuit(story: Story, rng: Random) -> Clauses | None:
    """Light a lamp, or run a motor."""
    focus = first_focus(story)
    if focus is None or not re.search(r"light bulb|buzzer|motor", focus.what):
        return None
    name = base(focus.what)
    clauses = [
        Clause(f"Your task is to turn on the {name}.", (ask("at", focus.room),)),
        Clause(f"First, focus on the {name}.", (ask("focus", name, words=[name]),)),
    ]
    joined = [e for e in story.events if connects(e, name, focus.step)]
    lit = any(
        e.do == "shown" and e.what == focus.what and e.step > focus.step for e in story.events
    )
    if joined:
        asks = [ask("connect", name) for _ in joined[:2]]
        asks += [ask("shown", focus.what)] if lit else []
        clauses.append(
            Clause(
                rng.choice(
                    (
                        "Then, create an electrical circuit that powers it on.",
                        "Then, connect it so that it can be powered.",
                    )
                ),
                tuple(asks),
            )
        )
    return clauses


_CHANGES = {
    "boil": ("stove",),
    "melt": ("stove", "oven", "blast furnace"),
    "freeze": ("freezer", "ultra low temperature freezer"),
    "change the state of matter of": ("stove", "freezer", "ultra low temperature freezer"),
}


def change_of_state(story: Story, rng: Random) -> Clauses | None:
    """Heat or cool a substance."""
    focus = first_focus(story)
    if focus is None or {"animal", "plant"} & kinds(focus.what):
        return None
    name = base(focus.what)
    put = put_away(story, name, focus.step)
    if put is None:
        return None
    ways = [way for way, devices in _CHANGES.items() if put.to in devices]
    if not ways:
        return None
    on = any(e.do == "activate" and e.what == put.to and e.step > put.step for e in story.events)
    return [
        Clause(f"Your task is to {rng.choice(ways)} {name}.", (ask("at", focus.room),)),
        Clause("First, focus on the substance.", (ask("focus", name, words=[name]),)),
        Clause(
            "Then, take actions that will cause it to change its state of matter.",
            (
                ask("at", put.room),
                ask("move", IT, put.to),
                *((ask("activate", put.to),) if on else ()),
            ),
        ),
    ]
