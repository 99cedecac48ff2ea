"""What data generation knows about Game of 24 beyond its environment.

Which puzzles may be used, when a trajectory fulfils an instruction, which instruction it fulfils,
and how its prefixes continue at random. It knows the rules and can check "is it 24" on an executed
episode; it never searches for a solution. Continuations run on a cache of transitions (states as
small integers), because they are the bulk of the work.
"""

from __future__ import annotations

import random
import re
from functools import cached_property
from itertools import combinations_with_replacement

from armap_agents.reward.render import Rendering
from armap_agents.tools.game24.arithmetic import (
    TARGET,
    Numbers,
    format_numbers,
    legal_steps,
    numbers_left,
)
from armap_agents.tools.game24.environment import SPLITS, Game24, instruction, puzzle_task, puzzles
from armap_agents.training.explore import Continuations
from armap_agents.trajectory import Task, Trajectory

LARGEST = 13
"""Puzzles are made of the numbers of playing cards, like the ranked ones."""

_INSTRUCTION = re.compile(r"(?P<numbers>.*?)\bto make (?P<target>-?\d+(?:/\d+)?)\.?\s*", re.S)
_NUMBER = re.compile(r"(?<![\w/.])\d+(?![\w/])")


class Game24Domain:
    """Generation's knowledge of Game of 24; see `armap_agents.training.domain.Domain`."""

    environment = "game24"
    rendering = Rendering(
        history="newest",
        shorten=(
            (r"^Use the numbers [\d ]+, each exactly once, with \+ - \* / to make (\S+)\.$", r"\1"),
            (r"^(?s:.*)Numbers? left: ", ""),
        ),
    )

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._texts: list[str] = []
        self._children: list[list[int]] = []
        self._returns: dict[tuple[int, int, int, int], Continuations] = {}

    @cached_property
    def held_out(self) -> frozenset[tuple[int, ...]]:
        """The sorted numbers of every dev and test puzzle."""
        return frozenset(
            tuple(sorted(puzzles()[rank - 1]))
            for split in ("dev", "test")
            for ranks in SPLITS[split]
            for rank in ranks
        )

    def tasks(self) -> list[Task]:
        """List the puzzles to explore: the train split, then all others that are not held out."""
        train = Game24().tasks("train")
        ranked = {tuple(task.data["numbers"]) for task in train}
        generated = (
            puzzle_task(numbers)
            for numbers in combinations_with_replacement(range(1, LARGEST + 1), 4)
            if numbers not in self.held_out and numbers not in ranked
        )
        return [
            *(task for task in train if tuple(task.data["numbers"]) not in self.held_out),
            *generated,
        ]

    def fulfils(self, trajectory: Trajectory, text: str) -> bool:
        """Whether the executed episode reached the target that the instruction states."""
        match = _INSTRUCTION.fullmatch(text)
        return match is not None and _left(trajectory) == match["target"]

    def template(self, trajectory: Trajectory) -> str | None:
        """Return the instruction that a finished episode fulfils, or None for an unfinished one."""
        left = _left(trajectory)
        if " " in left:
            return None
        asked = instruction(trajectory.task.data["numbers"])
        return asked.replace(f"make {TARGET}.", f"make {left}.")

    def grounded(self, trajectory: Trajectory, text: str) -> bool:
        """Whether a written instruction names exactly the puzzle's numbers and what was reached."""
        match = _INSTRUCTION.fullmatch(text)
        if match is None or not self.fulfils(trajectory, text):
            return False
        named = sorted(int(number) for number in _NUMBER.findall(match["numbers"]))
        return named == sorted(trajectory.task.data["numbers"])

    def continuations(self, prefix: Trajectory, text: str, count: int, seed: int) -> Continuations:
        """Play `count` uniformly random continuations of a prefix; success fulfils `text`.

        Equal states share one draw: it is seeded by the state, not by the prefix.
        """
        match = _INSTRUCTION.fullmatch(text)
        target = self._id(match["target"]) if match else -1
        start = self._id(_left(prefix))
        key = (start, target, count, seed)
        if key not in self._returns:
            self._returns[key] = self._play(start, target, count, seed)
        return self._returns[key]

    def _play(self, start: int, target: int, count: int, seed: int) -> Continuations:
        draw = random.Random(f"{seed} {self._texts[start]}").random
        children, successes = self._children, 0
        example: tuple[int, ...] | None = None
        for _ in range(count):
            state, path = start, []
            while following := children[state] or self._expand(state):
                state = following[int(draw() * len(following))]
                path.append(state)
            if state == target:
                successes += 1
                example = example or tuple(path)
        return Continuations(count, successes, self._actions(start, example) if example else None)

    def _actions(self, state: int, path: tuple[int, ...]) -> tuple[str, ...]:
        actions = []
        for following in path:
            wanted = self._texts[following]
            steps = legal_steps(_numbers(self._texts[state]))
            actions.append(next(a for a, left in steps if format_numbers(left) == wanted))
            state = following
        return tuple(actions)

    def _id(self, text: str) -> int:
        found = self._ids.get(text)
        if found is None:
            found = self._ids[text] = len(self._texts)
            self._texts.append(text)
            self._children.append([])
        return found

    def _expand(self, state: int) -> list[int]:
        """Return the states after one step, none of them for one number; remembered."""
        if " " not in self._texts[state]:
            return []
        steps = legal_steps(_numbers(self._texts[state]))
        children = self._children[state] = [self._id(format_numbers(left)) for _, left in steps]
        return children


def _left(trajectory: Trajectory) -> str:
    """Return the numbers left as the newest observation shows them, such as ``4 6``."""
    return trajectory.last.text.rpartition(": ")[2]


def _numbers(text: str) -> Numbers:
    return numbers_left(text.split())
