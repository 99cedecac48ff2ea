"""One rollout: the policy acts in an environment from any state to the end of the episode.

A plain async function that every planner's rollout node calls. Each policy answer and the finished
trajectory go to the journal under ids derived from the rollout's, and are looked up there first, so
that a killed run goes on in the middle of an episode. Whatever fails becomes a trajectory of status
``failed`` that says why: one failure costs one rollout, its siblings go on. A failure is noted in
the journal under an id that no lookup finds, so that a run which goes on later tries again. The
death of an environment's process is none yet: the rollout goes on once, where it was, in another.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from armap_agents.environment import Guide
from armap_agents.errors import ArmapError, ConfigurationError, EnvironmentDied
from armap_agents.policy import Answer, Policy, PolicyFailure
from armap_agents.pool import EnvironmentPool
from armap_agents.trace import Journal
from armap_agents.trajectory import Observation, Status, Step, Task, Trajectory, content_hash
from armap_agents.usage import Usage

_log = logging.getLogger(__name__)

Emit = Callable[[dict[str, Any]], None]
"""Takes live events; LangGraph's `runtime.stream_writer`."""


def record(journal: Journal, emit: Emit, event_id: str, kind: str, **data: Any) -> dict[str, Any]:
    """Write an event to the journal and send it to whoever watches: both see the same."""
    event = journal.record(event_id, kind, **data)
    emit(event)
    return event


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
        max_steps: Most actions in the episode, those of the prefix included.
        seconds: Deadline, from the moment that the environment is leased.
        prefix: What has been done before; None starts the episode.
        actions: Taken first, before the policy is asked.
        continues: Whether the policy is asked after these, or the trajectory stays open there.
        memory: What the policy noted after earlier attempts.
        thought: What it wrote before the first of `actions`, where it proposed that.
    """

    id: str
    task: Task
    seed: int
    temperature: float
    max_steps: int
    seconds: float
    prefix: Trajectory | None = None
    actions: tuple[str, ...] = ()
    continues: bool = True
    memory: tuple[str, ...] = ()
    thought: str | None = None


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
    unknown = Trajectory(job.task, job.task.instruction or "", Observation(""))
    # A prefix without steps is false, and yet knows instruction and opening.
    known_so_far = unknown if job.prefix is None else job.prefix
    episode = _Episode(known_so_far, Usage(rollouts=1))
    started = time.monotonic()
    try:
        try:
            await _continue(episode, job, job.prefix, pool, policy, journal, emit)
        except EnvironmentDied as death:
            _log.warning("rollout %s goes on in another environment: %s", job.id, death)
            reached = episode.trajectory if episode.began else job.prefix
            try:
                await _continue(episode, job, reached, pool, policy, journal, emit)
            except ConfigurationError:  # there is no way back to where it was
                raise death from None
        trajectory = episode.trajectory
        if not trajectory.done and len(trajectory) >= job.max_steps:
            trajectory = replace(trajectory, status=Status.LIMIT)
    except Exception as error:
        _log.debug("rollout %s failed", job.id, exc_info=True)
        line = one_line(error, job.seconds)
        trajectory = replace(episode.trajectory, status=Status.FAILED, error=line)
        episode.usage += error.usage if isinstance(error, PolicyFailure) else Usage(failures=1)
    usage = replace(episode.usage, seconds=round(time.monotonic() - started, 4))
    found = {"trajectory": await journal.store(trajectory), "usage": usage.to_dict()}
    if trajectory.status is Status.FAILED:
        record(journal, emit, f"{job.id}/failed/{time.time_ns()}", "failure", **found)
    else:
        record(journal, emit, job.id, "rollout", **found)
    return found


@dataclass
class _Episode:
    """How far a rollout has come, whatever happens to the environment that it acts in.

    Attributes:
        trajectory: What has been done.
        usage: What it cost.
        began: Whether an environment was reached, so that `trajectory` has its opening.
        asked: Steps whose answers of the policy are in `usage`.
    """

    trajectory: Trajectory
    usage: Usage
    began: bool = False
    asked: int = 0


async def _continue(
    episode: _Episode,
    job: Rollout,
    reached: Trajectory | None,
    pool: EnvironmentPool,
    policy: Policy,
    journal: Journal,
    emit: Emit,
) -> None:
    """Act on from `reached` in an environment of the pool, keeping `episode` up to date."""
    leased = pool.lease(job.task, reached, job.seconds)
    async with leased as lease, asyncio.timeout(job.seconds):
        episode.usage += Usage(environment_steps=lease.caught_up)
        if reached is None:
            episode.trajectory = Trajectory(job.task, lease.instruction, lease.opening)
        episode.began = True
        first = len(job.prefix) if job.prefix else 0
        while not (trajectory := episode.trajectory).done and len(trajectory) < job.max_steps:
            given = job.actions[len(trajectory) - first :]
            if given:
                action = given[0]
                thought = job.thought if len(trajectory) == first else None
            elif job.continues:
                answer = await _act(job, trajectory, lease.guide, policy, journal, emit)
                if len(trajectory) >= episode.asked:  # else it was paid for before a death
                    episode.usage += answer.usage
                    episode.asked = len(trajectory) + 1
                action, thought = answer.action, answer.thought
            else:
                break
            result = await lease.step(action)
            episode.usage += Usage(environment_steps=1)
            step = Step(action, result.observation, result.done, thought)
            episode.trajectory = trajectory.extended(step)
            step_id = f"{job.id}/step/{len(episode.trajectory)}"
            record(journal, emit, step_id, "step", **_shown(step))


async def _act(
    job: Rollout,
    trajectory: Trajectory,
    guide: Guide | None,
    policy: Policy,
    journal: Journal,
    emit: Emit,
) -> Answer:
    """Return the policy's next action, from the journal where it has been given before."""
    k = len(trajectory)
    event_id = f"{job.id}/policy/{k}"
    known = journal.find(event_id)
    if known is not None:
        return Answer(
            known["action"],
            known["text"],
            Usage.from_dict(known["usage"]),
            known["constrained"],
            known.get("thought"),
            tuple(known.get("beginnings", ())),
        )
    answer = await policy.act(
        trajectory,
        guide=guide,
        temperature=job.temperature,
        seed=derive_seed(job.seed, k),
        memory=job.memory,
    )
    record(
        journal,
        emit,
        event_id,
        "policy",
        action=answer.action,
        text=answer.text,
        constrained=answer.constrained,
        usage=answer.usage.to_dict(),
        **({"thought": answer.thought} if answer.thought else {}),
        **({"beginnings": list(answer.beginnings)} if answer.beginnings else {}),
    )
    return answer


def _shown(step: Step) -> dict[str, Any]:
    """A step, short enough for a live stream; the rollout's event holds it whole."""
    return {
        "action": step.action[:200],
        "observation": step.observation.text[:400],
        "done": step.done,
    }


def one_line(error: Exception, seconds: float) -> str:
    """Say what failed; `seconds` is the deadline that was set."""
    if isinstance(error, ArmapError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"it took longer than {seconds:g} s: raise rollout_seconds"
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
