"""What ScienceWorld instructions are made of: clauses, and the deeds that they are about.

A family of instructions is a function that finds a deed of its kind in a story and words it, clause
by clause, each with the sub-goals that it asks for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from armap_agents.training.domains.scienceworld_asks import IT, Ask, ask
from armap_agents.training.domains.scienceworld_kinds import ROOMS, base, is_a, scenery
from armap_agents.training.domains.scienceworld_reading import Event, Story

_MASS = re.compile(
    r"\b(?:water|ice|soil|soap|wood|paint|juice|chocolate|chloride|bread|foil|paper|substance \w)$"
)


@dataclass(frozen=True)
class Clause:
    """A sentence or two of an instruction, and what they ask for.

    Attributes:
        text: The words.
        asks: The sub-goals, in order.
    """

    text: str
    asks: tuple[Ask, ...] = ()


Clauses = list[Clause]
Family = Callable[[Story, Random], Clauses | None]
"""Returns the clauses of an instruction that a story fulfils; None where it has no such deed."""


def asks_of(clauses: Clauses) -> list[Ask]:
    """Return the sub-goals of clauses, in order."""
    return [asked for clause in clauses for asked in clause.asks]


def a(name: str) -> str:
    """Return a name with its article; substances have none."""
    if _MASS.search(name):
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def focuses_of(story: Story) -> list[Event]:
    """Return every focus of a story, in order."""
    return [event for event in story.events if event.do == "focus"]


def first_focus(story: Story) -> Event | None:
    """Return the first focus, unless it is on what nobody would ask for."""
    focuses = focuses_of(story)
    return focuses[0] if focuses and not scenery(focuses[0].what) else None


def put_away(story: Story, what: str, after: int, into: str = "") -> Event | None:
    """Return how a thing was put into something that is neither pocket nor room."""
    for event in story.events:
        moved = event.do == "move" and event.step > after and base(event.what) == base(what)
        if moved and event.to not in ("inventory", *ROOMS) and into in event.to:
            return event
    return None


def took(event: Event, name: str) -> bool:
    """Whether a thing was picked up."""
    return event.do == "move" and event.to == "inventory" and base(event.what) == name


def near(story: Story, what: str, found: Event) -> Ask:
    """Return the sub-goal to be where such a thing is, as far as the trajectory saw."""
    rooms = [room for room, names in story.seen.items() if any(is_a(n, what) for n in names)]
    return ask("at", sorted({found.room, *rooms}))


def moved(story: Story, put: Event, after: int, *, said: bool = True) -> tuple[Ask, ...]:
    """Return the sub-goals of having put away what was focused on.

    Args:
        story: What the trajectory did.
        put: How it was put away.
        after: The step before which nothing of this counts.
        said: Whether the text names the container and the room.
    """
    taken = [e for e in story.events if after < e.step < put.step and took(e, base(put.what))]
    words = [base(put.to), put.room] if said else []
    return (
        *((ask("move", IT, "inventory"),) if taken else ()),
        ask("at", put.room),
        ask("move", IT, put.to, put.room, words),
    )


def connects(event: Event, name: str, after: int) -> bool:
    """Whether a thing was connected to another, after a step."""
    return (
        event.do == "connect" and event.step > after and name in (base(event.what), base(event.to))
    )


def sort_of(event: Event) -> str:
    """Return what plant or animal something is a stage of."""
    return re.sub(r" (?:tree|plant|seed)$", "", base(event.what))
