"""How a planner's run begins, goes on and forks.

The first event of a journal says what the run is: planner, task, settings. Asked for again with the
same settings it goes on by its journal, with others it is refused. A checkpoint of it that is
continued with a changed context becomes a new run, which takes over the journal up to that point
and names its parent: answers to another policy's questions never mix with the recorded ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from armap_agents.errors import ConfigurationError
from armap_agents.graphs.context import PlannerContext
from armap_agents.resources import current
from armap_agents.trace import SCHEMA_VERSION, Journal, new_run_id
from armap_agents.trajectory import Task

DRAWS = (
    "environment_options",
    "policy_model",
    "policy_style",
    "policy_thoughts",
    "temperature",
    "max_steps",
    "seed",
)
"""Fields of the context that independent rollouts depend on: planners with these alike share."""

_BEFORE = {"policy_thoughts": False}
"""What runs went by that were recorded before there was a setting for it."""


def settings_of(
    task: Task, context: PlannerContext, fields: Iterable[str] = (), **more: Any
) -> dict[str, Any]:
    """Return what a run's events depend on, as pure JSON."""
    values = context.model_dump(mode="json")
    return {
        "schema_version": SCHEMA_VERSION,
        "task": task.to_dict(),
        **{name: values[name] for name in (*DRAWS, *fields)},
        **more,
    }


async def open_journal(run: str) -> Journal:
    """Return the open journal of a run."""
    resources = current()
    return await resources.get(("journal", run), lambda: Journal.open(resources.runs, run))


async def open_run(
    planner: str, task: Task, context: PlannerContext, fields: Iterable[str] = (), **more: Any
) -> Journal:
    """Begin the run that the context names, or a new one, or go on with it.

    Args:
        planner: Name of the planner.
        task: Its task.
        context: Its context.
        fields: Fields of the context, beside `DRAWS`, that its events depend on.
        more: What else they depend on.

    Raises:
        ConfigurationError: The run was recorded with other settings.
    """
    context.policy()  # before anything is written: without an endpoint there is nothing to run
    asked = settings_of(task, context, fields, **more)
    journal = await open_journal(context.run or new_run_id())
    about = _about(planner, context, asked)
    event = journal.record("run", "run", **about, parent=None)
    differing = _differing(event["settings"], asked)
    if differing:
        raise ConfigurationError(
            f"run {journal.run} was recorded with another {', '.join(differing)}: use the same, "
            "or leave `run` out for a new run"
        )
    newest, changes = _newest_context(journal)
    if newest != about["context"]:
        journal.record(f"context/{changes}", "context", context=about["context"])
    return journal


def _newest_context(journal: Journal) -> tuple[dict[str, Any], int]:
    """Return the context that a run went on with last, and how often it has changed."""
    changes, event = 0, journal.find("run")
    while (changed := journal.find(f"context/{changes}")) is not None:
        changes, event = changes + 1, changed
    assert event is not None
    return event["context"], changes


async def follow(
    run: str,
    upto: str,
    following: str,
    planner: str,
    context: PlannerContext,
    settings: Mapping[str, Any],
    fixed: Iterable[str],
) -> Journal:
    """Return the journal that a run goes on in: its own, or a fork's where the settings changed.

    Another endpoint under the same model's name is no other setting, since servers move; but where
    what comes next is recorded already, it is asked for because the answers should be others.

    Args:
        run: The run of the state that is continued.
        upto: Id of the last event which that state knows of.
        following: Id of the event that ends what comes next.
        planner: Name of the planner.
        context: What it goes on with.
        settings: Of that context.
        fixed: Settings that a fork has to keep.

    Raises:
        ConfigurationError: One of `fixed` changed.
    """
    journal = await open_journal(run)
    recorded = journal.find("run")
    if recorded is None:
        raise ConfigurationError(
            f"run {run} has no journal in {current().runs}: set ARMAP_RUNS to where it was written"
        )
    differing = _differing(recorded["settings"], settings)
    about = _about(planner, context, settings)
    if not differing:
        endpoint = _newest_context(journal)[0]["policy_url"]
        if about["context"]["policy_url"] == endpoint or journal.find(following) is None:
            return journal
    kept = sorted(set(differing) & {"task", *fixed})
    if kept:
        raise ConfigurationError(
            f"a fork of run {run} has to keep its {', '.join(kept)}: start a new run to change that"
        )
    child = new_run_id()
    return await current().get(
        ("journal", child),
        lambda: journal.fork(child, upto, **about),
    )


def refuse_other(journal: Journal, settings: Mapping[str, Any], iteration: int) -> None:
    """Raise `ConfigurationError` where an iteration under way would go on with other settings."""
    recorded = journal.find("run")
    differing = _differing(recorded["settings"], settings) if recorded else []
    if differing:
        raise ConfigurationError(
            f"run {journal.run} stopped inside iteration {iteration}: go on with its own "
            f"{', '.join(differing)}, or fork from a checkpoint before `select`"
        )


def _about(planner: str, context: PlannerContext, settings: Mapping[str, Any]) -> dict[str, Any]:
    values = context.model_dump(mode="json", exclude={"run"})
    if "@" in urlsplit(context.policy_url or "").netloc:
        values["policy_url"] = None  # it carries a password
    return {"planner": planner, "settings": dict(settings), "context": values}


def _differing(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    known = {**_BEFORE, **recorded}
    return sorted(key for key in asked if known.get(key) != asked[key])
