"""Running a recorded run again from its answers, without its policy.

A new run gets the recorded answers of policy and reward model under their ids; everything else,
selections, environment steps, backups, is done again. The same code on the same answers makes the
same decisions, so a replay shows whether a search is what its trace says, on another machine too.
"""

from __future__ import annotations

from typing import Any

from armap_agents.errors import ConfigurationError
from armap_agents.graphs.context import PlannerContext
from armap_agents.graphs.runs import open_journal
from armap_agents.policy import PolicyFailure
from armap_agents.resources import current
from armap_agents.trace import new_run_id
from armap_agents.usage import Usage

ANSWERS = frozenset({"policy", "proposals", "reflection", "score", "value", "clock"})
"""Kinds of events that a replay takes over: what it is told, by whoever is not there any more."""


class RecordedOnly:
    """Stands in for the policy of a replay: whatever it is asked for was not recorded.

    Args:
        run: The run that is replayed.
    """

    def __init__(self, run: str) -> None:
        self._run = run

    async def check(self) -> None:
        """Nothing has to be there."""

    async def _missing(self, *_: Any, **__: Any) -> Any:
        raise PolicyFailure(f"run {self._run} has no recorded answer for this", Usage(failures=1))

    act = propose = write = _missing


async def begin_replay(run: str, context: PlannerContext) -> PlannerContext:
    """Prepare a new run with the recorded answers of `run`; return the context to run it with.

    Raises:
        ConfigurationError: There is no such run.
    """
    source = await open_journal(run)
    recorded = source.find("run")
    if recorded is None:
        raise ConfigurationError(f"run {run} has nothing to replay")
    context = context.model_copy(update={"run": new_run_id(), "policy_retries": 0})
    assert context.run is not None
    journal = await source.take_over(context.run, ANSWERS)
    resources = current()
    await resources.get(("journal", context.run), lambda: _itself(journal))
    await resources.get(("policy", context.policy()), lambda: _itself(RecordedOnly(run)))
    return context


async def _itself(thing: Any) -> Any:
    return thing


async def same_outcome(run: str, replayed: str) -> str:
    """Say how a replay compares with its original.

    Raises:
        ConfigurationError: It came out differently.
    """
    was, now = await open_journal(run), await open_journal(replayed)
    kinds = ("backup", "answer")
    before = {e["id"]: _essence(e) for e in was.events() if e["kind"] in kinds}
    after = {e["id"]: _essence(e) for e in now.events() if e["kind"] in kinds}
    differing = [key for key in before if after.get(key) != before[key]]
    if differing:
        raise ConfigurationError(
            f"run {run} came out differently when replayed as {replayed}, first at {differing[0]}: "
            "the code, the environment or the reward model has changed since"
        )
    return f"replayed as {replayed}: every decision is the recorded one"


def _essence(event: dict[str, Any]) -> dict[str, Any]:
    """Return what a replay has to reproduce: not times, and not the words of an error."""
    kept = {k: v for k, v in event.items() if k not in ("time", "spent", "usage")}
    if "evaluations" in kept:
        kept["evaluations"] = [{**e, "error": bool(e["error"])} for e in kept["evaluations"]]
    return kept
