"""What data generation knows about ScienceWorld beyond its environment.

Episodes are played without the loaded task's own ends; what they did, in whatever order, is read
from commands and answers, worded as an instruction of the world's own style, and judged by reading.
Privileges: the lists of valid commands, the openings of tasks to train on, and a small dictionary
of what everybody knows (`scienceworld_kinds`). No score, goal progress or gold path is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from armap_agents.environment import Environment, restore
from armap_agents.reward.render import Rendering
from armap_agents.training.domain import Choose, Continuations, Corruption, Instruction
from armap_agents.training.domains.scienceworld_asks import Progress, following, progress, share
from armap_agents.training.domains.scienceworld_corrupt import Corrupter
from armap_agents.training.domains.scienceworld_explorer import Explorer
from armap_agents.training.domains.scienceworld_intents import intent, intents
from armap_agents.training.domains.scienceworld_reading import AMBIGUOUS, read
from armap_agents.training.domains.scienceworld_wording import word
from armap_agents.trajectory import JSON, Observation, Step, Task, Trajectory

MAX_STEPS = 30
"""Most steps of an episode: as many as the tasks allow that are evaluated on a CPU."""

AIMED = 0.5
"""Chance that a continuation aims at what is left to do, instead of a random intent."""

GIVEN_UP = 0.1
"""Chance that a continuation ends before its next intent."""

FURTHER = 12
"""Most steps of a continuation."""

_RENDERING = Rendering(
    shorten=(
        # Instructions.
        (r"^Your task is to ", ""),
        (r"\ba\(n\) ", ""),
        (r",? (?:which is |is )?located around the ", " in the "),
        (
            r"(?i)\bif (?:the )?[^.,]* is (above|below) (-?\d+)(?:\.\d)? degrees celsius,",
            r"if \1 \2,",
        ),
        (r"If it is electrically (non)?conductive, place it in the ", r"\1conductive: "),
        (r"(?:Then, )?make changes to the environment that grow the plant until", "grow until"),
        (r"take actions that will cause it to change its state of matter", "change its state"),
        # What is seen in a room.
        (r"(?s)\s*You also see:? .*|\s*You also see:\n.*", ""),
        (
            r"This (?:room|outside location) is called the ([a-z ]+)\. [HI][a-z ,]*you see: ?",
            r"\1:",
        ),
        (r"\n?\t(?:the agent|the ground|a substance called air)(?=\n|$)", ""),
        (r"(?:a )?substance called ", ""),
        (r" \(containing nothing\)|\. (?:In|On) the [a-z ]+ is: nothing\.", ""),
        (r"\. The [a-z ]+ door is closed\. ?", " (closed)"),
        (r"\. The [a-z ]+ door is open\. (?:In the [a-z ]+ is: nothing\.)?", " (open)"),
        (r", which is (?:turned off|off|deactivated)\b\.?", ""),
        (r", currently reading a temperature of -?[\d.]+ degrees celsius", ""),
        (r"[Aa] book \(([^)]*)\) titled [^,)\n]*", r"book \1"),
        (r"self watering flower pot", "flower pot"),
        (r" ?\n\t(?:an? |the |A )?", ", "),
        (r"^([a-z ]+:), ", r"\1 "),
        (r"\((?:containing )an? ", "("),
        (r"\(containing ", "("),
        # What commands are answered.
        (r"^You (?:teleport|move) (?:through the door )?to the [a-z ]+\.$", ""),
        (r"^You focus on the (.+)\.$", r"\1"),
        (r"^You (?:move|pour) the (.+) (?:in)?to the (.+)\.$", r"\1 to \2"),
        (r"^No known action matches that input\.$", "not understood"),
        (r"(?s)^Ambiguous request: .*", "ambiguous"),
        (r"^the thermometer measures a temperature of ", ""),
        (r"^You decide to wait for (\d+) iterations\.$", ""),
        (r"(?is)^Task description:.*", ""),
    ),
)


class ScienceWorldDomain:
    """Generation's knowledge of ScienceWorld; see `armap_agents.training.domain.Domain`."""

    environment = "scienceworld"
    rendering = _RENDERING
    options: Mapping[str, JSON] = {"actions": "valid", "goal_free": True}
    continuations = 4
    example = (
        "Your task is to find a(n) stopwatch, which is located around the kitchen. First, focus on "
        "the thing. Then, move it to the glass cup in the bathroom."
    )

    def tasks(self, environment: Environment) -> list[Task]:
        """List ``train-pool``; long tasks are cut, since exploring without a goal soon repeats."""
        return [
            replace(task, max_steps=min(task.max_steps or MAX_STEPS, MAX_STEPS))
            for task in environment.tasks("train-pool")
        ]

    def intent(self, opening: Trajectory, rng: Random) -> Choose:
        """Return a chooser that carries out one random intent after the other."""
        return intents(opening.instruction, rng)

    def instruct(
        self, trajectory: Trajectory, rng: Random, constraints: int | None = None
    ) -> Instruction | None:
        """Return an instruction that the trajectory fulfils, in the official style."""
        worded = word(read(trajectory), rng, constraints)
        return None if worded is None else Instruction(*worded)

    def grounded(self, text: str, instruction: Instruction) -> bool:
        """Whether a text names what each sub-goal is about, in order, and nothing is too long."""
        lowered, start = text.lower(), 0
        for name in (name for asked in instruction.asks for name in asked["words"]):
            place = lowered.find(name, start)
            if place < 0:
                return False
            start = place
        return len(text) < 2 * len(instruction.text) + 100

    def fulfils(self, trajectory: Trajectory, instruction: Instruction) -> float:
        """Return the share of the sub-goals that were done, in order and before a wrong focus."""
        return share(self._progress(trajectory, instruction), instruction.asks)

    def ends(self, trajectory: Trajectory, instruction: Instruction) -> int:
        """Return after how many steps all is done, or the first wrong focus ends the episode."""
        found = self._progress(trajectory, instruction)
        if len(found.done) == len(instruction.asks):
            return max(1, *found.done.values())
        return len(trajectory) if found.failed is None else found.failed

    def corruptions(
        self,
        trajectory: Trajectory,
        instruction: Instruction,
        others: Sequence[Trajectory],
        rng: Random,
    ) -> list[Corruption]:
        """Return wrong copies of the trajectory, each with one thing done otherwise."""
        return Corrupter(trajectory, instruction.asks, others, rng).all()

    async def continued(
        self,
        environment: Environment,
        prefix: Trajectory,
        instruction: Instruction,
        count: int,
        rng: Random,
    ) -> Continuations:
        """Play continuations that aim at what is left to do, every other time."""
        before = self._progress(prefix, instruction)
        gained = share(before, instruction.asks)
        if before.failed is not None or gained == 1:  # nothing that follows changes it
            return Continuations(count, count * gained, () if gained == 1 else None)
        total, example = 0.0, None
        for _ in range(count):
            played = await self._continuation(environment, prefix, instruction, rng)
            gained = self.fulfils(played, instruction)
            total += gained
            if gained == 1 and example is None:
                example = tuple(played.actions[len(prefix) :])
        return Continuations(count, total, example)

    async def _continuation(
        self, environment: Environment, prefix: Trajectory, instruction: Instruction, rng: Random
    ) -> Trajectory:
        seen = await restore(environment, prefix.task, prefix.actions)
        current = _seeing(prefix, seen)
        explorer = Explorer(instruction.text, rng)
        limit = len(prefix) + FURTHER
        while len(current) < limit and not explorer.chance(GIVEN_UP):
            now = self._progress(current, instruction)
            left = following(now, instruction.asks)
            if now.failed is not None or left is None:
                break
            explorer.look(current)
            script = explorer.pursue(left, now.it) if explorer.chance(AIMED) else intent(explorer)
            for action in script:
                current = await _step(environment, current, action)
                explorer.look(current)
                if len(current) >= limit:
                    break
        return current

    def _progress(self, trajectory: Trajectory, instruction: Instruction) -> Progress:
        return progress(read(trajectory).events, instruction.asks)


def _seeing(prefix: Trajectory, seen: Observation) -> Trajectory:
    """Return a prefix with the observation that was just seen, valid actions included."""
    if not prefix.steps:
        return replace(prefix, observation=seen)
    newest = replace(prefix.steps[-1], observation=seen)
    return replace(prefix, steps=(*prefix.steps[:-1], newest))


async def _step(environment: Environment, trajectory: Trajectory, action: str) -> Trajectory:
    """Take a step; where it names several things, the first of them is meant."""
    result = await environment.step(action)
    trajectory = trajectory.extended(Step(action, result.observation, result.done))
    if result.observation.text.startswith(AMBIGUOUS) and result.observation.actions:
        return await _step(environment, trajectory, result.observation.actions[0])
    return trajectory
