"""Best-of-N (ARMAP-B): n independent rollouts, scored in one batch, the best objective wins.

The n draws are independent samples at `temperature`; ties go to the earliest.
"""

from __future__ import annotations

from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from armap_agents.graphs import nodes
from armap_agents.graphs.context import PlannerContext, context_of
from armap_agents.graphs.nodes import (
    PlannerInput,
    PlannerState,
    answer,
    fan_out,
    open_reward,
    rollout,
    score,
)


async def begin(state: PlannerInput, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
    """Name the run, once the reward model is there: without one the rollouts were in vain."""
    await open_reward(context_of(runtime))
    return await nodes.begin(state, runtime, "best_of_n")


builder = StateGraph(PlannerState, context_schema=PlannerContext, input_schema=PlannerInput)
builder.add_node(begin)
builder.add_node(rollout)
builder.add_node(score)
builder.add_node(answer)
builder.add_edge(START, "begin")
builder.add_conditional_edges("begin", fan_out, ["rollout"])
builder.add_edge("rollout", "score")
builder.add_edge("score", "answer")
builder.add_edge("answer", END)

graph = builder.compile(name="best_of_n")
