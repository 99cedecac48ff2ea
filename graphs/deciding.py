"""Whether a search goes on, and with which leaves: budgets, thresholds, hopelessness."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from armap_agents.graphs.budget import spent_budget
from armap_agents.graphs.context import PlannerContext
from armap_agents.graphs.tree_state import prefix_of
from armap_agents.graphs.tree_steps import cost_of
from armap_agents.search import ROOT, Pick, Tree
from armap_agents.search.tree import close
from armap_agents.search.values import FINISHED
from armap_agents.trace import Journal
from armap_agents.trajectory import Status, Task
from armap_agents.usage import Usage

HOPELESS = 3
"""Iterations in a row in which everything failed that end a search."""

STALE = 100
"""Iterations in a row that only looked at finished episodes again; they end a search that has no
budget of rollouts, since what they cost would never spend another one."""

NOTHING_LEFT = "nothing is left to evaluate"


def why_stopped(
    context: PlannerContext,
    granted: int | None,
    tree: Tree,
    spent: Usage,
    best: dict[str, Any] | None,
    journal: Journal,
    iteration: int,
) -> str | None:
    """Return why a search is over, None while it is not.

    Args:
        context: Its budgets and threshold.
        granted: Rollouts in all that a person asked for, which lifts every budget.
        tree: The tree.
        spent: Costs so far.
        best: The best finished trajectory so far.
        journal: The run's.
        iteration: Number of iterations that are done.
    """
    enough = inf if context.stop_objective is None else context.stop_objective
    if granted is not None:
        if spent.rollouts >= granted:
            return f"{granted} rollouts spent, as asked for"
    elif budget := spent_budget(context, spent):
        return f"{budget.replace('_', ' ')} spent"
    elif best and best["objective"] >= enough:
        return f"objective {best['objective']:.3f} ≥ {enough:g}"
    if tree[ROOT]["closed"]:
        return NOTHING_LEFT
    if _all_newest(journal, iteration, HOPELESS, lambda e: e["status"] == Status.FAILED):
        return f"everything failed in {HOPELESS} iterations"
    if context.rollouts is None and _all_newest(journal, iteration, STALE, _seen_before):
        return f"nothing new in {STALE} iterations"
    return None


def _all_newest(
    journal: Journal, iteration: int, count: int, holds: Callable[[dict[str, Any]], bool]
) -> bool:
    """Whether something holds for every evaluation of the newest iterations, if so many are."""
    for k in range(iteration - 1, iteration - 1 - count, -1):
        event = journal.find(f"backup/{k}")
        if event is None or not all(map(holds, event["evaluations"])):
            return False
    return True


def _seen_before(evaluation: dict[str, Any]) -> bool:
    return evaluation["status"] in FINISHED and evaluation["objective"] is None


def rollouts_left(context: PlannerContext, granted: int | None, spent: Usage) -> int | None:
    """Return how many leaves a search may still evaluate, None without a bound; see `why_stopped`.

    It is at least 1: the search asks while nothing has stopped it.
    """
    limit = context.rollouts if granted is None else granted
    return None if limit is None else max(1, limit - spent.rollouts)


def affordable(
    pick: Callable[[Tree, PlannerContext, int], list[Pick]],
    tree: Tree,
    context: PlannerContext,
    width: int,
    left: int | None,
    journal: Journal,
    task: Task,
) -> tuple[list[Pick], str | None]:
    """Return the next leaves, or none and why.

    A leaf that the completions left do not suffice to expand is passed over, in favour of what can
    still be done. The root is not: without its proposals there would be no answer at all.

    Args:
        pick: (tree, context, width) → leaves.
        tree: The tree.
        context: The planner's.
        width: Leaves at most.
        left: Completions left; None bounds nothing.
        journal: The run's.
        task: Its task.
    """
    passed_over = False
    while picks := pick(tree, context, width):
        bare = {p.leaf for p in picks if tree[p.leaf]["status"] == Status.OPEN} - {ROOT}
        if left is None or not bare:
            return picks, None
        costs = {node: cost_of(prefix_of(journal, task, node), context.proposals) for node in bare}
        if sum(costs.values()) <= left:
            return picks, None
        dear = [node for node in bare if costs[node] > left]
        for node in dear:
            tree, passed_over = close(tree, node), True
        if not dear:
            width -= 1
    return [], "completions spent" if passed_over else NOTHING_LEFT
