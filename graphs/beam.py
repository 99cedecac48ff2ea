"""Step-level beam search on prefix values: after each step the `width` best states are kept.

Nothing is rolled out: an open state is worth the reward model's prefix value V, a finished episode
its objective. The answer is the finished trajectory with the best objective; a prefix value never
chooses it. The graph and its nodes are those of `armap_agents.graphs.tree_search`.
"""

from __future__ import annotations

from armap_agents.graphs.context import PlannerContext
from armap_agents.graphs.tree_search import TreeSearch
from armap_agents.search import ROOT, Pick, Tree, children
from armap_agents.search.tree import PROPOSED
from armap_agents.trajectory import Status


def _pick(tree: Tree, context: PlannerContext, width: int) -> list[Pick]:
    """Return the states to go on from: the best of the deepest level that have no proposals yet.

    All proposals are evaluated at once, so one that is left is to be tried again, before all else.
    """
    again = [at for at, node in tree.items() if node["status"] == PROPOSED and not node["closed"]]
    if again:
        return [Pick(at, ()) for at in again]
    deepest = max((node["depth"] for node in tree.values() if node["visits"]), default=0)
    level = [
        (-1.0 if node["value"] is None else node["value"], at)
        for at, node in tree.items()
        if node["depth"] == deepest and (node["visits"] or at == ROOT)
    ]
    open_ = [
        (value, at)
        for value, at in level
        if tree[at]["status"] == Status.OPEN and not tree[at]["closed"] and not tree[at]["children"]
    ]
    kept = sorted(open_, key=lambda item: -item[0])[: context.width]
    return [Pick(at, ()) for _, at in kept]


def _below(tree: Tree, context: PlannerContext, node: str, share: int) -> list[str]:
    return children(tree, node)


def _context(context: PlannerContext) -> PlannerContext:
    """λ is 1, and a beam ends by itself: the number of leaves is no budget."""
    return context.model_copy(update={"value_weight": 1.0, "rollouts": None, "backup": "max"})


builder = TreeSearch(
    planner="beam",
    fields=("objective", "proposals", "width"),
    fixed=("objective",),
    pick=_pick,
    below=_below,
    context=_context,
).builder()

graph = builder.compile(name="beam")
