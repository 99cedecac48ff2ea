"""A shop of six things with pictures, and all that generation must know about it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from armap_agents.environment import Environment, Guide, StepResult, restore
from armap_agents.errors import EnvironmentDied
from armap_agents.reward.render import Rendering
from armap_agents.training.domain import Choose, Continuations, Corruption, Instruction
from armap_agents.training.generate import GenerateConfig
from armap_agents.training.records import Dataset, Pair
from armap_agents.trajectory import Image, Observation, Step, Task, Trajectory

THINGS = ("apple", "bread", "candle", "drum", "egg", "fork")
HELD_OUT = "fork"


class ToyShop:
    """Take things and pay; looking and humming change nothing.

    Args:
        render: Whether pictures are shown.
        dies: Steps, counted over all shops of a test, at which the shop's process dies.
    """

    name = "toyshop"
    pool_size = 3
    instruction = "Do as you like."
    guide = Guide("You are in a shop. Take things, then pay.")

    def __init__(self, render: bool = True, dies: set[int] | None = None) -> None:
        self.render = render
        self.dies = dies
        self.closed = False
        self._task = ""
        self._basket: list[str] = []

    taken: ClassVar[int] = 0

    def tasks(self, split: str) -> list[Task]:
        return [Task(f"{split}-{k}", self.name, split, max_steps=8) for k in range(4)]

    async def reset(self, task: Task) -> Observation:
        self._task, self._basket = task.id, []
        return self._seen()

    async def step(self, action: str) -> StepResult:
        type(self).taken += 1
        if self.dies is not None and type(self).taken in self.dies:
            self.closed = True
            raise EnvironmentDied("the shop burnt down")
        if action == "pay":
            return StepResult(Observation(f"You paid for {self._things()}."), done=True)
        verb, _, thing = action.partition(" ")
        if verb == "take" and thing not in self._basket:
            self._basket.append(thing)
        return StepResult(self._seen())

    def true_score(self) -> float:
        raise AssertionError("nobody may ask")

    async def close(self) -> None:
        self.closed = True

    def _things(self) -> str:
        return ", ".join(self._basket) or "nothing"

    def _seen(self) -> Observation:
        text = f"Shop {self._task}. In the basket: {self._things()}."
        left = [f"take {thing}" for thing in THINGS if thing not in self._basket]
        picture = Image(b"\x89PNG " + text.encode()) if self.render else None
        return Observation(text, (*left, "look", "hum", "pay"), image=picture)


def bought(trajectory: Trajectory) -> list[str]:
    """What was paid for."""
    found = re.fullmatch(r"You paid for (.*)\.", trajectory.last.text)
    return found[1].split(", ") if found and found[1] != "nothing" else []


class ToyDomain:
    """See `armap_agents.training.domain.Domain`."""

    environment = "toyshop"
    rendering = Rendering(images=True)
    options: Mapping[str, Any] = {}
    continuations = 6
    example = "Buy a spoon."

    def tasks(self, environment: Environment) -> list[Task]:
        return environment.tasks("train")

    def intent(self, opening: Trajectory, rng: Random) -> Choose:
        wanted = rng.sample(THINGS, rng.randint(1, 3))
        plan = ["hum", *(f"take {thing}" for thing in wanted), "pay"]

        async def choose(trajectory: Trajectory) -> str:
            return plan[len(trajectory)]

        return choose

    def evaluated(self, trajectory: Trajectory) -> bool:
        return HELD_OUT in bought(trajectory)

    def instruct(
        self, trajectory: Trajectory, rng: Random, constraints: int | None = None
    ) -> Instruction | None:
        things = bought(trajectory)
        if not things or HELD_OUT in things or len(things) < (constraints or 1):
            return None
        asked = sorted(rng.sample(things, constraints or rng.randint(1, len(things))))
        return Instruction(f"Buy {' and '.join(asked)}.", {"things": asked})

    def grounded(self, text: str, instruction: Instruction) -> bool:
        named = [thing for thing in THINGS if thing in text]
        return named == instruction.asks["things"]

    def fulfils(self, trajectory: Trajectory, instruction: Instruction) -> float:
        asked = instruction.asks["things"]
        return len(set(bought(trajectory)) & set(asked)) / len(asked)

    def corruptions(
        self,
        trajectory: Trajectory,
        instruction: Instruction,
        others: Sequence[Trajectory],
        rng: Random,
    ) -> list[Corruption]:
        own = list(trajectory.actions)
        taken = [k for k, action in enumerate(own) if action.startswith("take")]
        k = rng.choice(taken)
        free = [thing for thing in THINGS if f"take {thing}" not in own]
        other = f"take {rng.choice(free)}"
        again = own[taken[0]]
        return [
            Corruption("nothing changed", tuple(own)),
            Corruption("hums", tuple("look" if action == "hum" else action for action in own)),
            Corruption("one more", (*own[:-1], other, own[-1])),
            Corruption("another thing", (*own[:k], other, *own[k + 1 :])),
            Corruption("left out", (*own[:k], *own[k + 1 :])),
            Corruption("not paid", tuple(own[:-1])),
            Corruption("twice", (again, again, *own[k + 1 : -1])),
        ]

    async def continued(
        self,
        environment: Environment,
        prefix: Trajectory,
        instruction: Instruction,
        count: int,
        rng: Random,
    ) -> Continuations:
        total, example = 0.0, None
        for _ in range(count):
            seen = await restore(environment, prefix.task, prefix.actions)
            played = prefix
            while not played.done and len(played) < 8:
                action = rng.choice(seen.actions or ("pay",))
                result = await environment.step(action)
                played = played.extended(Step(action, result.observation, result.done))
                seen = result.observation
            share = self.fulfils(played, instruction)
            total += share
            if share == 1 and example is None:
                example = tuple(played.actions[len(prefix) :])
        return Continuations(count, total, example)


CONFIG = GenerateConfig(pairs=150, seed=3, episodes=6, partial_share=1.0)
FILES = ("trajectories.jsonl", "pairs.jsonl", "values.jsonl", "journal.jsonl")


def written(folder: Path) -> dict[str, bytes]:
    images = {path.name: path.read_bytes() for path in (folder / "images").iterdir()}
    return {name: (folder / name).read_bytes() for name in FILES} | images


def asked(text: str) -> set[str]:
    return {thing for thing in THINGS if thing in text}


def share(data: Dataset, id_: str, steps: int, instruction: str) -> float:
    things = set(bought(data.trajectories[id_].prefix(steps)))
    return len(things & asked(instruction)) / len(asked(instruction))


def whole(data: Dataset, pair: Pair) -> bool:
    return pair.chosen_steps == len(data.trajectories[pair.chosen])
