"""A small deterministic world, and reward models for it, that faults and budgets are tried in."""

from __future__ import annotations

import hashlib
from collections import Counter
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
from armap_agents.testing import Fault, ScriptedRequest, ScriptedServer
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


def actions(candidate: dict[str, Any]) -> list[str]:
    """Return what was done in a candidate of a planner's output."""
    return [step["action"] for step in candidate["trajectory"]["steps"]]


def by_node(out: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a search's candidates by the nodes that they were rolled out from."""
    return {c["node"]: c for c in out["candidates"]}


def identity(request: ScriptedRequest) -> tuple[Any, ...]:
    """Return what a request asks for, which is the same again in a run that repeats it."""
    return (request.prompt, request.seed, tuple(request.choices or ()), request.body.get("n"))


class OneInFive:
    """Faults for one in five requests, chosen by what is asked and not by when."""

    KINDS = (Fault("status"), Fault("hang"), Fault("malformed"))

    def __init__(self, spared: str = "You are in room entrance.") -> None:
        self.server: ScriptedServer | None = None
        self.spared = spared
        self.failed = Counter[str]()

    def __call__(self, number: int) -> Fault | None:
        assert self.server is not None
        request = self.server.requests[number]
        if request.prompt.endswith(self.spared) or draw(0, "fault", *identity(request)) >= 0.2:
            return None
        fault = self.KINDS[int(draw(0, "kind", *identity(request)) * len(self.KINDS))]
        self.failed[fault.kind] += 1
        return fault
