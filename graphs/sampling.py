"""Sampling: n independent rollouts without a reward model; the answer is the first of them.

The baseline of every planner: its score is the mean over the candidates, of which the first is one
unbiased draw. With the same run name, Best-of-N chooses among the very same candidates.
"""

from __future__ import annotations

from langgraph.graph import END, START, StateGraph

from armap_agents.graphs.context import PlannerContext
from armap_agents.graphs.nodes import PlannerInput, PlannerState, answer, begin, fan_out, rollout

builder = StateGraph(PlannerState, context_schema=PlannerContext, input_schema=PlannerInput)
builder.add_node(begin)
builder.add_node(rollout)
builder.add_node(answer)
builder.add_edge(START, "begin")
builder.add_conditional_edges("begin", fan_out, ["rollout"])
builder.add_edge("rollout", "answer")
builder.add_edge("answer", END)

graph = builder.compile(name="sampling")
