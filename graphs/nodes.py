"""The nodes that planners of independent rollouts share: begin, rollout × n, score, answer.

State is pure JSON. `begin` names the run and writes its settings to the journal, `fan_out` sends
one rollout per index, `score` asks the reward model once for the whole batch, and `answer` hands
out the chosen candidate with what the run cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

from langgraph.runtime import Runtime
from langgraph.types import Send
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from armap_agents.environment import Guide
from armap_agents.errors import ConfigurationError, PolicyError
from armap_agents.graphs.checking import checked_task
from armap_agents.graphs.context import PlannerContext, context_of
from armap_agents.graphs.rollout import Emit, Rollout, derive_seed, record, roll_out
from armap_agents.graphs.runs import open_journal, open_run
from armap_agents.policy import Policy
from armap_agents.resources import current
from armap_agents.reward import load_reward
from armap_agents.reward.objectives import check_penalties, objectives
from armap_agents.reward.wire import check_address, is_address
from armap_agents.reward_model import RewardModel, registered_reward
from armap_agents.trace import Journal
from armap_agents.trajectory import Status, Task, Trajectory, content_hash
from armap_agents.usage import Usage


def merge_candidates(
    old: list[dict[str, Any]] | None, new: list[dict[str, Any]] | None
) -> list[dict[str, Any]]:
    """Reducer: candidates by index, later fields over earlier ones; None empties the list."""
    if new is None:
        return []
    merged = {item["index"]: item for item in old or []}
    for item in new:
        merged[item["index"]] = merged.get(item["index"], {}) | item
    return [merged[index] for index in sorted(merged)]


class PlannerInput(TypedDict):
    """What a planner is given.

    Attributes:
        task: `Task.to_dict()`; ``{"environment": …, "id": …}`` is enough.
    """

    task: dict[str, Any]


class PlannerState(PlannerInput):
    """What a planner works on and returns; every value is pure JSON.

    Attributes:
        run: Name of the run; its folder holds the journal.
        candidates: One record a rollout: index, trajectory, usage, score, objective.
        trajectory: The answer.
        score: The reward model's score of the answer; None where none was asked.
        usage: What the run cost.
    """

    run: str
    candidates: Annotated[list[dict[str, Any]], merge_candidates]
    trajectory: dict[str, Any]
    score: float | None
    usage: dict[str, Any]


class RolloutJob(TypedDict):
    """Payload of one `Send` to the rollout node."""

    job: dict[str, Any]


async def open_policy(context: PlannerContext) -> Policy:
    """Return the event loop's policy for this context."""
    resources, config = current(), context.policy()

    async def open_() -> Policy:
        return Policy(config, resources.http)

    return await resources.get(("policy", config), open_)


async def open_reward(context: PlannerContext, environment: str | None = None) -> RewardModel:
    """Return the event loop's reward model for this context.

    Args:
        context: Names it.
        environment: Whose scale and calibration it shall have, where it serves several; not needed
            for scores and values alone.

    Raises:
        ConfigurationError: The context names none, or there is none under that name.
    """
    name = context.reward
    if not name:
        raise ConfigurationError(
            "no reward model: put `reward` into the context (a folder that `armap train` wrote, a "
            "server's address, or a registered name), or set ARMAP_REWARD"
        )

    async def open_() -> RewardModel:
        named = registered_reward(name)
        return named if named is not None else await asyncio.to_thread(load_reward, name)

    async def close(model: RewardModel) -> None:
        closer = getattr(model, "aclose", None)
        if closer is not None:
            await closer()

    model = await current().get(("reward", name), open_, close)
    of = getattr(model, "of", None)
    if environment is None or of is None:
        return model
    bound: RewardModel = of(environment)
    return bound


async def begin(
    state: PlannerInput, runtime: Runtime[PlannerContext], planner: str
) -> dict[str, Any]:
    """Check the context, name the run and write its settings to the journal."""
    context = context_of(runtime)
    task = checked_task(state)
    check_penalties(context.objective)
    if context.reward and is_address(context.reward):
        check_address(context.reward)  # before it is written into the run
    await current().pool(task.environment, context.environment_options)
    journal = await open_run(planner, task, context)
    return {"task": task.to_dict(), "run": journal.run, "candidates": None, "score": None}


def fan_out(state: PlannerState, runtime: Runtime[PlannerContext]) -> list[Send]:
    """Send one rollout job per index."""
    context = context_of(runtime)
    return [
        Send("rollout", {"job": {"index": index, "run": state["run"], "task": state["task"]}})
        for index in range(context.n)
    ]


