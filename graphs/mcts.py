"""Monte-Carlo tree search (ARMAP-M): W leaves at once, the reward model judges, the best wins.

A leaf is worth λ·V(prefix) + (1 − λ)·rollout, where the rollout is the policy's own, greedy, to the
end of the episode; λ = 0 under the `armap` rule is the paper's search. With λ = 1 nothing is rolled
out, a leaf costs no completion, and all proposals of an expanded node are evaluated at once: judged
by the first of them alone, a node whose own value has left the backup would look as bad as that.
Rules and arithmetic are in `armap_agents.search`, the graph's nodes in
`armap_agents.graphs.tree_search`.
"""

from __future__ import annotations

from armap_agents import search
from armap_agents.graphs.budget import require_budget
from armap_agents.graphs.context import PlannerContext
from armap_agents.graphs.tree_search import TreeSearch
from armap_agents.search import Pick, Rule, Tree


def _rule(context: PlannerContext) -> Rule:
    rule = search.RULES[context.selection]
    return rule() if context.exploration is None else rule(context.exploration)


def _pick(tree: Tree, context: PlannerContext, width: int) -> list[Pick]:
    return search.select(tree, _rule(context), width, context.normalisation)


def _below(tree: Tree, context: PlannerContext, node: str, share: int) -> list[str]:
    if context.value_weight == 1:
        return search.children(tree, node)
    picks = search.select(tree, _rule(context), share, context.normalisation, start=node)
    return [pick.leaf for pick in picks]


def _context(context: PlannerContext) -> PlannerContext:
    require_budget(context, "a search")
    return context


builder = TreeSearch(
    planner="mcts",
    fields=(
        "objective",
        "proposals",
        "parallel",
        "selection",
        "exploration",
        "normalisation",
        "backup",
    ),
    fixed=("objective", "selection", "backup"),
    pick=_pick,
    below=_below,
    context=_context,
).builder()

graph = builder.compile(name="mcts")
