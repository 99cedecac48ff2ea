"""Best-of-N (ARMAP-B): n independent rollouts, scored in one batch, the best objective wins.

The n draws are independent samples at `temperature`; ties go to the earliest.
"""

from __future__ import annotations

from langgraph.graph import END, START, StateGraph

from armap_agents.graphs.context import PlannerContext
from armap_agents.graphs.nodes import (
    PlannerInput,
    PlannerState,
    answer,
    begin,
    fan_out,
    rollout,
    score,
)

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