async def rollout(state: RolloutJob, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
    """Roll one episode out; a failure is a record like any other."""
    context, job = context_of(runtime), state["job"]
    found = await act_out(
        f"rollout/{job['index']}",
        Task.from_dict(job["task"]),
        job["index"],
        context,
        await open_journal(job["run"]),
        runtime.stream_writer,
        temperature=context.temperature,
        memory=tuple(job.get("memory", ())),
    )
    return {"candidates": [{"index": job["index"], **found}]}


async def act_out(
    name: str,
    task: Task,
    draw: Any,
    context: PlannerContext,
    journal: Journal,
    emit: Emit,
    **more: Any,
) -> dict[str, Any]:
    """Roll out with the pool, the policy and the limits that a context names.

    Args:
        name: The rollout's id.
        task: Its task.
        draw: JSON that tells its draws from those of the run's other rollouts.
        context: The planner's.
        journal: The run's.
        emit: Takes live events.
        more: Further fields of `Rollout`.

    Returns:
        What `roll_out` returns.
    """
    job = Rollout(
        id=name,
        task=task,
        seed=derive_seed(context.seed, task.environment, task.id, draw),
        max_steps=min(context.max_steps, task.max_steps or context.max_steps),
        seconds=context.rollout_seconds,
        **more,
    )
    pool = await current().pool(task.environment, context.environment_options)
    return await roll_out(job, pool, await open_policy(context), journal, emit)


async def guide_of(task: Task, context: PlannerContext) -> Guide | None:
    """Return what the environment tells a policy; it may know it only after the task's reset."""
    pool = await current().pool(task.environment, context.environment_options)
    async with pool.lease(task, seconds=context.rollout_seconds) as lease:
        return lease.guide


async def score(state: PlannerState, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
    """Score every finished candidate in one batch; failed ones get no score."""
    context = context_of(runtime)
    journal = await open_journal(state["run"])
    finished = [c for c in state["candidates"] if c["trajectory"]["status"] != Status.FAILED]
    trajectories = [journal.load(c["trajectory"]) for c in finished]
    model = await open_reward(context, state["task"]["environment"])
    scores = await scored(model, trajectories, journal, runtime.stream_writer)
    values = objectives(scores, trajectories, context.objective, model)
    return {
        "candidates": [
            {"index": c["index"], "score": score, "objective": value}
            for c, score, value in zip(finished, scores, values, strict=True)
        ]
    }


async def scored(
    model: RewardModel, trajectories: list[Trajectory], journal: Journal, emit: Emit
) -> list[float]:
    """Return the model's scores of finished trajectories, from the journal if they are there."""
    names = ("score", "trajectories", "scores")
    return await asked_once(names, model.ascore, model.fingerprint, trajectories, journal, emit)


async def asked_once(
    names: tuple[str, str, str],
    ask: Callable[[list[Trajectory]], Awaitable[Sequence[float]]],
    fingerprint: str,
    trajectories: list[Trajectory],
    journal: Journal,
    emit: Emit,
) -> list[float]:
    """Return what a model says of a batch, from the journal if it has been asked before.

    Args:
        names: The event's kind, and its fields for what was asked about and what was said.
        ask: Asks the model.
        fingerprint: The model's.
        trajectories: The batch; an empty one is not asked about.
        journal: The run's.
        emit: Takes live events.
    """
    if not trajectories:
        return []
    kind, asked, said = names
    ids = [trajectory.id for trajectory in trajectories]
    event_id = f"{kind}/{fingerprint}/{content_hash(ids)[:16]}"
    known = journal.find(event_id)
    if known is None:
        found = [float(value) for value in await ask(trajectories)]
        data = {"fingerprint": fingerprint, asked: ids, said: found}
        known = record(journal, emit, event_id, kind, **data)
    return list(known[said])


async def answer(state: PlannerState, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
    """Choose the candidate with the best objective, or the first where none were scored."""
    candidates = state["candidates"]
    finished = [c for c in candidates if c["trajectory"]["status"] != Status.FAILED]
    journal = await open_journal(state["run"])
    usage = sum((Usage.from_dict(c["usage"]) for c in candidates), Usage())
    scored = sum(c.get("score") is not None for c in candidates)
    if not finished:
        await current().drop(("journal", journal.run))
        raise PolicyError(f"every rollout failed: {candidates[0]['trajectory']['error']}")
    best = max(finished, key=lambda c: c.get("objective", 0.0))
    chosen = best["trajectory"]["id"]
    record(
        journal,
        runtime.stream_writer,
        # Planners that share a run each give their answer: by no score, or by this one.
        f"answer/{chosen[:8]}/{best.get('objective')}",
        "answer",
        trajectory=chosen,
        node=None,
        score=best.get("score"),
        objective=best.get("objective"),
        stopped=f"{len(candidates)} rollouts done",
        usage=(usage + Usage(scored=scored)).to_dict(),
    )
    await current().drop(("journal", journal.run))
    return {
        "trajectory": best["trajectory"],
        "score": best.get("score"),
        "usage": (usage + Usage(scored=scored)).to_dict(),
    }
