"""What a search does in the world: look at the opening, ask for proposals, evaluate a leaf."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from armap_agents.environment import Guide, make_environment
from armap_agents.errors import ConfigurationError, EnvironmentDied, EnvironmentFailure
from armap_agents.graphs.context import PlannerContext
from armap_agents.graphs.nodes import act_out, guide_of, open_policy
from armap_agents.graphs.rollout import Emit, derive_seed, one_line, record
from armap_agents.graphs.tree_state import Outcome, depth_of, prefix_of, proposal_of
from armap_agents.policy import PolicyFailure, Proposals
from armap_agents.policy.narrowing import is_long, stages
from armap_agents.resources import current
from armap_agents.search import ROOT
from armap_agents.search.tree import merged
from armap_agents.trace import Journal
from armap_agents.trajectory import Status, Task, Trajectory
from armap_agents.usage import Usage

ROOT_TRIES = 3
"""How often proposals at the root are asked for: a search that fails there has no answer at all."""


async def open_episode(
    planner: str, task: Task, context: PlannerContext, journal: Journal, emit: Emit
) -> None:
    """Make sure that the environment can be restored, and that its opening is recorded.

    Raises:
        ConfigurationError: It cannot be restored.
    """
    environment = await asyncio.to_thread(
        make_environment, task.environment, **context.environment_options
    )
    await environment.close()
    if not getattr(environment, "restorable", True):
        raise ConfigurationError(
            f"{planner} has to restore states and environment {task.environment!r} cannot: use "
            "greedy, sampling, best_of_n or reflexion"
        )
    if journal.find("opening") is not None:
        return
    try:
        try:
            opening = await _opening(task, context)
        except EnvironmentDied:  # as rollouts do, which go on in another one
            opening = await _opening(task, context)
    except Exception as error:
        line = one_line(error, context.rollout_seconds)
        raise EnvironmentFailure(f"task {task.id} could not be begun: {line}") from error
    stored = await journal.store(opening)
    kept = {key: stored[key] for key in ("instruction", "observation")}
    record(journal, emit, "opening", "opening", **kept)


async def _opening(task: Task, context: PlannerContext) -> Trajectory:
    pool = await current().pool(task.environment, context.environment_options)
    async with pool.lease(task, seconds=context.rollout_seconds) as lease:
        return Trajectory(task, lease.instruction, lease.opening)


async def _guide(task: Task, context: PlannerContext) -> Guide | None:
    """Return what the policy is told about the environment."""
    options = json.dumps(context.environment_options, sort_keys=True)
    key = ("guide", task.environment, options, task.id)
    return await current().get(key, lambda: guide_of(task, context))


def cost_of(prefix: Trajectory, context: PlannerContext) -> int:
    """Return how many completions the proposals after `prefix` count, at most."""
    listed, templates = prefix.last.actions, prefix.last.templates
    if listed is None or templates:
        return context.proposals
    if is_long(prefix.last):
        return context.proposals * stages(listed)
    return context.proposals if context.policy_thoughts else len(listed)


@dataclass(frozen=True)
class Proposed:
    """What asking for proposals at a node came to.

    Attributes:
        items: Distinct actions with their priors.
        usage: What it cost.
        error: Why there are none, in one line; None where the policy answered.
    """

    items: list[tuple[str, float]]
    usage: Usage
    error: str | None = None


def _failed_then(journal: Journal, iteration: int, node: str) -> dict[str, Any] | None:
    """Return the evaluation that failed here in the original of a replay, if it did.

    It may have succeeded later, so that its answers are recorded all the same.
    """
    told = journal.find("told")
    failures = told["failures"][iteration] if told and iteration < len(told["failures"]) else []
    return next((failure for failure in failures if failure["node"] == node), None)


async def propose(
    node: str,
    iteration: int,
    prefix: Trajectory,
    context: PlannerContext,
    journal: Journal,
    emit: Emit,
) -> Proposed:
    """Ask the policy for proposals at a node, or return them from the journal."""
    if failure := _failed_then(journal, iteration, node):
        return Proposed([], Usage(failures=1), failure["error"])
    known = journal.find(f"expand/{node}")
    if known is None:
        found, spent, error = await _asked(prefix, context, ROOT_TRIES if node == ROOT else 1)
        if found is None:
            return Proposed([], spent, error)
        priors = merged([(proposal.action, proposal.prior) for proposal in found.items])
        thoughts = {p.action: {"thought": p.thought} for p in reversed(found.items) if p.thought}
        known = record(
            journal,
            emit,
            f"expand/{node}",
            "proposals",
            node=node,
            items=[
                {"action": action, "prior": prior, **thoughts.get(action, {})}
                for action, prior in priors.items()
            ],
            usage=(spent + found.usage).to_dict(),
        )
    items = [(item["action"], item["prior"]) for item in known["items"]]
    return Proposed(items, Usage.from_dict(known["usage"]))


async def _asked(
    prefix: Trajectory, context: PlannerContext, tries: int
) -> tuple[Proposals | None, Usage, str | None]:
    """Ask the policy for proposals; return them or why there are none, and what failures cost."""
    policy, task, spent, error = await open_policy(context), prefix.task, Usage(), None
    for _ in range(tries):
        try:
            found = await policy.propose(
                prefix,
                context.proposals,
                guide=await _guide(task, context),
                temperature=context.temperature,
                seed=derive_seed(context.seed, task.environment, task.id, prefix.actions),
            )
        except PolicyFailure as failure:
            spent, error = spent + failure.usage, str(failure)
        except Exception as failure:  # the environment's, which was asked for its guide
            line = one_line(failure, context.rollout_seconds)
            return None, spent + Usage(failures=1), line
        else:
            return found, spent, None
    return None, spent, error


async def visit(
    node: str,
    iteration: int,
    task: Task,
    context: PlannerContext,
    journal: Journal,
    emit: Emit,
    *,
    continues: bool,
) -> Outcome:
    """Take the action of a proposed node, and let the policy act on from there, greedily.

    What comes out depends on the actions that lead to the node and on the seed, not on when or
    beside what it was evaluated. A node that the journal knows costs nothing again.
    """
    if failure := _failed_then(journal, iteration, node):
        return failure | {"usage": Usage(failures=1).to_dict()}
    action, thought = proposal_of(journal, node)
    prefix = prefix_of(journal, task, node.rpartition(".")[0])
    charged = _charged(journal, node)
    found = await act_out(
        f"rollout/{node}",
        task,
        [*prefix.actions, action],
        context,
        journal,
        emit,
        temperature=0.0,
        prefix=prefix,
        actions=(action,),
        thought=thought,
        continues=continues,
    )
    usage = Usage.from_dict(found["usage"]) - charged
    trajectory = found["trajectory"]
    over = len(trajectory["steps"]) == depth_of(node)
    failed = trajectory["status"] == Status.FAILED
    return {
        "node": node,
        "trajectory": trajectory["id"],
        "status": trajectory["status"] if over or failed else Status.OPEN.value,
        "error": trajectory["error"],
        "usage": usage.to_dict(),
    }


def _charged(journal: Journal, node: str) -> Usage:
    """Return what answers cost that an earlier try of a rollout got, if a backup has counted it."""
    tries = {event["trajectory"]["id"] for event in journal.failures(f"rollout/{node}")}
    if not tries or not _counted(journal, tries):
        return Usage()
    spent, k = Usage(), depth_of(node)
    while (answer := journal.find(f"rollout/{node}/policy/{k}")) is not None:
        spent += Usage.from_dict(answer["usage"])
        k += 1
    return spent


def _counted(journal: Journal, trajectories: set[str]) -> bool:
    iteration = 0
    while (backup := journal.find(f"backup/{iteration}")) is not None:
        if any(evaluation["trajectory"] in trajectories for evaluation in backup["evaluations"]):
            return True
        iteration += 1
    return False
