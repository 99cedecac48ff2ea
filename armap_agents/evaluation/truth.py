"""The one place that asks environments for true scores.

Planners run in environments whose view has no `true_score`; here each candidate's (task, actions)
is restored in an environment that belongs to evaluation alone, and asked there. Equal action lists
are restored once.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from armap_agents.environment import Environment, restore
from armap_agents.errors import EnvironmentFailure
from armap_agents.evaluation.results import Candidate
from armap_agents.trajectory import Observation, Status, Step, Task, Trajectory


class Environments:
    """Up to `size` environments of evaluation's own, made when needed, reused while they work.

    Args:
        make: Returns a new environment.
        size: How many may be alive at a time.
    """

    def __init__(self, make: Callable[[], Environment], size: int) -> None:
        self._make = make
        self._free = asyncio.Semaphore(size)
        self._idle: list[Environment] = []

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Environment]:
        """Lend an environment; one that raised is closed instead of being lent again."""
        async with self._free:
            environment = self._idle.pop() if self._idle else await self._new()
            try:
                yield environment
            except BaseException:
                await environment.close()
                raise
            self._idle.append(environment)

    async def _new(self) -> Environment:
        making = asyncio.ensure_future(asyncio.to_thread(self._make))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            # The thread goes on: what it makes is kept, or nobody would close it.
            await asyncio.wait([making])
            if making.exception() is None:
                self._idle.append(making.result())
            raise

    async def aclose(self) -> None:
        """Close every environment."""
        while self._idle:
            await self._idle.pop().close()


@dataclass(frozen=True)
class _Verdict:
    true_score: float
    error: str | None = None


async def judged(
    environments: Environments, task: Task, candidates: Sequence[Mapping[str, Any]]
) -> list[Candidate]:
    """Return a planner's candidates with their true scores.

    A failed rollout has true score 0 and is not restored: an agent that never finished earns
    nothing for how far it came. A rollout whose restored end differs from the recorded one counts
    as failed, with the reason.

    Args:
        environments: Evaluation's own.
        task: The task, as the environment lists it.
        candidates: ``{trajectory, score, error}`` each, trajectories as `to_dict()` wrote them.

    Raises:
        EnvironmentFailure: An environment died or gave a true score outside 0 to 1.
    """
    verdicts: dict[tuple[tuple[str, ...], str], _Verdict] = {}
    answer = []
    for item in candidates:
        recorded = item["trajectory"]
        if recorded["task"]["id"] != task.id:
            raise EnvironmentFailure(
                f"a candidate of task {task.id} belongs to task {recorded['task']['id']}"
            )
        actions = tuple(step["action"] for step in recorded["steps"])
        status = Status(recorded["status"])
        error = item.get("error") or recorded.get("error")
        if status is Status.FAILED or error is not None:
            verdict = _Verdict(0.0, error or "the rollout failed")
        else:
            last = recorded["steps"][-1]["observation"] if actions else recorded["observation"]
            seen = _fingerprint(last)
            if (actions, seen) not in verdicts:
                verdicts[actions, seen] = await _ask(environments, task, actions, seen)
            verdict = verdicts[actions, seen]
        score = item.get("score")
        answer.append(Candidate(actions, status, score, verdict.true_score, verdict.error))
    return answer


def _fingerprint(observation: Mapping[str, Any]) -> str:
    actions = observation.get("actions")
    words = Observation(observation["text"], None if actions is None else tuple(actions))
    return words.fingerprint


async def _ask(
    environments: Environments, task: Task, actions: tuple[str, ...], seen: str
) -> _Verdict:
    async with environments.lease() as environment:
        restored = await restore(environment, task, actions)
        if restored.fingerprint != seen:
            return _Verdict(
                0.0, "restored, it ends elsewhere than recorded: the environment is not repeatable"
            )
        # In a thread: one may read files, or ask a server.
        score = await asyncio.to_thread(environment.true_score)  # type: ignore[attr-defined]
        value = float(await score if inspect.isawaitable(score) else score)
    if not 0.0 <= value <= 1.0:
        raise EnvironmentFailure(f"true_score() of task {task.id} is {value}, not from 0 to 1")
    return _Verdict(value)


async def replayed(
    environments: Environments, task: Task, instruction: str, candidate: Candidate
) -> Trajectory:
    """Return a stored candidate as a trajectory again, with what the environment showed.

    Args:
        environments: Evaluation's own.
        task: The task, as the environment lists it.
        instruction: What the candidate was judged against.
        candidate: A stored candidate.

    Raises:
        EnvironmentFailure: The episode ended before the last action.
    """
    async with environments.lease() as environment:
        opening = await environment.reset(task)
        trajectory = Trajectory(task, instruction, opening)
        for action in candidate.actions:
            if trajectory.done:
                raise EnvironmentFailure(f"a stored episode of task {task.id} ended early")
            result = await environment.step(action)
            trajectory = trajectory.extended(Step(action, result.observation, result.done))
    return replace(trajectory, status=candidate.status, error=candidate.error)
