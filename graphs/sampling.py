"""Sampling: n independent rollouts without a reward model; the answer is the first of them.

The baseline of every planner: its score is the mean over the candidates, of which the first is one
unbiased draw. With the same run name, Best-of-N chooses among the very same candidates.
"""

from __future__ import annotations

from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from armap_agents.graphs import nodes
from armap_agents.graphs.context import PlannerContext
from armap_agents.graphs.nodes import PlannerInput, PlannerState, answer, fan_out, rollout


async def begin(state: PlannerInput, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
    """Name the run."""
    return await nodes.begin(state, runtime, "sampling")


builder = StateGraph(PlannerState, context_schema=PlannerContext, input_schema=PlannerInput)
builder.add_node(begin)
builder.add_node(rollout)
builder.add_node(answer)
builder.add_edge(START, "begin")
builder.add_conditional_edges("begin", fan_out, ["rollout"])
builder.add_edge("rollout", "answer")
builder.add_edge("answer", END)

graph = builder.compile(name="sampling")
