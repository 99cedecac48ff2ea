"""Reflexion (ARMAP-R): try, and where that was not good enough, note why and try again.

``rollout → score → reflect → rollout … → answer``, a super-step each. The reward model says whether
an attempt passes: where it is calibrated, by the probability of success, else by the objective. The
policy writes a short plan after an attempt that does not, and the next ones are shown the newest of
these notes. The answer is the best attempt by objective, not the last; ties go to the earliest.
Attempt 0 is the first draw of sampling and Best-of-N.

What came of each attempt stands in the journal as ``attempt/<index>``. A run that goes on finds
there, beside what finished, which attempts failed and were passed over: the notes of later ones
were written without them, so they are not tried again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from armap_agents.errors import ConfigurationError, PolicyError
from armap_agents.graphs import nodes
from armap_agents.graphs.budget import require_budget, spent_budget
from armap_agents.graphs.checking import checked_task
from armap_agents.graphs.context import PlannerContext, context_of
from armap_agents.graphs.nodes import (
    PlannerInput,
    PlannerState,
    merge_candidates,
    open_reward,
    scored,
)
from armap_agents.graphs.reflecting import write_note
from armap_agents.graphs.rollout import record
from armap_agents.graphs.runs import follow, open_journal, open_run, settings_of
from armap_agents.resources import current
from armap_agents.reward.objectives import (
    calibrated,
    check_penalties,
    objectives,
    pass_probabilities,
)
from armap_agents.reward_model import RewardModel
from armap_agents.trace import Journal
from armap_agents.trajectory import Status, Task
from armap_agents.usage import Usage

PASS_OBJECTIVE = 1.0
"""Objective at which an attempt passes where neither the context nor a calibrated model says.

One standard deviation above the mean of the model's held-out trajectories; of a function that
scores from 0 to 1, and so is not standardised, the best there is.
"""

FAILURES_IN_A_ROW = 3
"""So many failed attempts in a row end the run: the fault is no accident."""

_FIELDS = ("objective", "reflections")
"""Fields of the context that the run's events depend on, beside those of every rollout."""


class ReflexionState(PlannerState):
    """What Reflexion works on and returns; every value is pure JSON.

    Whole trajectories stand in the journal until the answer, so that checkpoints stay small.

    Attributes:
        attempts: One record an attempt: index, trajectory id, status, error, usage, score,
            objective; of one that failed also `partial`, the trajectory up to there.
        reflections: One record an attempt that was reflected on: index, text (empty where the
            reflection failed), usage.
        stopped: Why there is no further attempt, in one line; None while there is one.
    """

    attempts: Annotated[list[dict[str, Any]], merge_candidates]
    reflections: Annotated[list[dict[str, Any]], merge_candidates]
    stopped: str | None


