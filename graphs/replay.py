"""Running a recorded run again from its answers, without its policy.

A new run gets the recorded answers of policy and reward model under their ids; everything else,
selections, environment steps, backups, is done again. The same code on the same answers makes the
same decisions, so a replay shows whether a search is what its trace says, on another machine too.
What no answer tells, what budgets had left (a run may be resumed with more) and where a person
stopped it, it is `told`. A fork is replayed from where it parted from its parent.
"""

from __future__ import annotations

from typing import Any

from armap_agents.errors import ConfigurationError
from armap_agents.graphs.closing import EDITED
from armap_agents.graphs.context import PlannerContext
from armap_agents.graphs.runs import open_journal
from armap_agents.policy import PolicyFailure
from armap_agents.resources import current
from armap_agents.trace import Journal, new_run_id
from armap_agents.trajectory import Status
from armap_agents.usage import Usage

ANSWERS = frozenset({"policy", "proposals", "reflection", "score", "value"})
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
    changes = {"run": new_run_id(), "policy_retries": 0, "review": False}
    context = context.model_copy(update=changes)
    assert context.run is not None
    journal = await source.take_over(context.run, ANSWERS)
    journal.record("told", "told", **_told(source))
    resources = current()
    await resources.get(("journal", context.run), lambda: _itself(journal))
    await resources.get(("policy", context.policy()), lambda: _itself(RecordedOnly(run)))
    return context


def _told(source: Journal) -> dict[str, Any]:
    """Return what budgets, persons and accidents decided in a run.

    Of a search by iteration: what its budgets had `left`, None where it opened failed nodes again
    instead of selecting, and its `failures`. Of Reflexion what was `done`: attempts and notes.
    """
    answer = _answer(source)
    stopped = answer.get("stopped") if answer else "the recorded run was stopped here"
    left: list[dict[str, Any] | None] = []
    failures = []
    while (backup := source.find(f"backup/{len(left)}")) is not None:
        selection = source.find(f"select/{len(left)}")
        left.append(selection and selection["left"])
        failed = (e for e in backup["evaluations"] if e["status"] == Status.FAILED)
        keys = ("node", "trajectory", "status", "error")
        failures.append([{key: evaluation[key] for key in keys} for evaluation in failed])
    done = [
        sum(event["kind"] == kind for event in source.events())
        for kind in ("attempt", "reflection")
    ]
    done = (answer or {}).get("done", done)
    return {"stopped": stopped, "left": left, "failures": failures, "done": done}


async def _itself(thing: Any) -> Any:
    return thing


async def same_outcome(run: str, replayed: str) -> str:
    """Say how a replay compares with its original.

    Raises:
        ConfigurationError: It came out differently.
    """
    was, now = await open_journal(run), await open_journal(replayed)
    before, after = _decisions(was), _decisions(now)
    differing = [key for key in before if after.get(key) != before[key]]
    if differing:
        raise ConfigurationError(
            f"run {run} came out differently when replayed as {replayed}, first at {differing[0]}: "
            "the code, the environment or the reward model has changed since"
        )
    return f"replayed as {replayed}: every decision is the recorded one"


def _decisions(journal: Journal) -> dict[str, Any]:
    """Return what a run decided: its backups and its answer, unless a person edited that."""
    decisions = [event for event in journal.events() if event["kind"] == "backup"]
    answer = _answer(journal)
    if answer is not None and not (answer.get("stopped") or "").endswith(EDITED):
        decisions.append(answer)
    return {event["id"]: _essence(event) for event in decisions}


def _answer(journal: Journal) -> dict[str, Any] | None:
    """Return the answer that a run ended with; one that it went on after is none."""
    kinds = ("answer", "backup", "attempt", "reflection")
    newest = next((e for e in reversed(journal.events()) if e["kind"] in kinds), None)
    return newest if newest is not None and newest["kind"] == "answer" else None


def _essence(event: dict[str, Any]) -> dict[str, Any]:
    """Return what a replay has to reproduce: not times, and not the words of an error."""
    kept = {k: v for k, v in event.items() if k not in ("time", "spent", "usage", "reopened")}
    if "evaluations" in kept:
        kept["evaluations"] = [{**e, "error": bool(e["error"])} for e in kept["evaluations"]]
    return kept
