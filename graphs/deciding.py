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
from armap_agents.trace import Journal
from armap_agents.trajectory import Status, Task
from armap_agents.usage import Usage

HOPELESS = 3
"""Iterations in a row in which everything failed that end a search."""

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
    newest = [journal.find(f"backup/{iteration - 1 - k}") for k in range(HOPELESS)]
    if all(
        event and all(e["status"] == Status.FAILED for e in event["evaluations"])
        for event in newest
    ):
        return f"everything failed in {HOPELESS} iterations"
    return None


def width_left(context: PlannerContext, spent: Usage) -> int:
    """Return how many leaves the next iteration may evaluate."""
    if context.rollouts is None:
        return context.parallel
    return max(1, min(context.parallel, context.rollouts - spent.rollouts))


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
