"""Game of 24 as an Environment: four numbers, three steps, restored by value in no time.

The tasks are the 1,362 ranked puzzles; any other four numbers are a task too, carried in
`Task.data["numbers"]`. Splits follow the convention of the field: ``test`` = ranks 901 to 1000,
``dev`` = 801 to 900, ``train`` = the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from importlib.resources import files

from armap_agents.environment import Guide, StepResult
from armap_agents.errors import ConfigurationError, EnvironmentFailure
from armap_agents.tools.game24.arithmetic import (
    TARGET,
    IllegalStep,
    Numbers,
    format_numbers,
    legal_steps,
    numbers_left,
    take_step,
)
from armap_agents.trajectory import Observation, Step, Task, Trajectory

SPLITS: dict[str, tuple[range, ...]] = {
    "train": (range(1, 801), range(1001, 1363)),
    "dev": (range(801, 901),),
    "test": (range(901, 1001),),
}
"""Ranks of each split."""

MAX_STEPS = 6
"""Three legal steps end a game; as many again are room for illegal ones."""


@cache
def puzzles() -> tuple[tuple[int, ...], ...]:
    """Return the ranked puzzles' numbers, rank 1 first."""
    text = files("armap_agents.tools.game24").joinpath("puzzles.json").read_text("utf-8")
    return tuple(tuple(numbers) for numbers in json.loads(text)["puzzles"])


def puzzle_task(numbers: Iterable[int], split: str = "train", task_id: str | None = None) -> Task:
    """Return the task of any four numbers; its id defaults to ``n-4-9-10-13``."""
    ordered = sorted(numbers)
    if len(ordered) != 4:
        raise ConfigurationError(f"a puzzle has four numbers, not {ordered}")
    return Task(
        id=task_id or "n-" + "-".join(map(str, ordered)),
        environment="game24",
        split=split,
        instruction=instruction(ordered),
        max_steps=MAX_STEPS,
        data={"numbers": ordered},
    )


def instruction(numbers: Iterable[int | Fraction]) -> str:
    """Return the words in which the puzzle is put to the agent."""
    listed = " ".join(map(str, numbers))
    return f"Use the numbers {listed}, each exactly once, with + - * / to make 24."


def _observation(numbers: Numbers) -> Observation:
    if len(numbers) == 1:
        return Observation(f"Number left: {numbers[0]}", actions=())
    actions = tuple(step for step, _ in legal_steps(numbers))
    return Observation(f"Numbers left: {format_numbers(numbers)}", actions=actions)


class Game24:
    """The Game of 24 environment; see `armap_agents.Environment` for the members' meaning."""

    name = "game24"
    restorable = True
    pool_size = 256

    def __init__(self) -> None:
        self._numbers: Numbers | None = None
        self.instruction = ""
        """What the puzzle asks, after reset; for tasks that come with an id alone."""

    @property
    def guide(self) -> Guide:
        """The rules and three worked puzzles of the train split."""
        return _guide()

    def tasks(self, split: str) -> list[Task]:
        """List a split's puzzles by rank; the id is the rank."""
        if split not in SPLITS:
            raise ConfigurationError(f"game24 has no split {split!r}: use {', '.join(SPLITS)}")
        return [
            puzzle_task(puzzles()[rank - 1], split, str(rank))
            for ranks in SPLITS[split]
            for rank in ranks
        ]

    async def reset(self, task: Task) -> Observation:
        """Begin a puzzle."""
        return await self.restore(task, ())

    async def step(self, action: str) -> StepResult:
        """Take a step; an illegal one is answered in words and leaves the numbers as they are."""
        numbers = self._current()
        try:
            self._numbers = take_step(numbers, action)
        except IllegalStep as error:
            same = _observation(numbers)
            text = f"Not a legal step: {error}. {same.text}"
            return StepResult(Observation(text, actions=same.actions), done=len(numbers) == 1)
        return StepResult(_observation(self._numbers), done=len(self._numbers) == 1)

    async def restore(self, task: Task, actions: Sequence[str]) -> Observation:
        """Return the state after `actions`, computed from the numbers alone."""
        self._numbers = numbers_left(task.data.get("numbers") or self._ranked(task.id))
        self.instruction = instruction(self._numbers)
        observation = _observation(self._numbers)
        for action in actions:
            observation = (await self.step(action)).observation
        return observation

    def true_score(self) -> float:
        """1.0 where 24 is the one number left, else 0.0."""
        return float(self._current() == (TARGET,))

    async def close(self) -> None:
        """Forget the puzzle."""
        self._numbers = None

    def _current(self) -> Numbers:
        if self._numbers is None:
            raise EnvironmentFailure("game24 has no puzzle yet: call reset(task) first")
        return self._numbers

    @staticmethod
    def _ranked(task_id: str) -> tuple[int, ...]:
        if task_id.isdecimal() and 1 <= int(task_id) <= len(puzzles()):
            return puzzles()[int(task_id) - 1]
        raise ConfigurationError(
            f"game24 has no puzzle {task_id!r}: use a rank from 1 to {len(puzzles())}, "
            'or give the numbers in data: {"numbers": [4, 9, 10, 13]}'
        )


def play(task: Task, actions: Iterable[str]) -> Trajectory:
    """Return the trajectory of legal `actions` from the start of `task`, without an environment.

    Raises:
        IllegalStep: One of the actions is illegal.
    """
    numbers = numbers_left(task.data["numbers"])
    trajectory = Trajectory(task, task.instruction or "", _observation(numbers))
    for action in actions:
        numbers = take_step(numbers, action)
        trajectory = trajectory.extended(Step(action, _observation(numbers), len(numbers) == 1))
    return trajectory


@cache
def _guide() -> Guide:
    worked = {
        (2, 6, 8, 10): (
            ("8 - 6 = 2", "12 times 2 is 24, and 2 with 10 gives 12: I need another 2."),
            ("10 + 2 = 12", "2, 2 and 10 are left: 10 and 2 give the 12."),
            ("12 * 2 = 24", "12 and 2 are left."),
        ),
        (2, 9, 10, 12): (
            ("12 * 2 = 24", "12 times 2 is 24 already; 9 and 10 must change nothing."),
            ("10 - 9 = 1", "A factor of 1 changes nothing."),
            ("24 * 1 = 24", "24 and 1 are left."),
        ),
        (1, 4, 8, 8): (
            ("8 / 4 = 2", "8 times 3 is 24: 3 has to come of 1, 4 and 8."),
            ("2 + 1 = 3", "2 and 1 give the 3."),
            ("8 * 3 = 24", "8 and 3 are left."),
        ),
    }
    examples = []
    for numbers, thought_out in worked.items():
        played = play(puzzle_task(numbers), [step for step, _ in thought_out])
        steps = zip(played.steps, thought_out, strict=True)
        thinking = tuple(replace(step, thought=thought) for step, (_, thought) in steps)
        examples.append(replace(played, steps=thinking))
    return Guide(
        text=(
            "You play the Game of 24. In each step, take two of the numbers left, combine them "
            "with + - * or /, and write the step as: a + b = c. The two numbers are replaced by "
            "the result. After three steps one number is left: it must be 24."
        ),
        examples=tuple(examples),
    )
