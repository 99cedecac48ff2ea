"""How a search ends: a last rollout where none was finished, a person's word, the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from langgraph.types import interrupt

from armap_agents.errors import PolicyError
from armap_agents.graphs.context import PlannerContext
from armap_agents.graphs.evaluating import evaluate
from armap_agents.graphs.nodes import act_out, open_reward
from armap_agents.graphs.rollout import Emit, derive_seed, record
from armap_agents.graphs.runs import open_journal
from armap_agents.graphs.tree_state import SearchState, prefix_of
from armap_agents.resources import current
from armap_agents.search import Tree
from armap_agents.trace import Journal
from armap_agents.trajectory import Status, Task, Trajectory
from armap_agents.usage import Usage

EDITED = "the answer was edited"
"""Ends the reason why a search stopped whose answer a person wrote."""

REPLIES = '{"approve": true}, {"actions": ["…", …]} or {"rollouts": 16}'


def after_search(state: SearchState) -> Literal["finish", "review"]:
    """Return where a search goes that has stopped."""
    return "review" if state["best"] else "finish"


async def finish(state: SearchState, context: PlannerContext, emit: Emit) -> dict[str, Any]:
    """Roll out from the most valuable state, so that there is an answer."""
    start = _most_valuable(state["tree"])
    if start is None:
        return {}
    journal = await open_journal(state["run"])
    prefix = prefix_of(journal, Task.from_dict(state["task"]), start)
    return await _candidate(state, f"finish/{start}", prefix, (), context, journal, emit)


def _most_valuable(tree: Tree) -> str | None:
    open_ = [
        (node["q"], at)
        for at, node in tree.items()
        if node["q"] is not None and node["status"] == Status.OPEN and not node["children"]
    ]
    return max(open_, key=lambda item: item[0])[1] if open_ else None


async def review(state: SearchState, context: PlannerContext, emit: Emit) -> dict[str, Any]:
    """Ask a person, where the context says so: approve, edit the actions, or search on."""
    if not context.review or state["best"] is None:
        return {}
    journal = await open_journal(state["run"])
    answer, question = _chosen(state, _candidates(state, journal)), f"Reply {REPLIES}."
    while True:
        reply = interrupt(
            {
                "instruction": answer["trajectory"]["instruction"],
                "actions": [step["action"] for step in answer["trajectory"]["steps"]],
                "ending": _ending(answer["trajectory"]),
                "score": answer["score"],
                "objective": answer["objective"],
                "stopped": state["stopped"],
                "question": question,
            }
        )
        match reply:
            case {"approve": True}:
                return {}
            case {"rollouts": int(more)} if more is not True and more > 0:
                spent = Usage.from_dict(state["spent"])
                best = state["best"] if state["best"]["node"] else None  # of a last rollout
                return {"stopped": None, "granted": spent.rollouts + more, "best": best}
            case {"actions": [*actions]} if all(isinstance(a, str) for a in actions):
                task = Task.from_dict(state["task"])
                opening = prefix_of(journal, task, "0")
                edit = f"edit/{derive_seed(*actions)}"
                return await _candidate(
                    state, edit, opening, tuple(actions), context, journal, emit, edited=True
                )
        question = f"{reply!r} is no reply: use {REPLIES}."


def _ending(trajectory: Mapping[str, Any]) -> str:
    steps = trajectory["steps"]
    last: Mapping[str, Any] = steps[-1] if steps else trajectory
    return str(last["observation"]["text"])[:400]


async def _candidate(
    state: SearchState,
    name: str,
    prefix: Trajectory,
    actions: tuple[str, ...],
    context: PlannerContext,
    journal: Journal,
    emit: Emit,
    *,
    edited: bool = False,
) -> dict[str, Any]:
    """Act on from a prefix, with these actions first; add what comes out as a candidate."""
    found = await act_out(
        name,
        prefix.task,
        [*prefix.actions, *actions],
        context,
        journal,
        emit,
        temperature=0.0,
        prefix=prefix,
        actions=actions,
    )
    candidate = {"node": None, **found, "score": None, "objective": None}
    spent = Usage.from_dict(state["spent"]) + Usage.from_dict(found["usage"])
    best, edit = state["best"], f"the edit failed: {found['trajectory']['error']}"
    if found["trajectory"]["status"] != Status.FAILED:
        edit = EDITED
        trajectory = journal.load(found["trajectory"])
        rewards = await evaluate(
            await open_reward(context, trajectory.task.environment),
            context.objective,
            0.0,
            {name: trajectory},
            {},
            journal,
            emit,
        )
        candidate |= {key: rewards[name][key] for key in ("score", "objective")}
        spent += Usage(scored=1)
        best = {
            "node": None,
            "trajectory": trajectory.id,
            "score": candidate["score"],
            "objective": candidate["objective"],
        }
    return {
        "candidates": [*state["candidates"], candidate],
        "best": best,
        "spent": spent.to_dict(),
        "stopped": f"{state['stopped']}; {edit}" if edited else state["stopped"],
    }


async def answer(state: SearchState, emit: Emit) -> dict[str, Any]:
    """Return the answer with every candidate and all costs."""
    journal = await open_journal(state["run"])
    candidates = _candidates(state, journal)
    best = state["best"]
    if best is None:
        errors = [c["trajectory"]["error"] for c in candidates if c["trajectory"]["error"]]
        raise PolicyError(f"every rollout failed: {(errors or _errors(state, journal))[-1]}")
    record(
        journal,
        emit,
        f"answer/{state['iteration']}/{best['trajectory'][:8]}",
        "answer",
        **best,
        stopped=state["stopped"],
        usage=state["spent"],
    )
    await current().drop(("journal", journal.run))
    return {
        "trajectory": _chosen(state, candidates)["trajectory"],
        "score": best["score"],
        "candidates": candidates,
        "usage": state["spent"],
    }


def _chosen(state: SearchState, candidates: list[dict[str, Any]]) -> dict[str, Any]:
    best = state["best"]
    assert best is not None
    return next(c for c in candidates if c["trajectory"]["id"] == best["trajectory"])


def _errors(state: SearchState, journal: Journal) -> list[str]:
    events = [journal.find(f"backup/{k}") for k in range(state["iteration"])]
    return [
        e["error"] for event in events if event for e in event["evaluations"] if e["error"]
    ] or ["nothing could be done here"]


def _candidates(state: SearchState, journal: Journal) -> list[dict[str, Any]]:
    """Return what was rolled out, in the order of the search, each trajectory once."""
    found: dict[str, dict[str, Any]] = {}
    for iteration in range(state["iteration"]):
        event = journal.find(f"backup/{iteration}")
        assert event is not None
        for evaluation in event["evaluations"]:
            node, trajectory = evaluation["node"], evaluation["trajectory"]
            known = (journal.find(f"rollout/{node}"), *journal.failures(f"rollout/{node}"))
            # A rollout that failed may have been tried again since.
            rollout = next((r for r in known if r and r["trajectory"]["id"] == trajectory), None)
            if rollout is None or trajectory in found:
                continue
            if rollout["trajectory"]["status"] != Status.OPEN:
                found[trajectory] = {
                    "node": node,
                    "trajectory": rollout["trajectory"],
                    "usage": rollout["usage"],
                    "score": evaluation["score"],
                    "objective": evaluation["objective"],
                }
    for candidate in state["candidates"]:
        found.setdefault(candidate["trajectory"]["id"], candidate)
    return [{"index": index, **candidate} for index, candidate in enumerate(found.values())]
