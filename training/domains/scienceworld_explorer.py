"""An explorer of ScienceWorld: knows where it is and what is listed, and aims at things.

Its steps (go somewhere, focus on something, take it, put it away …) are generators of commands;
scripts are made of them, and so are continuations that aim at what an instruction asks for. What it
draws is often what the opening's instruction names, since a task's world is furnished for that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from random import Random

from armap_agents.errors import ConfigurationError
from armap_agents.training.domains.scienceworld_asks import IT, Ask
from armap_agents.training.domains.scienceworld_kinds import (
    KINDS,
    ROOMS,
    base,
    is_a,
    kinds,
    scenery,
    stage,
)
from armap_agents.training.domains.scienceworld_reading import read
from armap_agents.trajectory import Trajectory

Script = Iterator[str]
"""Yields commands; before each it sees what the one before it led to."""

NAMED = 0.5
"""Chance that a room or a thing is drawn among those that the opening names."""

ALIVE = ("outside", "greenhouse")
"""Rooms in which anybody would look for something alive."""

LIVELY = 3.0
"""How much more often those are gone to, since all else is full of things that are not."""

POCKETED = "orange"
"""What the agent carries from the start, so that it is listed everywhere."""

BOXED = 0.7
"""Chance that a thing is put into a coloured box where there is one, as most tasks want it."""


class Explorer:
    """Chooses commands among those that are listed where a trajectory ends.

    Args:
        hint: An instruction; what it names is drawn more often.
        rng: Draws everything.
    """

    def __init__(self, hint: str, rng: Random) -> None:
        self.hint = hint.lower()
        self.rng = rng
        self.seen: Trajectory | None = None
        self.room = ""

    def look(self, trajectory: Trajectory) -> None:
        """Take in what the newest step shows.

        Raises:
            ConfigurationError: It lists no commands.
        """
        self.seen = trajectory
        self.room = read(trajectory).room
        if not trajectory.last.actions:
            raise ConfigurationError(
                "scienceworld lists no commands: explore it with -E actions=valid"
            )

    @property
    def listed(self) -> tuple[str, ...]:
        """The commands that are valid now; telling the task again is none."""
        assert self.seen is not None
        actions = self.seen.last.actions or ()
        return tuple(action for action in actions if action != "task")

    def random(self) -> str:
        """Return a random command, verbs balanced."""
        verbs: dict[str, list[str]] = {}
        for action in self.listed:
            verbs.setdefault(action.split()[0], []).append(action)
        return self.rng.choice(verbs[self.rng.choice(sorted(verbs))])

    def chance(self, share: float) -> bool:
        """Whether something happens that happens in a share of the cases."""
        return self.rng.random() < share

    def targets(self, verb: str) -> list[str]:
        """Return what can be done something to, as the listed commands name it."""
        return [a[len(verb) + 1 :] for a in self.listed if a.startswith(f"{verb} ")]

    def draw(self, names: Iterable[str], wanted: Callable[[str], bool] | None = None) -> str | None:
        """Draw a thing: often one that the opening names, else kinds balanced, scenery hardly."""
        found = [name for name in names if wanted is None or wanted(name)]
        named = [name for name in found if self._named(name) and not scenery(name)]
        if named and self.chance(NAMED):
            return self.rng.choice(named)
        groups: dict[str, list[str]] = {}
        for name in found:
            groups.setdefault(min(kinds(name) - {"living thing"}, default="other"), []).append(name)
        if not groups:
            return None
        group = groups[self.rng.choice(sorted(groups))]
        return self.rng.choices(group, [0.05 if scenery(name) else 1.0 for name in group])[0]

    def _named(self, name: str) -> bool:
        """Whether the opening speaks of a thing, by its name or as a kind."""
        if base(name) == POCKETED or name.endswith("box"):  # colours and goals, no things to find
            return False
        words = [base(name), *(kinds(name) - {"non-living thing"})]
        return any(re.search(rf"\b{re.escape(word)}\b", self.hint) for word in words if word)

    def a_room(self) -> str:
        """Draw a room, often one that the opening names."""
        named = [room for room in ROOMS if re.search(rf"\b{room}\b", self.hint)]
        if named and self.chance(NAMED):
            return self.rng.choice(named)
        return self.rng.choices(ROOMS, [LIVELY if room in ALIVE else 1.0 for room in ROOMS])[0]

    def a_source(self) -> str:
        """Draw a room to look for things in, for something alive often where that may be."""
        alive = re.search(r"animal|plant|(?<!non-)living thing", self.hint)
        return self.rng.choice(ALIVE) if alive and self.chance(NAMED) else self.a_room()

    def things(self, verb: str) -> list[str]:
        """Return what can be done something to and is a thing to find."""
        found = self.targets(verb)
        return [name for name in found if not scenery(name) and base(name) != POCKETED]

    # Steps that scripts are made of.

    def go(self, room: str, look: float = 0.7) -> Script:
        """Go to a room, and mostly look around there."""
        if self.room != room:
            walk = f"go to {room}"
            yield walk if walk in self.listed and self.chance(0.3) else f"teleport to {room}"
        if self.chance(look):
            yield "look around"

    def focus(self, what: Iterable[str]) -> Script:
        """Focus on something that is listed."""
        wanted = list(what)
        name = self.draw(self.targets("focus on"), lambda n: any(fits(n, w) for w in wanted))
        if name:
            yield f"focus on {name}"

    def take(self, what: str) -> Script:
        """Pick a thing up."""
        name = self.draw(self.targets("pick up"), lambda n: fits(n, what))
        if name:
            yield f"pick up {name}"

    def put(self, verb: str, what: str, to: Callable[[str], bool]) -> Script:
        """Move or pour a thing into something else."""
        pairs = [found for t in self.targets(verb) for found in splits(t) if fits(found[0], what)]
        places = [t for _, t in pairs if to(t)]
        boxes = [t for t in places if t.endswith("box")]
        where = self.draw(boxes if boxes and self.chance(BOXED) else places)
        if where:
            between = "into" if verb in ("pour", "dunk") else "to"
            yield f"{verb} {next(w for w, t in pairs if t == where)} {between} {where}"

    def measure(self, what: str) -> Script:
        """Use the thermometer on a thing."""
        uses = [u for u in self.targets("use") if "thermometer" in u and " on " in u]
        name = self.draw([u.partition(" on ")[2] for u in uses], lambda n: fits(n, what))
        if name:
            yield next(f"use {u}" for u in uses if u.endswith(f" on {name}"))

    def pursue(self, asked: Ask, it: str) -> Script:
        """Aim at a sub-goal.

        Args:
            asked: The sub-goal.
            it: The thing that was focused on last, as asked.
        """
        what = [it if what == IT else what for what in asked["what"]]
        if asked["do"] == "at":
            yield from self.go(self.rng.choice(what))
            return
        if asked["do"] == "move" and self.room != asked["room"]:
            yield from self.take(what[0])
        if asked["room"] is not None and self.room != asked["room"]:
            yield from self.go(asked["room"], look=0.3)
        if asked["do"] == "focus":
            yield from self.focus(what)
        elif asked["do"] in ("move", "pour"):
            to = asked["to"]
            yield from self.put(asked["do"], what[0], lambda n: any(is_a(n, t) for t in to))
        elif asked["do"] == "measure":
            yield from self.measure(what[0])
        else:
            yield from self._simple(asked["do"], what[0])

    def _simple(self, do: str, what: str) -> Script:
        verb = {"make": "mix", "activate": "activate", "connect": "connect"}.get(do, "wait")
        name = self.draw(self.targets(verb), lambda n: do == "make" or fits(n, what))
        yield f"{verb} {name}" if name else "wait"


def fits(name: str, what: str) -> bool:
    """Whether a command's name of a thing may mean what is wanted."""
    if what in KINDS:
        return is_a(name, what)
    age, wanted = stage(name), stage(what)
    if age is not None and wanted is not None and age != wanted:
        return False
    return base(name) == base(what) or re.search(rf"\b{re.escape(base(what))}\b", name) is not None


def splits(targets: str) -> list[tuple[str, str]]:
    """Return what a command such as ``move jug to sink`` may move where."""
    parts = re.split(r" (?:to|into) ", targets, maxsplit=1)
    return [(parts[0], parts[1])] if len(parts) == 2 else []
