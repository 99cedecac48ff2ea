"""Greedy: one rollout at temperature 0, the policy alone."""

from __future__ import annotations

from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from armap_agents.graphs import nodes
from armap_agents.graphs.context import PlannerContext, context_of
from armap_agents.graphs.nodes import PlannerInput, PlannerState


def _greedy(runtime: Runtime[PlannerContext]) -> Runtime[PlannerContext]:
    context = context_of(runtime).model_copy(update={"n": 1, "temperature": 0.0})
    return runtime.override(context=context)


async def begin(state: PlannerInput, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
    """Name the run; n and temperature of the context do not apply."""
    return await nodes.begin(state, _greedy(runtime), "greedy")


async def rollout(state: PlannerState, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
    """Roll the one episode out at temperature 0."""
    job: nodes.RolloutJob = {"job": {"index": 0, "run": state["run"], "task": state["task"]}}
    return await nodes.rollout(job, _greedy(runtime))


builder = StateGraph(PlannerState, context_schema=PlannerContext, input_schema=PlannerInput)
builder.add_node(begin)
builder.add_node(rollout)
builder.add_node(nodes.answer)
builder.add_edge(START, "begin")
builder.add_edge("begin", "rollout")
builder.add_edge("rollout", "answer")
builder.add_edge("answer", END)

graph = builder.compile(name="greedy")
