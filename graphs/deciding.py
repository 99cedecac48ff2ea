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

HOPELESS = 24
"""Evaluations in a row that failed, in three iterations or more, and end a search: while some calls
fail by accident so many never do, and where the endpoint is down more would only take longer."""

STALE = 100
"""Iterations in a row that only looked at finished episodes again; they end a search that has no
budget of rollouts, since what they cost would never spend another one."""

NOTHING_LEFT = "nothing is left to evaluate"
EVERYTHING_FAILS = f"everything fails: the newest {HOPELESS} evaluations or more did"

Left = dict[str, int | None]
"""What the budgets have left: `rollouts`, `completions`; None bounds nothing."""


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

    A replay ends where its original did, whatever budgets and persons said there.

    Args:
        context: Its budgets and threshold.
        granted: Rollouts in all that a person asked for, which lifts every budget.
        tree: The tree.
        spent: Costs so far.
        best: The best finished trajectory so far.
        journal: The run's.
        iteration: Number of iterations that are done.
    """
    if (told := journal.find("told")) is not None:
        return None if iteration < len(told["left"]) else told["stopped"]
    enough = inf if context.stop_objective is None else context.stop_objective
    if granted is not None:
        if spent.rollouts >= granted:
            return f"{granted} rollouts spent, as asked for"
    elif budget := spent_budget(context, spent):
        return f"{budget.replace('_', ' ')} spent"
    elif best and best["objective"] >= enough:
        return f"objective {best['objective']:.3f} ≥ {enough:g}"
    if _all_newest(journal, iteration, 3, HOPELESS, lambda e: e["status"] == Status.FAILED):
        return EVERYTHING_FAILS
    if tree[ROOT]["closed"]:
        return NOTHING_LEFT
    if context.rollouts is None and _all_newest(journal, iteration, STALE, 0, _seen_before):
        return f"nothing new in {STALE} iterations"
    return None


def _all_newest(
    journal: Journal,
    iteration: int,
    iterations: int,
    evaluations: int,
    holds: Callable[[dict[str, Any]], bool],
) -> bool:
    """Whether something holds for the newest evaluations: so many, in so many iterations.

    None are newer than a resumption after everything failed.
    """
    newest: list[list[dict[str, Any]]] = []
    for k in range(iteration - 1, -1, -1):
        event = journal.find(f"backup/{k}")
        if event is None or event.get("reopened") == EVERYTHING_FAILS:
            return False
        if "reopened" in event:
            continue
        if not all(map(holds, event["evaluations"])):
            return False
        newest.append(event["evaluations"])
        if len(newest) >= iterations and sum(map(len, newest)) >= evaluations:
            return True
    return False


def _seen_before(evaluation: dict[str, Any]) -> bool:
    return evaluation["status"] in FINISHED and evaluation["objective"] is None


def only_failed_left(tree: Tree, stopped: str | None) -> bool:
    """Return whether a search stops because all that it could still evaluate has failed once.

    It goes on with these then. Without proposals at the root, which have been asked for several
    times by then, it does not.
    """
    return stopped == NOTHING_LEFT and tree[ROOT]["status"] != Status.FAILED and _failed(tree)


def tries_again(tree: Tree, stopped: str | None, journal: Journal, iteration: int) -> bool:
    """Return whether the next iteration is to open failed nodes again, instead of selecting.

    A search that failures have ended gets here when it is resumed: the endpoint may be well now.
    """
    if (told := journal.find("told")) is not None:
        return iteration < len(told["left"]) and told["left"][iteration] is None
    return stopped in (NOTHING_LEFT, EVERYTHING_FAILS) and _failed(tree)


def _failed(tree: Tree) -> bool:
    return any(node["status"] == Status.FAILED for node in tree.values())


def budgets_left(
    context: PlannerContext, granted: int | None, spent: Usage, journal: Journal, iteration: int
) -> Left | None:
    """Return what an iteration may use: leaves (at least 1) and completions; see `why_stopped`.

    Of a replay this is what was left in its original, None where that selected nothing.
    """
    if (told := journal.find("told")) is not None:
        left: list[Left | None] = told["left"]
        return left[iteration] if iteration < len(left) else None
    rollouts, completions = context.rollouts, context.completions
    if granted is not None:
        rollouts, completions = granted, None
    return {
        "rollouts": None if rollouts is None else max(1, rollouts - spent.rollouts),
        "completions": None if completions is None else completions - spent.completions,
    }


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
        costs = {node: cost_of(prefix_of(journal, task, node), context) for node in bare}
        dear = [node for node in bare if costs[node] > left]
        if not dear:
            while sum(costs[node] for node in bare & {pick.leaf for pick in picks}) > left:
                picks = picks[:-1]
            return picks, None
        for node in dear:
            tree, passed_over = close(tree, node), True
    return [], "completions spent" if passed_over else NOTHING_LEFT
