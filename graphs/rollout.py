"""One rollout: the policy acts in an environment from a start to the end of the episode.

A plain async function that every planner's rollout node calls. Each policy answer and the finished
trajectory go to the journal under ids derived from the rollout's, and are looked up there first, so
that a killed run goes on in the middle of an episode. Whatever fails becomes a trajectory of status
``failed`` that says why: one failure costs one rollout, its siblings go on. A failure is noted in
the journal under an id that no lookup finds, so that a run which goes on later tries again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from armap_agents.environment import Guide
from armap_agents.errors import ArmapError
from armap_agents.policy import Answer, Policy, PolicyFailure
from armap_agents.pool import EnvironmentPool
from armap_agents.trace import Journal
from armap_agents.trajectory import Observation, Status, Step, Task, Trajectory, content_hash
from armap_agents.usage import Usage

_log = logging.getLogger(__name__)

Emit = Callable[[dict[str, Any]], None]
"""Takes live events; LangGraph's `runtime.stream_writer`."""


def derive_seed(*parts: Any) -> int:
    """Return a seed in [0, 2³¹) that depends on all parts (JSON values) and on nothing else."""
    return int(content_hash(list(parts))[:12], 16) % (1 << 31)


@dataclass(frozen=True)
class Rollout:
    """What to roll out.

    Attributes:
        id: Deterministic id within the run, such as ``rollout/3``.
        task: The task.
        seed: Seed of this rollout's draws.
        temperature: Of the policy.
        max_steps: Most actions.
        seconds: Deadline, from the moment that the environment is leased.
    """

    id: str
    task: Task
    seed: int
    temperature: float
    max_steps: int
    seconds: float


async def roll_out(
    job: Rollout, pool: EnvironmentPool, policy: Policy, journal: Journal, emit: Emit
) -> dict[str, Any]:
    """Act an episode out, or return it from the journal.

    Returns:
        ``{"trajectory": …, "usage": …}`` as pure JSON; the trajectory's status is ``failed`` where
        something went wrong.
    """
    known = journal.find(job.id)
    if known is not None:
        return {"trajectory": known["trajectory"], "usage": known["usage"]}
    trajectory = Trajectory(job.task, job.task.instruction or "", Observation(""))
    usage = Usage()
    started = time.monotonic()
    try:
        leased = pool.lease(job.task, seconds=job.seconds)
        async with leased as lease, asyncio.timeout(job.seconds):
            trajectory = Trajectory(job.task, lease.instruction, lease.opening)
            while not trajectory.done and len(trajectory) < job.max_steps:
                answer = await _act(job, trajectory, lease.guide, policy, journal)
                usage += answer.usage
                result = await lease.step(answer.action)
                usage += Usage(environment_steps=1)
                trajectory = trajectory.extended(
                    Step(answer.action, result.observation, result.done)
                )
                emit(
                    {"event": "step", "id": f"{job.id}/step/{len(trajectory)}"} | _shown(trajectory)
                )
            if not trajectory.done:
                trajectory = replace(trajectory, status=Status.LIMIT)
    except Exception as error:
        _log.debug("rollout %s failed", job.id, exc_info=True)
        trajectory = replace(trajectory, status=Status.FAILED, error=_one_line(error, job))
        usage += error.usage if isinstance(error, PolicyFailure) else Usage(failures=1)
    usage = replace(usage, seconds=round(time.monotonic() - started, 4))
    record = {"trajectory": await journal.store(trajectory), "usage": usage.to_dict()}
    if trajectory.status is Status.FAILED:
        journal.record(f"{job.id}/failed/{time.time_ns()}", "failure", **record)
    else:
        journal.record(job.id, "rollout", **record)
    return record


async def _act(
    job: Rollout, trajectory: Trajectory, guide: Guide | None, policy: Policy, journal: Journal
) -> Answer:
    """Return the policy's next action, from the journal where it has been given before."""
    k = len(trajectory)
    event_id = f"{job.id}/policy/{k}"
    known = journal.find(event_id)
    if known is not None:
        return Answer(
            known["action"], known["text"], Usage.from_dict(known["usage"]), known["constrained"]
        )
    answer = await policy.act(
        trajectory, guide=guide, temperature=job.temperature, seed=derive_seed(job.seed, k)
    )
    journal.record(
        event_id,
        "policy",
        action=answer.action,
        text=answer.text,
        constrained=answer.constrained,
        usage=answer.usage.to_dict(),
    )
    return answer


def _shown(trajectory: Trajectory) -> dict[str, Any]:
    """The newest step, short enough for a live stream."""
    step = trajectory.steps[-1]
    return {
        "action": step.action[:200],
        "observation": step.observation.text[:400],
        "done": step.done,
    }


def _one_line(error: Exception, job: Rollout) -> str:
    if isinstance(error, ArmapError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"the rollout took longer than {job.seconds:g} s: raise rollout_seconds"
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
