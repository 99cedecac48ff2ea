"""Ways to do a ScienceWorld task wrong that look like doing it right.

Each changes a deed that the instruction asks for and leaves everything else as it was, so that the
result has the length and the ending of the good episode and names nearly the same things.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from random import Random

from armap_agents.training.domain import Corruption
from armap_agents.training.domains.scienceworld_asks import Ask, goes, progress
from armap_agents.training.domains.scienceworld_kinds import (
    ROOMS,
    base,
    doubtful,
    is_a,
    kinds,
    scenery,
)
from armap_agents.training.domains.scienceworld_reading import read
from armap_agents.trajectory import Trajectory

NEUTRAL = ("look around", "inventory", "wait1")
"""Commands that change nothing."""

_CONTAINER = re.compile(
    r"\b(?:box|cup|jar|jug|pot|bowl|table|desk|chair|couch|bed|counter|shelf|closet|cupboard|sink"
    r"|bathtub|fountain|fire pit|freezer|fridge|stove|oven|flower pot \d+)$"
)


class Corrupter:
    """Makes wrong copies of one trajectory.

    Args:
        trajectory: Does all that is asked.
        asks: What is asked.
        others: Other trajectories of the same task; what they saw may be mistaken for it.
        rng: Draws.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        asks: Sequence[Ask],
        others: Sequence[Trajectory],
        rng: Random,
    ) -> None:
        self.trajectory = trajectory
        self.actions = tuple(trajectory.actions)
        self.asks = asks
        self.rng = rng
        self.story = read(trajectory)
        self.stories = [self.story, *(read(other) for other in others)]
        self.done = progress(self.story.events, asks).done

    def all(self) -> list[Corruption]:
        """Return every kind of wrong copy that there is, in random order, without duplicates."""
        found: dict[tuple[str, ...], str] = {}
        for corruption in self._all():
            if corruption.actions != self.actions:
                found.setdefault(corruption.actions, corruption.kind)
        made = [Corruption(kind, actions) for actions, kind in found.items()]
        self.rng.shuffle(made)
        return made

    def _all(self) -> Iterator[Corruption]:
        deeds = [
            (self.asks[place], step)
            for place, step in sorted(self.done.items())
            if step and self.asks[place]["do"] != "at"
        ]
        for asked, step in deeds:
            if asked["do"] == "focus":
                yield from self._focus(asked, step)
            elif asked["do"] == "move":
                yield from self._move(asked, step)
            elif asked["do"] in ("measure", "activate", "connect", "pour"):
                yield from self._other_object(asked, step)
        if deeds:
            last = deeds[-1][1]
            yield self._with("stops early", last, self.rng.choice(NEUTRAL))
            middle = self.rng.choice(deeds)[1]
            if middle != last:
                yield self._with("leaves out", middle, self.rng.choice(NEUTRAL))
        yield from self._swapped([step for _, step in deeds])

    def _with(self, kind: str, step: int, action: str) -> Corruption:
        """Return the actions with another command at a step, and no choice of what it meant."""
        changed = list(self.actions)
        if changed[step - 1].isdecimal() and step > 1:
            changed[step - 1] = self.rng.choice(NEUTRAL)
            step -= 1
        changed[step - 1] = action
        return Corruption(kind, tuple(changed))

    def _command(self, step: int) -> str:
        """Return the command of a step, also where the step only chose what that meant."""
        chosen = self.actions[step - 1].isdecimal() and step > 1
        return self.actions[step - 2] if chosen else self.actions[step - 1]

    def _focus(self, asked: Ask, step: int) -> Iterator[Corruption]:
        room = self.story.where(step)
        wrong = self._mistaken(asked, room, step)
        if not wrong:
            return
        yield self._with("wrong focus", step, f"focus on {self.rng.choice(wrong)}")
        first = f"focus on {self.rng.choice(wrong)}"
        early = step - 1 if self.actions[step - 1].isdecimal() else step
        yield Corruption("wrong focus first", self._inserted(early, first))
        other = self.rng.choice(wrong)
        name = self._command(step).removeprefix("focus on ")
        changed = self._with("", step, f"focus on {other}").actions
        names = rf"\b(?:{re.escape(name)}|{re.escape(base(name))})\b(?! box)"
        later = (re.sub(names, other, action) for action in changed[step:])
        yield Corruption("another thing", (*changed[:step], *later))
        elsewhere = self.rng.choice([r for r in ROOMS if r != room])
        seen = [n for s in self.stories for n in s.seen.get(elsewhere, []) if _wrong(n, asked)]
        arrival = self._arrival(step)
        if arrival and seen:
            moved = list(self.actions)
            moved[arrival - 1] = f"teleport to {elsewhere}"
            moved[step - 1] = f"focus on {self.rng.choice(seen)}"
            yield Corruption("wrong room", tuple(moved))

    def _move(self, asked: Ask, step: int) -> Iterator[Corruption]:
        what, to, _ = self._command(step).rpartition(" to ")
        room = self.story.where(step)
        seen = {n for s in self.stories for n in s.seen.get(room, []) if not scenery(n)}
        pots = [n for n in seen if _CONTAINER.search(n) and n not in what]
        wrong = sorted(n for n in pots if not any(goes(n, right) for right in asked["to"]))
        if to and what and wrong:
            boxes = [n for n in wrong if n.endswith("box")] or wrong
            yield self._with("wrong container", step, f"{what} to {self.rng.choice(boxes)}")
        if what:
            yield self._with("left in the room", step, f"{what} to {room}")
        arrival = self._arrival(step)
        if arrival and asked["room"] is not None:
            elsewhere = self.rng.choice([r for r in ROOMS if r != asked["room"]])
            yield self._with("wrong room", arrival, f"teleport to {elsewhere}")
        taken = [
            e.step
            for e in self.story.events
            if e.do == "move" and e.to == "inventory" and e.step < step
        ]
        if taken:
            yield self._with("not picked up", taken[-1], self.rng.choice(NEUTRAL))

    def _other_object(self, asked: Ask, step: int) -> Iterator[Corruption]:
        wrong = self._mistaken(asked, self.story.where(step), step)
        command = self._command(step)
        name = _target(command)
        if wrong:
            head = command.removesuffix(name)
            yield self._with("another thing", step, head + self.rng.choice(wrong))

    def _swapped(self, steps: list[int]) -> Iterator[Corruption]:
        distinct = sorted(set(steps))
        if len(distinct) > 1:
            early, late = sorted(self.rng.sample(distinct, 2))
            swapped = list(self.actions)
            swapped[early - 1], swapped[late - 1] = swapped[late - 1], swapped[early - 1]
            yield Corruption("swapped order", tuple(swapped))

    def _mistaken(self, asked: Ask, room: str, step: int) -> list[str]:
        """Return things of a room that are surely not what is asked for."""
        listed = self.trajectory.prefix(step - 1).last.actions or ()
        names = [a.removeprefix("focus on ") for a in listed if a.startswith("focus on ")]
        if not names:
            names = [name for story in self.stories for name in story.seen.get(room, [])]
        wrong = sorted({name for name in names if _wrong(name, asked)})
        alive = [name for name in wrong if "living thing" in kinds(name)]
        return alive if alive and self.rng.random() < 0.5 else wrong

    def _arrival(self, step: int) -> int | None:
        """Return the step that brought the agent where a step was taken."""
        room = self.story.where(step)
        arrivals = [
            e.step
            for e in self.story.events
            if e.do == "at" and 0 < e.step < step and self.story.where(e.step) != room
        ]
        return arrivals[-1] if arrivals else None

    def _inserted(self, step: int, action: str) -> tuple[str, ...]:
        """Return the actions with one more before a step, and one less that did nothing asked."""
        idle = [
            number
            for number, done in enumerate(self.actions, 1)
            if number not in self.done.values() and done in (*NEUTRAL, "wait")
        ]
        actions: list[str] = []
        drop = self.rng.choice(idle) if idle else None
        for number, done in enumerate(self.actions, 1):
            if number == step:
                actions.append(action)
            if number != drop:
                actions.append(done)
        return tuple(actions)


def _target(action: str) -> str:
    """Return the last thing that a command names."""
    if action.startswith("activate "):
        return action.removeprefix("activate ")
    return re.split(r" (?:on|to|into) ", action)[-1]


def _wrong(name: str, asked: Ask) -> bool:
    if scenery(name) or "jar" in name:
        return False
    return not any(is_a(name, what) or doubtful(name, what) for what in asked["what"])