async def begin(state: PlannerInput, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
    """Name the run, once the reward model is there: without one the rollouts were in vain."""
    context = context_of(runtime)
    model = await open_reward(context)
    task = checked_task(state)
    check_penalties(context.objective)
    require_budget(context, "Reflexion")
    await current().pool(task.environment, context.environment_options)
    journal = await open_run("reflexion", task, context, _FIELDS, reward=model.fingerprint)
    return {
        "task": task.to_dict(),
        "run": journal.run,
        "candidates": None,
        "score": None,
        "attempts": None,
        "reflections": None,
        "stopped": None,
    }


async def rollout(state: ReflexionState, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
    """Make the next attempt, in the light of the newest notes."""
    context, index = context_of(runtime), len(state["attempts"])
    reflected = any(note["index"] == index - 1 for note in state["reflections"])
    newest = f"{'reflection' if reflected else 'attempt'}/{index - 1}" if index else "run"
    journal = await _follow(state, context, newest, f"attempt/{index}")
    passed_over = journal.find(f"attempt/{index}")
    if passed_over is not None and "partial" in passed_over:
        found = {"trajectory": passed_over["partial"], "usage": passed_over["usage"]}
    else:
        memory = _memory(state, context)
        job = {"index": index, "run": journal.run, "task": state["task"], "memory": memory}
        [found] = (await nodes.rollout({"job": job}, runtime))["candidates"]
    trajectory = found["trajectory"]
    attempt = {
        "index": index,
        "trajectory": trajectory["id"],
        "status": trajectory["status"],
        "error": trajectory.get("error"),
        "usage": found["usage"],
        "score": None,
        "objective": None,
    }
    if trajectory["status"] == Status.FAILED:
        attempt["partial"] = trajectory
    return {"run": journal.run, "attempts": [attempt]}


async def score(state: ReflexionState, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
    """Score the newest attempt, and decide whether there is another."""
    context, journal = context_of(runtime), await open_journal(state["run"])
    *earlier, attempt = state["attempts"]
    stopped, event_id = None, f"attempt/{attempt['index']}"
    if attempt["status"] != Status.FAILED:
        trajectory = journal.load(_trajectory(attempt, journal))
        model = await open_reward(context, trajectory.task.environment)
        started = time.monotonic()
        [value] = await scored(model, [trajectory], journal, runtime.stream_writer)
        [objective] = objectives([value], [trajectory], context.objective, model)
        cost = Usage(scored=1, seconds=round(time.monotonic() - started, 4))
        usage = (Usage.from_dict(attempt["usage"]) + cost).to_dict()
        attempt = attempt | {"score": value, "objective": objective, "usage": usage}
        stopped = _passes(attempt, context, model)
    known = journal.find(event_id)
    if known is not None:
        attempt = attempt | {"usage": known["usage"]}
    attempts = [*earlier, attempt]
    spent = _spent(attempts, state["reflections"])
    done = (len(attempts), len(state["reflections"]))
    stopped = stopped or _gives_up(attempts) or _budget(context, spent, journal, done)
    if attempt["status"] != Status.FAILED or stopped is None:
        event = attempt | {"spent": spent.to_dict()}
        record(journal, runtime.stream_writer, event_id, "attempt", **event)
    return {"attempts": [attempt], "stopped": stopped}


async def reflect(state: ReflexionState, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
    """Have the policy note what to do differently; a failure costs this note alone."""
    context, attempt = context_of(runtime), state["attempts"][-1]
    index = attempt["index"]
    journal = await _follow(state, context, f"attempt/{index}", f"reflection/{index}")
    event = journal.find(f"reflection/{index}")
    if event is None:
        trajectory = journal.load(_trajectory(attempt, journal))
        noted = await write_note(trajectory, index, _memory(state, context), context)
        event = record(journal, runtime.stream_writer, f"reflection/{index}", "reflection", **noted)
    note = {"index": index, "text": event["text"], "usage": event["usage"]}
    spent = _spent(state["attempts"], [*state["reflections"], note])
    stopped = _budget(context, spent, journal, (index + 1, len(state["reflections"]) + 1))
    return {"run": journal.run, "reflections": [note], "stopped": stopped}


async def answer(state: ReflexionState, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
    """Hand out the best attempt by objective, with what the run cost.

    Raises:
        PolicyError: Every attempt failed.
    """
    attempts, journal = state["attempts"], await open_journal(state["run"])
    finished = [attempt for attempt in attempts if attempt["status"] != Status.FAILED]
    if not finished:
        await current().drop(("journal", journal.run))
        raise PolicyError(f"every attempt failed: {attempts[-1]['error']}")
    best = max(finished, key=lambda attempt: attempt["objective"])
    usage = _spent(attempts, state["reflections"]).to_dict()
    # Attempts that failed at the end are made again where the run goes on.
    done = [len(attempts), len(state["reflections"])]
    record(
        journal,
        runtime.stream_writer,
        f"answer/{len(attempts)}/{len(finished)}",
        "answer",
        done=done,
        trajectory=best["trajectory"],
        node=None,
        score=best["score"],
        objective=best["objective"],
        stopped=state["stopped"],
        usage=usage,
    )
    await current().drop(("journal", journal.run))
    candidates = [
        {key: attempt[key] for key in ("index", "usage", "score", "objective")}
        | {"trajectory": _trajectory(attempt, journal)}
        for attempt in attempts
    ]
    return {
        "trajectory": _trajectory(best, journal),
        "score": best["score"],
        "candidates": candidates,
        "usage": usage,
    }


def after_score(
    state: ReflexionState, runtime: Runtime[PlannerContext]
) -> Literal["rollout", "reflect", "answer"]:
    """Reflect where there is something to reflect on and somebody to remember it."""
    if state["stopped"]:
        return "answer"
    partial = state["attempts"][-1].get("partial")
    nothing = partial is not None and not partial["steps"]
    return "rollout" if nothing or not context_of(runtime).reflections else "reflect"


def after_reflection(state: ReflexionState) -> Literal["rollout", "answer"]:
    """Go on, unless the reflection spent a budget."""
    return "answer" if state["stopped"] else "rollout"


async def _follow(
    state: ReflexionState, context: PlannerContext, newest: str, following: str
) -> Journal:
    """Return the journal to go on in: a fork's where a checkpoint is continued with other settings.

    Attempts are compared by their objectives, so a fork keeps what these depend on.
    """
    model = await open_reward(context)
    settings = settings_of(
        Task.from_dict(state["task"]), context, _FIELDS, reward=model.fingerprint
    )
    fixed = ("environment_options", "objective", "reward")
    return await follow(state["run"], newest, following, "reflexion", context, settings, fixed)


def _passes(attempt: dict[str, Any], context: PlannerContext, model: RewardModel) -> str | None:
    """Return how an attempt passes, in one line, or None where it does not."""
    threshold, why = context.stop_objective, "stop_objective"
    passes = f"attempt {attempt['index']} passes:"
    if calibrated(model):
        [chance] = pass_probabilities([attempt["score"]], model)
        if chance >= context.stop_probability:
            return f"{passes} probability {chance:.3g} ≥ {context.stop_probability:g} (calibrated)"
    else:
        threshold = PASS_OBJECTIVE if threshold is None else threshold
        why = "plain threshold, the reward model is not calibrated"
    if threshold is None or attempt["objective"] < threshold:
        return None
    return f"{passes} objective {attempt['objective']:.3g} ≥ {threshold:g} ({why})"


def _gives_up(attempts: Sequence[dict[str, Any]]) -> str | None:
    newest = attempts[-FAILURES_IN_A_ROW:]
    if len(newest) < FAILURES_IN_A_ROW or any(a["status"] != Status.FAILED for a in newest):
        return None
    return f"{FAILURES_IN_A_ROW} attempts in a row failed: {newest[-1]['error']}"


def _budget(
    context: PlannerContext, spent: Usage, journal: Journal, done: tuple[int, int]
) -> str | None:
    """Return which budget is spent; a replay ends after as much as its original, (attempts, notes).

    What seconds allow depends on the machine, and a run may have been resumed with more.
    """
    if (told := journal.find("told")) is not None:
        stopped: str = told["stopped"]
        return stopped if list(done) >= told["done"] else None
    name = spent_budget(context, spent)
    return name and f"{name} spent"


def _memory(state: ReflexionState, context: PlannerContext) -> list[str]:
    notes = [note["text"] for note in state["reflections"] if note["text"]]
    return notes[-context.reflections :] if context.reflections else []


def _spent(attempts: Sequence[dict[str, Any]], reflections: Sequence[dict[str, Any]]) -> Usage:
    """Return the costs so far; one thing follows the other, so their seconds add up to the time."""
    return sum((Usage.from_dict(item["usage"]) for item in (*attempts, *reflections)), Usage())


def _trajectory(attempt: dict[str, Any], journal: Journal) -> dict[str, Any]:
    """Return an attempt's trajectory as JSON.

    Raises:
        ConfigurationError: A checkpoint goes on where its journal is not.
    """
    event = attempt if "partial" in attempt else journal.find(f"rollout/{attempt['index']}")
    if event is None:
        raise ConfigurationError(
            f"run {journal.run} has no rollout/{attempt['index']} in {journal.folder}: set "
            "ARMAP_RUNS to where it was written"
        )
    found: dict[str, Any] = event["partial" if event is attempt else "trajectory"]
    return found


builder = StateGraph(ReflexionState, context_schema=PlannerContext, input_schema=PlannerInput)
builder.add_node(begin)
builder.add_node(rollout)
builder.add_node(score)
builder.add_node(reflect)
builder.add_node(answer)
builder.add_edge(START, "begin")
builder.add_edge("begin", "rollout")
builder.add_edge("rollout", "score")
builder.add_conditional_edges("score", after_score, ["rollout", "reflect", "answer"])
builder.add_conditional_edges("reflect", after_reflection, ["rollout", "answer"])
builder.add_edge("answer", END)

graph = builder.compile(name="reflexion")
