"""What data generation knows about Game of 24 beyond its environment.

Which puzzles may be used, when an episode fulfils an instruction, and how prefixes continue at
random. It knows the rules and can check "is it 24" on an executed episode; it never searches for a
solution. Continuations run on a cache of transitions (states as small integers), because they are
the bulk of the work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import combinations_with_replacement
from random import Random

from armap_agents.environment import Environment
from armap_agents.reward.render import Rendering
from armap_agents.tools.game24.arithmetic import (
    TARGET,
    Numbers,
    format_numbers,
    legal_steps,
    numbers_left,
)
from armap_agents.tools.game24.environment import SPLITS, instruction, puzzle_task, puzzles
from armap_agents.training.domain import Choose, Continuations, Corruption, Instruction
from armap_agents.trajectory import JSON, Task, Trajectory

LARGEST = 13
"""Puzzles are made of the numbers of playing cards, like the ranked ones."""

LATER = 64
"""Least continuations of a later prefix, which has fewer ways to go on."""

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
    options: Mapping[str, JSON] = {}
    continuations = 256
    example = instruction((2, 6, 8, 10))
    each_depth = True
    asks_one_thing = True

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._texts: list[str] = []
        self._children: list[list[int]] = []
        self._returns: dict[tuple[int, int, int, float], Continuations] = {}

    @cached_property
    def held_out(self) -> frozenset[tuple[int, ...]]:
        """The sorted numbers of every dev and test puzzle."""
        return frozenset(
            tuple(sorted(puzzles()[rank - 1]))
            for split in ("dev", "test")
            for ranks in SPLITS[split]
            for rank in ranks
        )

    def tasks(self, environment: Environment) -> list[Task]:
        """List the puzzles to explore: the train split, then all others that are not held out."""
        train = environment.tasks("train")
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

    def intent(self, opening: Trajectory, rng: Random) -> Choose:
        """Return a chooser that tries a first step: a random continuation that made 24 of it."""
        way: tuple[str, ...] = ()

        async def choose(trajectory: Trajectory) -> str:
            nonlocal way
            k = len(trajectory)
            if k == 1:
                way = self._way(trajectory, rng)
            listed = trajectory.last.actions or ()
            return way[k - 1] if 1 <= k <= len(way) else rng.choice(listed)

        return choose

    def _way(self, prefix: Trajectory, rng: Random) -> tuple[str, ...]:
        """Return how the first of many random continuations made 24, empty where none did."""
        start = self._id(_left(prefix))
        played = self._play(start, self._id(str(TARGET)), self.continuations, rng)
        return played.example or ()

    def instruct(
        self, trajectory: Trajectory, rng: Random, constraints: int | None = None
    ) -> Instruction | None:
        """Return the puzzle's own instruction where the episode fulfils it; it asks one thing."""
        numbers = list(trajectory.task.data["numbers"])
        made = Instruction(instruction(numbers), {"numbers": numbers, "target": str(TARGET)})
        return made if trajectory.done and self.fulfils(trajectory, made) else None

    def grounded(self, text: str, instruction: Instruction) -> bool:
        """Whether a text names exactly the puzzle's numbers and the number to make."""
        match = _INSTRUCTION.fullmatch(text)
        if match is None or match["target"] != instruction.asks["target"]:
            return False
        named = sorted(int(number) for number in _NUMBER.findall(match["numbers"]))
        return named == sorted(instruction.asks["numbers"])

    def fulfils(self, trajectory: Trajectory, instruction: Instruction) -> float:
        """Return 1.0 where the number that is asked for is the only one left, else 0.0."""
        return float(_left(trajectory) == instruction.asks["target"])

    def corruptions(
        self,
        trajectory: Trajectory,
        instruction: Instruction,
        others: Sequence[Trajectory],
        rng: Random,
    ) -> list[Corruption]:
        """Return every other step in the place of each, in random order."""
        own = tuple(trajectory.actions)
        found = [
            Corruption("wrong step", (*own[:k], action, *own[k + 1 :]))
            for k in range(len(own))
            for action in trajectory.prefix(k).last.actions or ()
            if action != own[k]
        ]
        rng.shuffle(found)
        return found

    async def continued(
        self,
        environment: Environment,
        prefix: Trajectory,
        instruction: Instruction,
        count: int,
        rng: Random,
    ) -> Continuations:
        """Play uniformly random continuations of a prefix, without the environment.

        Later prefixes have fewer ways to go on and get a quarter of `count` per further step, at
        least `LATER`. Equal states that come with equal generators share one draw.
        """
        start, target = self._id(_left(prefix)), self._id(str(instruction.asks["target"]))
        count = max(min(count, LATER), count // 4 ** max(len(prefix) - 1, 0))
        key = (start, target, count, rng.random())
        if key not in self._returns:
            self._returns[key] = self._play(start, target, count, rng)
        return self._returns[key]

    def _play(self, start: int, target: int, count: int, rng: Random) -> Continuations:
        draw, children, successes = rng.random, self._children, 0
        example: tuple[int, ...] | None = None
        for _ in range(count):
            state, path = start, []
            while following := children[state] or self._expand(state):
                state = following[int(draw() * len(following))]
                path.append(state)
            if state == target:
                successes += 1
                example = example or tuple(path)
        done = None if example is None else self._actions(start, example)
        return Continuations(count, float(successes), done)

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
