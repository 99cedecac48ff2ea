"""Instructions that an executed ScienceWorld trajectory fulfils, in the style of the world's own.

Each family looks in what the trajectory did for a deed of its kind; one of those that are found is
drawn, and mostly asked for as a whole. Where nothing else was done there is the plain sequence of
deeds. Wordings vary; names, places and order are always said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from armap_agents.training.domains.scienceworld_asks import Ask, ask, progress
from armap_agents.training.domains.scienceworld_clauses import (
    Clause,
    Clauses,
    Family,
    asks_of,
    focuses_of,
)
from armap_agents.training.domains.scienceworld_finding import (
    conductivity,
    find,
    life_span,
    life_stages,
    temperature,
)
from armap_agents.training.domains.scienceworld_kinds import ROOMS, base, scenery
from armap_agents.training.domains.scienceworld_making import (
    change_of_state,
    circuit,
    growing,
    mixture,
)
from armap_agents.training.domains.scienceworld_reading import Event, Story

PLENTY = 3
"""Instructions are drawn the more often the more they ask for, up to so many deeds."""

WHOLE = 0.75
"""Chance that a deed is asked for as a whole."""


def word(story: Story, rng: Random, constraints: int | None) -> tuple[str, list[Ask]] | None:
    """Return an instruction's text and sub-goals; None where nothing was done worth asking for.

    Args:
        story: What the trajectory did.
        rng: Draws family and wording.
        constraints: How many sub-goals to ask for where it did as many; None mostly asks for all.
    """
    drafts: list[tuple[Clauses, float]] = []
    for family, weight in _FAMILIES:
        clauses = _shortened(family(story, rng) or [], rng, constraints)
        asks = asks_of(clauses)
        if asks and len(progress(story.events, asks).done) == len(asks):
            drafts.append((clauses, weight * min(_size(clauses), PLENTY)))
    if constraints is not None:
        nearest = min((abs(_size(clauses) - constraints) for clauses, _ in drafts), default=0)
        drafts = [d for d in drafts if abs(_size(d[0]) - constraints) == nearest]
    if not drafts:
        return None
    chosen = rng.choices([c for c, _ in drafts], [weight for _, weight in drafts])[0]
    text = " ".join(clause.text for clause in chosen if clause.text)
    return re.sub(r"substance [a-z]\b", lambda m: m[0][:-1] + m[0][-1].upper(), text), asks_of(
        chosen
    )


def _size(clauses: Clauses) -> int:
    """Return how many things are asked for; being somewhere goes without saying."""
    return sum(asked["do"] != "at" for asked in asks_of(clauses))


def _shortened(clauses: Clauses, rng: Random, constraints: int | None) -> Clauses:
    if constraints is None:
        if rng.random() < WHOLE:
            return clauses
        constraints = rng.randint(1, max(1, _size(clauses)))
    kept: Clauses = []
    for clause in clauses:
        if kept and _size([*kept, clause]) > constraints:
            break
        kept.append(clause)
    return kept


_DEEDS: dict[str, tuple[str, ...]] = {
    "focus": ("focus on the {what}", "focus on the {what} in the {room}"),
    "move": (
        "move the {what} to the {to} in the {room}",
        "put the {what} into the {to} in the {room}",
    ),
    "take": ("pick up the {what} in the {room}",),
    "measure": ("use the thermometer on the {what} in the {room}",),
    "activate": ("activate the {what} in the {room}", "turn on the {what} in the {room}"),
    "pour": ("pour the {what} into the {to} in the {room}",),
    "connect": ("connect the {what} to the {to}",),
    "make": ("mix things in the {room} to produce {what}",),
    "open": ("open the {what} in the {room}",),
}


_ORDER = ("First, {}.", "Then, {}.", "After that, {}.", "Finally, {}.")


def sequence(story: Story, rng: Random) -> Clauses | None:
    """Ask for up to four deeds of any kind; every focus up to the last of them is among them."""
    deeds = []
    for event in story.events:
        if event.do not in _DEEDS:
            continue
        if scenery(event.what) and event.do == "focus":
            break
        itself = base(event.what) == base(event.to)
        if event.room and event.to not in ROOMS and not scenery(event.what) and not itself:
            deeds.append(event)
    focuses = [e for e in deeds if e.do == "focus"][:2]
    others = [e for e in deeds if e.do != "focus"]
    last = focuses_of(story)[2].step if len(focuses_of(story)) > 2 else 10**6
    others = [e for e in others if e.step < last]
    chosen = sorted(
        [*focuses, *rng.sample(others, min(len(others), 4 - len(focuses)))], key=lambda e: e.step
    )
    if len(chosen) < 2:
        return None
    return [Clause(*_deed(event, place, rng)) for place, event in enumerate(chosen)]


def _deed(event: Event, place: int, rng: Random) -> tuple[str, tuple[Ask, ...]]:
    do = "take" if event.do == "move" and event.to == "inventory" else event.do
    form = rng.choice(_DEEDS[do])
    names = {"what": base(event.what), "to": base(event.to), "room": event.room}
    words = [names[field] for field in re.findall(r"\{(\w+)\}", form)]
    if do == "make":
        words = [event.room, names["what"]]
    room = event.room if "{room}" in form else None
    asked = ask(event.do, names["what"], [event.to] if event.to else [], room, words)
    head = "Your task is to work in the house. " if place == 0 and rng.random() < 0.2 else ""
    return head + _ORDER[place].format(form.format(**names)), (
        ask("at", event.room),
        asked,
    )


_FAMILIES: Sequence[tuple[Family, float]] = (
    (find, 2.5),
    (temperature, 3.0),
    (conductivity, 3.0),
    (life_span, 4.0),
    (life_stages, 4.0),
    (mixture, 3.0),
    (growing, 3.0),
    (circuit, 3.0),
    (change_of_state, 2.0),
    (sequence, 0.35),
)
