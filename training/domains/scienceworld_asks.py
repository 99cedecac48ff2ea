"""What ScienceWorld instructions ask for: sub-goals in order, and how many an episode did.

A sub-goal is JSON, ``{"do": "focus", "what": ["animal"], "room": null, "words": ["animal"]}``: an
event of a kind (`scienceworld_reading.Event`), on one of these things or kinds, in a room, with the
words by which a text names it. The rules are those that the world's instructions state: what is
asked for comes in its order, and whoever focuses on anything else meanwhile has failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from armap_agents.training.domains.scienceworld_kinds import base, is_a
from armap_agents.training.domains.scienceworld_reading import Event

IT = "it"
"""Stands for the thing that was focused on last, as asked."""


class Ask(TypedDict):
    """A sub-goal.

    Attributes:
        do: What has to happen, as `Event.do` has it.
        what: Things or kinds, one of which it has to happen to; rooms for ``at``.
        to: Where it has to be moved or poured, or what it has to be connected to; empty for
            anything.
        room: Where; None for anywhere.
        words: How a text names this sub-goal; empty for what goes without saying.
    """

    do: str
    what: list[str]
    to: list[str]
    room: str | None
    words: list[str]


def ask(
    do: str,
    what: str | Iterable[str],
    to: str | Iterable[str] = (),
    room: str | None = None,
    words: Iterable[str] = (),
) -> Ask:
    """Return a sub-goal."""
    whats = [what] if isinstance(what, str) else list(what)
    tos = [to] if isinstance(to, str) else list(to)
    return {"do": do, "what": whats, "to": tos, "room": room, "words": list(words)}


def meets(event: Event, asked: Ask, it: str) -> bool:
    """Whether an event is what a sub-goal asks for, whatever comes before.

    Args:
        event: What happened.
        asked: The sub-goal.
        it: The thing that was focused on last, as asked.
    """
    if event.do != asked["do"] or asked["room"] not in (None, event.room):
        return False
    if asked["to"] and not any(goes(event.to, to) for to in asked["to"]):
        return False
    return any(_is(event, what, it) for what in asked["what"])


def goes(to: str, asked: str) -> bool:
    """Whether a container is the one that is asked for, such as any ``flower pot``."""
    return re.search(rf"\b{re.escape(base(asked))}\b", base(to)) is not None


def _is(event: Event, what: str, it: str) -> bool:
    if what == IT:
        return bool(it) and base(event.what) == base(it)
    if event.do == "at":
        return event.what == what
    if event.do == "connect" and is_a(event.to, what):  # a wire has two ends
        return True
    if " stage" in what or _young(what):  # stages of life differ, although the thing is the same
        return event.what == what
    return is_a(event.what, what)


def _young(what: str) -> bool:
    return what.startswith(("baby ", "hatchling ", "juvenile ", "adult ")) or what.endswith(" egg")


@dataclass(frozen=True)
class Progress:
    """How far an episode came.

    Attributes:
        done: Places of the sub-goals that were done, with the step that did each.
        it: The thing that was focused on last, as asked.
        failed: The step that focused on something else, so that nothing more can be done.
    """

    done: dict[int, int]
    it: str = ""
    failed: int | None = None


WEIGHTS = {"at": 1.0, "focus": 3.0}
"""What a sub-goal counts, others 2: the focus decides, being somewhere only leads there."""


def share(found: Progress, asks: Sequence[Ask]) -> float:
    """Return the share of the sub-goals that was done, by weight; exactly 1.0 for all."""
    weights = [WEIGHTS.get(asked["do"], 2.0) for asked in asks]
    return sum(weights[place] for place in found.done) / sum(weights)


def following(found: Progress, asks: Sequence[Ask]) -> Ask | None:
    """Return the first sub-goal that is left to do."""
    return next((a for place, a in enumerate(asks) if place not in found.done), None)


def progress(events: Sequence[Event], asks: Sequence[Ask]) -> Progress:
    """Return how far an episode came.

    Deeds count in their order; having been somewhere counts whenever it was, or with the deed that
    it leads to. A focus on anything else than what is to be focused on next fails; once nothing is,
    a focus is nothing.
    """
    done: dict[int, int] = {}
    deeds = [place for place, asked in enumerate(asks) if asked["do"] != "at"]
    it = ""
    for event in events:
        _visit(event, asks, done)
        left = [place for place in deeds if place not in done]
        if left and meets(event, asks[left[0]], it):
            it = event.what if event.do == "focus" else it
            done[left[0]] = event.step
            if left[0] and asks[left[0] - 1]["do"] == "at":
                done.setdefault(left[0] - 1, event.step)
        elif _wrong(event, asks, left, it):
            return Progress(done, it, event.step)
        if len(done) == len(asks):
            break
    return Progress(done, it)


def _visit(event: Event, asks: Sequence[Ask], done: dict[int, int]) -> None:
    for place, asked in enumerate(asks):
        if asked["do"] == "at" and event.room in asked["what"]:
            done.setdefault(place, event.step)


def _wrong(event: Event, asks: Sequence[Ask], left: Sequence[int], it: str) -> bool:
    """Whether an event is a focus on something else than the next that is to be focused on."""
    asked = next((asks[place] for place in left if asks[place]["do"] == "focus"), None)
    return event.do == "focus" and asked is not None and not meets(event, asked, it)
