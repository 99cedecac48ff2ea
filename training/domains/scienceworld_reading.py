"""Reading a ScienceWorld trajectory: what was done where, and what was seen there.

Everything is taken from the commands and from the answers in words, never from scores: an answer
says what was really focused on or moved, a command alone only what was tried.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from armap_agents.training.domains.scienceworld_kinds import base
from armap_agents.trajectory import Trajectory

AMBIGUOUS = "Ambiguous request"
"""How the answer begins to a command that names several things; the reply to it is a number."""


@dataclass(frozen=True)
class Event:
    """Something that a step really did.

    Attributes:
        do: ``at`` (came to or looked around a room), ``focus``, ``move``, ``pour``, ``measure``,
            ``connect``, ``make``, ``activate``, ``open``, ``read``, ``wait`` or ``shown``.
        what: The thing, as the answer calls it; the room for ``at``.
        to: Where it was moved or poured, or what it was connected to.
        room: Where the agent was.
        step: Which step did it, from 1; 0 is the opening.
        number: Degrees celsius for ``measure``.
    """

    do: str
    what: str
    to: str = ""
    room: str = ""
    step: int = 0
    number: float = 0.0


@dataclass
class Story:
    """A trajectory, read.

    Attributes:
        events: What was done, in order.
        seen: Names of the things that were listed in each room, in the order of their listing.
        room: Where the agent is at the end.
    """

    events: list[Event] = field(default_factory=list)
    seen: dict[str, list[str]] = field(default_factory=dict)
    room: str = ""

    def where(self, step: int) -> str:
        """Return the room in which a step began."""
        return next((e.room for e in reversed(self.events) if e.step < step and e.room), "")


_ROOM = re.compile(r"This (?:room|outside location) is called the ([a-z ]+)\.")
_ARRIVED = re.compile(r"You (?:teleport|move) (?:through the door )?to the ([a-z ]+)\.")
_ANSWERS: Mapping[str, re.Pattern[str]] = {
    "focus": re.compile(r"You focus on the (?P<what>.+)\."),
    "move": re.compile(r"You move the (?P<what>.+) to the (?P<to>.+)\."),
    "pour": re.compile(r"You pour the (?:contents of the )?(?P<what>.+) into the (?P<to>.+)\."),
    "connect": re.compile(
        r".+? on (?P<what>.+) is now connected to (?:anode|cathode|terminal \d) on (?P<to>.+)"
    ),
    "make": re.compile(r".+ mix to produce (?:an? )?(?P<what>.+)\."),
    "activate": re.compile(r"The (?P<what>.+) is now activated\."),
    "open": re.compile(r"The (?P<what>.+) is now open\."),
    "read": re.compile(r"The (?P<what>.+) reads:.*", re.S),
    "wait": re.compile(r"You decide to (?P<what>wait) for \d+ iterations\."),
}
_MEASURED = re.compile(r"the thermometer measures a temperature of (-?[\d.]+) degrees celsius")
_USED_ON = re.compile(r"use thermometer.*? on (.+)")
_SHINING = re.compile(r"\b(\w+ light bulb|electric buzzer|electric motor), which is on\b")
_GROWN = re.compile(r"\b(\w+ (?:tree|plant)) in the (\w+) stage")
_POT = re.compile(r"(flower pot \d+) \(containing an? ([^,)]+)")


def read(trajectory: Trajectory) -> Story:
    """Return what a trajectory did and saw."""
    story = Story()
    _look(story, "look around", trajectory.observation.text, 0)
    for number, step in enumerate(trajectory.steps, 1):
        action, text = " ".join(step.action.split()), step.observation.text
        if arrived := _ARRIVED.fullmatch(text.strip()):
            story.room = arrived[1]
            story.events.append(Event("at", arrived[1], room=arrived[1], step=number))
        else:
            story.events += _done(story, action, text.strip(), number)
        _look(story, action, text, number)
    return story


def _done(story: Story, action: str, text: str, number: int) -> list[Event]:
    if measured := _MEASURED.fullmatch(text):
        used = _USED_ON.match(action)
        what = base(used[1]) if used else ""
        degrees = float(measured[1])
        return [Event("measure", what, room=story.room, step=number, number=degrees)]
    for do, pattern in _ANSWERS.items():
        if found := pattern.fullmatch(text):
            parts = found.groupdict()
            what = _staged(story, action, parts["what"]) if do == "focus" else parts["what"]
            return [Event(do, what, parts.get("to") or "", story.room, number)]
    return []


def _staged(story: Story, action: str, what: str) -> str:
    """Return a plant's name with its stage of life, which the answer leaves out."""
    if not re.search(r"(?:tree|plant)$", what):
        return what
    if named := re.search(r"\b(seedling|juvenile|adult|reproducing)\b", action):
        return f"{what} in the {named[1]} stage"
    pots = {pot: plant for name in story.seen.get(story.room, []) for pot, plant in _pots(name)}
    pot = re.search(r"flower pot \d+", action)
    grown = _GROWN.search(pots.get(pot[0], "")) if pot else None
    return f"{what} in the {grown[2]} stage" if grown else what


def _pots(name: str) -> list[tuple[str, str]]:
    return [(found[1], found[2]) for found in _POT.finditer(name)]


def _look(story: Story, action: str, text: str, number: int) -> None:
    """Note what a look around shows, and lamps and plants that any answer shows."""
    if action == "look around" and (room := _ROOM.match(text)):
        story.room = room[1]
        story.events.append(Event("at", room[1], room=room[1], step=number))
        story.seen[room[1]] = listed(text)
    shown = [found[1] for found in _SHINING.finditer(text)]
    shown += [found[0] for found in _GROWN.finditer(text)]
    story.events += [Event("shown", what, room=story.room, step=number) for what in shown]


def listed(text: str) -> list[str]:
    """Return the names of the things that a look around lists, with what they openly contain.

    A flower pot's name keeps what grows in it, and the plant follows under its own name.
    """
    names: list[str] = []
    for line in text.partition("You also see")[0].splitlines():
        if line.startswith("\t"):
            names += _names(line.strip())
    return list(dict.fromkeys(name for name in names if name not in ("agent", "air", "nothing")))


def _names(line: str) -> list[str]:
    if pots := _POT.search(line):
        return [line.split(" ", 1)[-1], base(pots[2])]
    line = re.sub(r"book \(([^)]*)\) titled [^,.)]*", r"book", line)
    head, *contents = re.split(r" \(containing |\. (?:On|In) the [a-z ]+? is: |\.? (?=The )", line)
    names = [_name(head)]
    for part in contents:
        if not part.startswith("The "):
            names += [_name(item) for item in re.split(r", (?!which)| \(containing ", part)]
    return [name for name in names if name]


def _name(item: str) -> str:
    item = re.sub(r", .*|\(.*", "", item.strip(" .)"))
    return re.sub(r"^(?:[Aa]n?|the) (?:substance called )?", "", item).strip(" .)").lower()
