"""What an iteration leaves behind: evaluations with their rewards, changed nodes, the best so far.

The backup event of an iteration holds all that it did to the tree, so that a run which goes on
applies the recorded ones and works from there.
"""

from __future__ import annotations

from typing import Any

from armap_agents import search
from armap_agents.graphs.rollout import Emit, record
from armap_agents.graphs.tree_state import SearchState
from armap_agents.search import Tree
from armap_agents.trace import Journal
from armap_agents.trajectory import Status
from armap_agents.usage import Usage


def record_backup(
    journal: Journal,
    emit: Emit,
    iteration: int,
    evaluations: list[dict[str, Any]],
    nodes: dict[str, search.Node],
    best: dict[str, Any] | None,
    spent: Usage,
    **more: Any,
) -> dict[str, Any]:
    """Record an iteration: what it evaluated, and every node that is not as it was."""
    return record(
        journal,
        emit,
        f"backup/{iteration}",
        "backup",
        iteration=iteration,
        evaluations=evaluations,
        nodes=nodes,
        best=best,
        spent=spent.to_dict(),
        **more,
    )


def evaluated(state: SearchState, outcome: dict[str, Any]) -> dict[str, Any]:
    """Return an outcome with what the reward model said of it."""
    node = state["tree"][outcome["node"]]
    reward = state["rewards"].get(outcome["node"])
    if reward is None:  # it failed, or was evaluated before
        again = outcome["status"] != Status.FAILED
        reward = {
            "score": None,
            "objective": None,
            "value": node["value"] if again else None,
            "result": node["result"] if again else None,
        }
    keys = ("node", "trajectory", "status", "error")
    return {key: outcome.get(key) for key in keys} | reward


def better(best: dict[str, Any] | None, evaluations: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the finished trajectory with the best objective, the earliest on ties."""
    for found in evaluations:
        if found["objective"] is None:
            continue
        if best is None or found["objective"] > best["objective"]:
            best = {key: found[key] for key in ("node", "trajectory", "score", "objective")}
    return best


def grown(state: SearchState, tree: Tree) -> dict[str, search.Node]:
    """Return what `expand` changed in this iteration, as it is now."""
    touched = set[str]()
    for node in state["selected"]:
        touched.update(search.children(tree, node))
        at: str | None = node
        while at is not None:
            touched.add(at)
            at = tree[at]["parent"]
    return {node: tree[node] for node in touched}
