"""The planners by name, their variants, and the function that runs one for an evaluation.

A variant is a planner with options of its own, written ``name[key=value;key=value]``: values that
are JSON are taken as JSON, others as text. That label is all there is to it: it is parsed where a
planner is run, and stands in every result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any

from armap_agents.cli.options import parse_pairs
from armap_agents.errors import ConfigurationError
from armap_agents.evaluation.spec import RunSpec, planner_of
from armap_agents.graphs import PLANNERS
from armap_agents.resources import resources
from armap_agents.trace import run_name
from armap_agents.trajectory import Task, content_hash

if TYPE_CHECKING:  # langgraph takes seconds to import, which `armap --help` should not
    from langgraph.graph.state import CompiledStateGraph

    from armap_agents.graphs.context import PlannerContext

_WITHOUT_REWARD = frozenset({"greedy", "sampling"})

_JUDGED = ("temperature", "reward", "objective")
_SEARCHING = (*_JUDGED, "completions", "tokens", "environment_steps", "seconds", "stop_objective")

READ_BY: dict[str, tuple[str, ...]] = {
    "greedy": (),
    "sampling": ("n", "temperature"),
    "best_of_n": ("n", *_JUDGED),
    "reflexion": ("rollouts", *_SEARCHING, "reflections", "stop_probability"),
    "beam": ("width", "proposals", *_SEARCHING),
    "mcts": (
        "rollouts",
        "parallel",
        "proposals",
        "selection",
        "exploration",
        "value_weight",
        "backup",
        "normalisation",
        *_SEARCHING,
    ),
}
"""Options of the context that a planner reads, beside those that every planner reads: of the
policy, the environment, a rollout's limits, seed and run."""

_INDEPENDENT_DRAWS = frozenset({"sampling", "best_of_n"})
"""Planners that draw the same rollouts from the same seed, and so may share one run."""

_OF_THE_EVALUATION = frozenset(
    {
        "policy_url",
        "policy_model",
        "policy_api_key_env",
        "policy_style",
        "environment_options",
        "reward",
        "seed",
        "run",
        "review",
    }
)
"""Options that all planners of an evaluation share, or that make no sense in one."""


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
    """Return the context of these options; a None is meant, and lifts a budget with a default.

    Raises:
        ConfigurationError: An option is unknown or out of bounds; one line says which.
    """
    from armap_agents.graphs.checking import checked_context

    return checked_context(options)


def refuse_unread(planner: str, options: Mapping[str, Any]) -> None:
    """Raise `ConfigurationError` where an option is another planner's and would do nothing here.

    A None is let pass: it says that the planner is to have no such option.
    """
    read = READ_BY[planner]
    others = frozenset().union(*READ_BY.values()).difference(read)
    unread = [key for key, value in options.items() if key in others and value is not None]
    if unread:
        own = f"use {', '.join(read)}" if read else "it has no options of its own"
        raise ConfigurationError(f"{planner} does not read {', '.join(unread)}: {own}")


def parse_planners(text: str) -> list[str]:
    """Return the labels in a list that is separated by commas outside of brackets."""
    return [label.strip() for label in re.split(r",(?![^\[]*\])", text)]


def parse_variant(label: str) -> tuple[str, dict[str, Any]]:
    """Return the planner and the options that a label such as ``mcts[value_weight=0]`` names.

    Raises:
        ConfigurationError: It is not of that form, or names an option twice or one that is the
            evaluation's.
    """
    parts = re.fullmatch(r"([^\[\]]*)(?:\[(.+)\])?", label)
    if parts is None:
        raise ConfigurationError(
            f"planner {label!r}: write a name, or name[option=value;option=value]"
        )
    name, inside = parts.groups()
    pairs = [pair.strip() for pair in inside.split(";")] if inside else []
    options = parse_pairs(pairs)
    if len(options) < len(pairs):
        raise ConfigurationError(f"planner {label!r} names an option twice")
    shared = sorted(options.keys() & _OF_THE_EVALUATION)
    if shared:
        raise ConfigurationError(
            f"planner {label!r}: {shared[0]} is not for one planner alone; leave it out"
        )
    return name, options


def needs_reward(label: str) -> bool:
    """Whether the planner asks a reward model."""
    return planner_of(label) not in _WITHOUT_REWARD


def reward_of(spec: RunSpec, seed: int) -> str | None:
    """Return the reward model of a seed: ``{seed}`` in its name stands for the seed."""
    return None if spec.reward is None else spec.reward.replace("{seed}", str(seed))


def variant_context(spec: RunSpec, label: str, seed: int) -> PlannerContext:
    """Return the context of one planner of an evaluation, without a run.

    Raises:
        ConfigurationError: The label is malformed, or an option is unknown or out of bounds.
    """
    shared = {
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
        **spec.limits,
    }
    _, own = parse_variant(label)
    try:
        given = {key: value for key, value in shared.items() if value is not None}
        return planner_context(given | own)
    except ConfigurationError as error:
        raise ConfigurationError(f"planner {label!r}: {error}") from None


def variant_run(label: str, task: str, context: PlannerContext) -> str:
    """Return the run's name: equal for planners that draw the very same rollouts."""
    from armap_agents.graphs.runs import DRAWS

    name, own = parse_variant(label)
    if name in _INDEPENDENT_DRAWS:
        name = "draws"
        own = {key: value for key, value in own.items() if key in DRAWS}
    options = context.model_dump(mode="json", include=set(own))
    definition = f"-{content_hash(options)[:12]}" if options else ""
    return run_name(f"{name}-{task}-s{context.seed}{definition}")


async def run_planner(spec: RunSpec, task: Task, seed: int, label: str) -> dict[str, Any]:
    """Run a planner on one task: what an evaluation calls, here or on another machine.

    Sampling and Best-of-N share a run, so that they are judged on the very same candidates: the
    second finds the rollouts of the first in the journal.

    Returns:
        The graph's output, with ``seconds`` from start to answer. Where independent rollouts were
        found in the journal, that is the time of the longest: they ran side by side.
    """
    graph = planner_graph(planner_of(label))
    context = variant_context(spec, label, seed)
    context = context.model_copy(update={"run": variant_run(label, task.id, context)})
    started = perf_counter()
    async with resources():
        out = await graph.ainvoke({"task": task.to_dict()}, context=context)
    passed = perf_counter() - started
    drawn = (candidate.get("usage", {}).get("seconds", 0.0) for candidate in out["candidates"])
    return {
        "trajectory": out["trajectory"],
        "score": out["score"],
        "candidates": out["candidates"],
        "usage": out["usage"],
        "run": out["run"],
        "seconds": max(passed, *drawn),
    }
