"""A small deterministic world, and reward models for it, that faults and budgets are tried in."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from armap_agents import (
    Observation,
    StepResult,
    Task,
    Trajectory,
    register_environment,
    register_reward,
    resources,
)
from armap_agents.graphs import mcts
from armap_agents.resources import Resources
from armap_agents.trace import read_events

ACTIONS = tuple(f"go {letter}" for letter in "abcde")
TASK = {"environment": "maze", "id": "0"}


def draw(*parts: object) -> float:
    """A number in [0, 1) that belongs to these words."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()
    return int(digest[:8], 16) / 16**8


class Maze:
    """Every action leads one room further; the last room, and some on the way, are exits.

    Args:
        depth: Rooms to the last one.
        exits: Share of the other rooms that end the episode.
    """

    name = "maze"
    restorable = True
    pool_size = 64
    instruction = "Reach an exit."

    def __init__(self, depth: int = 4, exits: float = 0.1) -> None:
        self._depth, self._exits = depth, exits
        self._path: list[str] = []

    def tasks(self, split: str) -> list[Task]:
        return [Task("0", self.name, split)]

    async def reset(self, task: Task) -> Observation:
        return await self.restore(task, ())

    async def restore(self, task: Task, actions: Sequence[str]) -> Observation:
        self._path = list(actions)
        return self._seen()

    async def step(self, action: str) -> StepResult:
        self._path.append(action)
        over = len(self._path) >= self._depth or draw("exit", *self._path) < self._exits
        return StepResult(self._seen(), over)

    async def close(self) -> None: ...

    def _seen(self) -> Observation:
        return Observation(f"You are in room {'-'.join(self._path) or 'entrance'}.", ACTIONS)


class OneWay(Maze):
    """No way back."""

    name = "one-way"
    restorable = False


class Luck:
    """A reward in [0, 1) that looks random and is the same every time."""

    fingerprint = "luck-1"

    async def ascore(self, trajectories: list[Trajectory]) -> list[float]:
        return [draw(*t.actions) for t in trajectories]


class LuckAndValue(Luck):
    """Values states too, as probabilities."""

    fingerprint = "luck-and-value-1"

    async def avalue(self, prefixes: list[Trajectory]) -> list[float]:
        return [draw("value", *t.actions) for t in prefixes]


def register_maze() -> None:
    """Make ``maze``, ``one-way``, ``luck`` and ``luck-and-value`` known by these names."""
    register_environment("maze", Maze)
    register_environment("one-way", OneWay)
    register_reward("luck", Luck)
    register_reward("luck-and-value", LuckAndValue)


# --- searches in it -------------------------------------------------------------------------------


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Resources]:
    register_maze()
    async with resources(tmp_path) as found:
        yield found


def context(url: str, **options: Any) -> dict[str, Any]:
    shared = {"policy_url": url, "policy_model": "scripted", "reward": "luck-and-value"}
    return shared | {"rollouts": 24, "parallel": 4, "proposals": 4, "policy_retries": 0} | options


async def search(
    url: str, graph: Any = mcts.graph, task: Any = TASK, **options: Any
) -> dict[str, Any]:
    out: dict[str, Any] = await graph.ainvoke({"task": task}, context=context(url, **options))
    return out


def events(opened: Resources, run: str, kind: str | None = None) -> list[dict[str, Any]]:
    found = read_events(opened.runs / run / "trace.jsonl")
    return [event for event in found if kind in (None, event["kind"])]
