"""ScienceWorld as an Environment: the bare simulator, ending where `ScienceWorldEnv` ends.

`ScienceWorldEnv.step` lists every valid command after each step, which takes several times as long
as the step. Here the simulator is asked alone, so what the package's wrapper adds is added here
too: a wrong focus and too many moves end an episode, and it opens with a look around.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher, get_close_matches
from typing import Literal, get_args

from armap_agents.environment import Guide, StepResult, ended_early
from armap_agents.errors import ConfigurationError, EnvironmentFailure
from armap_agents.tools.scienceworld.jvm import Jvm
from armap_agents.tools.scienceworld.simulator import Outcome, Simulator
from armap_agents.tools.scienceworld.tasks import TaskType, find, list_tasks
from armap_agents.trajectory import Observation, Task

Actions = Literal["free", "valid"]

UNKNOWN = "No known action matches that input."
"""What the simulator answers to a command that it does not understand."""

WAIT_MOVES = 11
"""Moves of the longest command, a wait."""

SIMPLIFICATIONS = (
    "easy",
    "teleportAction",
    "selfWateringFlowerPots",
    "openContainers",
    "openDoors",
    "noElectricalAction",
)
"""What the simulator takes as simplification, alone or joined by commas."""

_PARTS = ("", *SIMPLIFICATIONS)


class ScienceWorld:
    """The ScienceWorld environment; see `armap_agents.Environment` for the members' meaning.

    Args:
        simplification: The simulator's simplifications; ``easy`` opens the doors, waters the plants
            and lets the agent teleport between rooms.
        actions: ``valid`` lists all valid commands with every observation, up to 1,300 of them, at
            about 20 ms a step; ``free`` lists none.
        match: Take the closest valid command in place of one that the simulator does not
            understand; `Observation.facts` says which was taken, as ``matched``.
        goal_free: Neither a wrong focus nor success nor the number of moves ends an episode: for
            exploring a task's world under another instruction than the task's own.
        move_limit: Moves after which an episode ends, as `ScienceWorldEnv` has it by default (ETO
            sets 200); looking around is none, a wait is eleven. A task that allows more steps has
            as many moves.
        unknown_limit: End an episode after so many commands in a row that the simulator did not
            understand; None answers every one in words.
    """

    name = "scienceworld"
    restorable = True
    pool_size = max(1, min(2, os.cpu_count() or 1))

    def __init__(
        self,
        simplification: str = "easy",
        actions: Actions = "free",
        match: bool = False,
        goal_free: bool = False,
        move_limit: int = 100,
        unknown_limit: int | None = None,
    ) -> None:
        wrong = [part for part in str(simplification).split(",") if part not in _PARTS]
        if wrong:
            raise ConfigurationError(
                f"scienceworld has no simplification {wrong[0]!r}: use {', '.join(SIMPLIFICATIONS)}"
            )
        if actions not in get_args(Actions):
            raise ConfigurationError(f"scienceworld has no actions={actions!r}: use free or valid")
        for option, chosen in (("match", match), ("goal_free", goal_free)):
            if not isinstance(chosen, bool):
                raise ConfigurationError(
                    f"scienceworld does not take {option}={chosen!r}: use true or false"
                )
        limits: dict[str, object] = {"move_limit": move_limit}
        if unknown_limit is not None:
            limits["unknown_limit"] = unknown_limit
        for option, limit in limits.items():
            if type(limit) is not int or limit < 1:  # a bool is an int too
                raise ConfigurationError(
                    f"scienceworld does not take {option}={limit!r}: use a number from 1"
                )
        self._simplification = simplification
        self._list_actions = actions == "valid"
        self._match = match
        self._goal_free = goal_free
        self._move_limit = move_limit
        self._unknown_limit = unknown_limit
        self._jvm = Jvm()
        self._outcome: Outcome | None = None
        self._most_moves = move_limit
        self._moves = 0  # at most so many; asked for where that would be too many
        self._unknown = 0
        self._best = 0
        self._done = False
        self.instruction = ""
        """What the task asks, after reset."""

    @property
    def guide(self) -> Guide:
        """The rules and worked episodes on tasks of ``train-pool``."""
        from armap_agents.tools.scienceworld.guide import guide

        return guide()

    @property
    def done(self) -> bool:
        """Whether the episode is over."""
        return self._done

    @property
    def alive(self) -> bool:
        """False once the Java process is gone; it starts with the first reset."""
        return self._jvm.alive

    @property
    def pid(self) -> int | None:
        """The id of the Java process; None before the first reset."""
        return self._jvm.pid

    def tasks(self, split: str) -> list[Task]:
        """List a split's tasks; `tasks.SPLITS` says what the splits are."""
        return list_tasks(split)

    async def reset(self, task: Task) -> Observation:
        """Begin an episode; the first starts the Java process, which takes some seconds.

        Raises:
            ConfigurationError: There is no such task, or Java or the package is missing.
            EnvironmentDied: The Java process is gone.
        """
        return await self.replay(task, ())

    async def replay(self, task: Task, actions: Sequence[str]) -> Observation:
        """Begin an episode and take its actions; valid commands are listed at its end alone.

        Raises:
            ConfigurationError: There is no such task, or Java or the package is missing.
            EnvironmentDied: The Java process is gone.
            EnvironmentFailure: The episode ended before the last action.
        """
        task_type, variation = find(task.id)
        if "noElectricalAction" in self._simplification and _is_electrical(task_type.simulator):
            raise ConfigurationError(
                f"{task_type.name} is about electricity: leave noElectricalAction out of the "
                "simplification"
            )

        def work(simulator: Simulator) -> Observation:
            self._begin(simulator, task_type, variation)
            matched = None
            for k, action in enumerate(actions):
                if self._done:
                    raise ended_early(task, k, len(actions))
                matched = self._take(simulator, action)
            return self._observation(simulator, matched)

        return await self._jvm.call(work)

    async def step(self, action: str) -> StepResult:
        """Carry out a command; one that the simulator does not understand is answered in words.

        Raises:
            EnvironmentDied: The Java process is gone.
            EnvironmentFailure: There is no episode yet.
        """
        if self._outcome is None:
            raise EnvironmentFailure("scienceworld has no task yet: call reset(task) first")

        def work(simulator: Simulator) -> StepResult:
            matched = self._take(simulator, action)
            return StepResult(self._observation(simulator, matched), self._done)

        return await self._jvm.call(work)

    def true_score(self) -> float:
        """Return the best score of the episode, 0 to 1; a wrong focus takes nothing away."""
        return self._best / 100

    async def close(self) -> None:
        """End the Java process, also in the middle of a step."""
        await self._jvm.close()

    def _begin(self, simulator: Simulator, task_type: TaskType, variation: int) -> None:
        self.instruction = simulator.load(task_type.simulator, variation, self._simplification)
        self._most_moves = max(self._move_limit, task_type.max_steps)
        self._moves = self._unknown = self._best = 0
        self._done = False
        self._outcome = simulator.step("look around")
        self._judge(simulator, self._outcome)

    def _take(self, simulator: Simulator, action: str) -> str | None:
        """Carry out a command; return the valid one that it was taken for, if any."""
        # Halves of characters, which models do write, cannot be sent.
        command = action.encode(errors="replace").decode()
        matched = None
        self._outcome = self._answer(simulator, command)
        if self._match and self._outcome.text == UNKNOWN:
            matched = closest(command, _valid(simulator))
            if matched is not None:
                self._outcome = self._answer(simulator, matched)
        self._unknown = self._unknown + 1 if self._outcome.text == UNKNOWN else 0
        self._judge(simulator, self._outcome)
        return matched

    def _answer(self, simulator: Simulator, command: str) -> Outcome:
        """Carry out a command, other than the one that takes a wrong focus back."""
        assert self._outcome is not None
        if "reset" in command.lower():
            return replace(self._outcome, text=UNKNOWN)
        outcome = simulator.step(command)
        # The answer to `help` names every command.
        return replace(outcome, text=outcome.text.replace("\n\treset task", ""))

    def _judge(self, simulator: Simulator, outcome: Outcome) -> None:
        """Keep the best score, and decide whether the episode is over."""
        self._best = max(self._best, outcome.score)
        self._moves += WAIT_MOVES
        if self._moves > self._most_moves:
            self._moves = simulator.moves()
        over = outcome.completed or outcome.score < 0 or self._moves > self._most_moves
        tired = self._unknown_limit is not None and self._unknown >= self._unknown_limit
        self._done = self._done or tired or (over and not self._goal_free)

    def _observation(self, simulator: Simulator, matched: str | None) -> Observation:
        assert self._outcome is not None
        actions = tuple(_valid(simulator)) if self._list_actions else None
        facts = {} if matched is None else {"matched": matched}
        return Observation(self._outcome.text, actions=actions, facts=facts)


def closest(command: str, valid: list[str]) -> str | None:
    """Return the valid command that is most like `command`; None where none is like it at all.

    Most alike is what shares most words, and among those what shares most characters, at least a
    ratio of 0.6 (both difflib's; the alphabetically last among equals). A command that is itself in
    the list has none: the simulator does not understand a fifth of what it calls valid, and another
    command is not what was meant.
    """
    command = " ".join(command.lower().split())
    if command in valid:
        return None
    matcher: SequenceMatcher[str] = SequenceMatcher(b=command.split(), autojunk=False)
    shares: dict[float, list[str]] = {}
    for action in valid:
        matcher.set_seq1(action.split())
        shares.setdefault(matcher.ratio(), []).append(action)
    found = get_close_matches(command, shares[max(shares)], n=1) if shares else []
    return found[0] if found else None


def _valid(simulator: Simulator) -> list[str]:
    return [action for action in simulator.valid() if action != "reset task"]


def _is_electrical(name: str) -> bool:
    return "power-component" in name or "conductivity" in name
