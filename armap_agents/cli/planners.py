"""The planners by name, and the function that runs one for an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from armap_agents.errors import ConfigurationError
from armap_agents.evaluation.spec import RunSpec
from armap_agents.resources import resources
from armap_agents.trace import run_name
from armap_agents.trajectory import Task

if TYPE_CHECKING:  # langgraph takes seconds to import, which `armap --help` should not
    from langgraph.graph.state import CompiledStateGraph

    from armap_agents.graphs.context import PlannerContext

PLANNERS = ("greedy", "sampling", "best_of_n")

_INDEPENDENT_DRAWS = frozenset({"sampling", "best_of_n"})
"""Planners that draw the same rollouts from the same seed, and so may share one run."""


def planner_graph(name: str) -> CompiledStateGraph[Any, PlannerContext, Any, Any]:
    """Return the compiled graph of a planner.

    Raises:
        ConfigurationError: There is no planner of that name.
    """
    if name not in PLANNERS:
        raise ConfigurationError(f"no planner is called {name!r}: use {', '.join(PLANNERS)}")
    graph: CompiledStateGraph[Any, PlannerContext, Any, Any] = import_module(
        f"armap_agents.graphs.{name}"
    ).graph
    return graph


def planner_context(options: Mapping[str, Any]) -> PlannerContext:
    """Return the context of these options; None leaves an option to its default.

    Raises:
        ConfigurationError: An option is unknown or out of bounds; one line says which.
    """
    from armap_agents.graphs.context import PlannerContext

    try:
        return PlannerContext(**{key: value for key, value in options.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise ConfigurationError(f"{name}: {first['msg']}, not {first['input']!r}") from None


def reward_of(spec: RunSpec, seed: int) -> str | None:
    """Return the reward model of a seed: ``{seed}`` in its name stands for the seed."""
    return None if spec.reward is None else spec.reward.replace("{seed}", str(seed))


async def run_planner(spec: RunSpec, task: Task, seed: int, planner: str) -> dict[str, Any]:
    """Run a planner on one task: what an evaluation calls, here or on another machine.

    Sampling and Best-of-N share a run, so that they are judged on the very same candidates: the
    second finds the rollouts of the first in the journal.

    Returns:
        The graph's output, with ``seconds`` of the rollouts summed.
    """
    graph = planner_graph(planner)
    draws = "draws" if planner in _INDEPENDENT_DRAWS else planner
    context = planner_context(
        {
            "policy_url": spec.policy_url,
            "policy_model": spec.policy_model,
            "policy_api_key_env": spec.policy_api_key_env,
            "policy_style": spec.policy_style,
            "environment_options": spec.environment_options,
            "reward": reward_of(spec, seed),
            "objective": spec.objective,
            "n": spec.n,
            "temperature": spec.temperature,
            "seed": seed,
            "run": run_name(f"{draws}-{task.id}-s{seed}"),
            **spec.limits,
        }
    )
    async with resources():
        out = await graph.ainvoke({"task": task.to_dict()}, context=context)
    return {
        "trajectory": out["trajectory"],
        "score": out["score"],
        "candidates": out["candidates"],
        "usage": out["usage"],
        "run": out["run"],
        "seconds": out["usage"]["seconds"],
    }
