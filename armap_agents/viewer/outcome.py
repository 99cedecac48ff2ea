"""What came of a run: its state, the answer, the best shown, the costs of what is shown.

A run that was answered can be resumed with a larger budget, and stop again before its next answer.
Then the tree, the costs and the best path are the newest, and a notice says that the answer is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armap_agents.viewer.paths import Paths
from armap_agents.viewer.recorded import ROOT, Frame, Node, Recorded
from armap_agents.viewer.steps import Observations, shown_steps
from armap_agents.viewer.text import one_line, presentable

_COUNTS = ("rollouts", "completions", "environment_steps", "scored")


def state_of(recorded: Recorded, frames: list[Frame], latest: Mapping[str, Node]) -> str:
    """Return ``finished``, ``failed`` (nothing but failures), ``unfinished`` or ``empty``."""
    if recorded.answer is not None:
        return "finished"
    if len(frames) <= 1:
        return "empty"
    failed = {name for name, node in latest.items() if node["status"] == "failed"}
    if ROOT in failed or (failed and not recorded.rollouts):
        return "failed"
    return "unfinished"


def answer_of(
    recorded: Recorded,
    frames: list[Frame],
    numbers: Mapping[str, int],
    observations: Observations,
    paths: Paths,
) -> dict[str, Any] | None:
    """Return the last recorded answer, None where there is none."""
    answer = recorded.answer
    if answer is None:
        return None
    trajectories = recorded.trajectories
    key = _answered(recorded)
    node = answer.get("node")
    if node is None and key is not None:
        node = key if recorded.is_search else f"{ROOT}.{key}"
    steps = (
        []
        if key is None
        else shown_steps(trajectories[key], observations, recorded.said.get(key, {}), 0)
    )
    end = paths.end(node, answer.get("trajectory"))
    return {
        "node": None if node is None else numbers.get(node),
        "end": None if end is None else numbers.get(end),
        "score": answer.get("score"),
        "objective": answer.get("objective"),
        "stopped": answer.get("stopped"),
        "steps": steps,
        "usage": answer.get("usage") or dict(frames[-1].spent),
        "went_on": _went_on(recorded, frames[-1].spent),
    }


def _answered(recorded: Recorded) -> str | None:
    """Return the key of the rollout that brought the answer."""
    wanted = (recorded.answer or {}).get("trajectory")
    node = (recorded.answer or {}).get("node")
    matching = [
        key for key, event in recorded.rollouts.items() if event["trajectory"]["id"] == wanted
    ]
    return node if node in matching else next(iter(matching), None)


def _went_on(recorded: Recorded, spent: Mapping[str, float]) -> bool:
    """Whether more was done than the answer knows of."""
    work = {"selection", "backup"} if recorded.is_search else {"rollout", "failure"}
    for event in reversed(recorded.events):
        if event["kind"] in work:
            return True
        if event is recorded.answer:
            break
    # The last answer may be that of a smaller budget, given when all of this was there already.
    usage = (recorded.answer or {}).get("usage") or {}
    return recorded.is_search and any(
        usage[name] < spent[name] for name in _COUNTS if name in usage and name in spent
    )


def add_outcome(document: dict[str, Any]) -> None:
    """Add to a document what follows from the rest: ``best`` and ``spent`` as shown, ``notice``."""
    answer, frames = document["answer"], document["frames"]
    newest = frames[-1] if frames else {"best": None, "spent": {}}
    current = answer is not None and not answer["went_on"]
    document["best"] = answer if current else (newest["best"] or answer)
    if document["best"] is not None:
        names = ("node", "end", "score", "objective")
        document["best"] = {name: document["best"][name] for name in names}
    # An answer may have cost something after the last iteration: a last rollout, a person's edit.
    document["spent"] = dict(newest["spent"]) | (answer["usage"] if current else {})
    document["notice"] = _notice(document)


def _notice(document: dict[str, Any]) -> str:
    answer = document["answer"]
    if answer is not None and answer["went_on"]:
        done, then = document["spent"].get("rollouts"), answer["usage"].get("rollouts")
        when = (
            f", which was given after {then:,} of {done:,} rollouts"
            if then and then != done
            else ""
        )
        return (
            f"The run goes on beyond its last recorded answer{when}. "
            "Tree, best path and costs are the newest."
        )
    if document["state"] == "failed":
        known = errors_of(document)
        last = next(reversed(known.values()), "nothing says why")
        return f"Every rollout failed: {one_line(presentable(known.get(0, last)), 300)}"
    return {
        "empty": "Nothing was tried yet: the run has just begun, or was stopped at once.",
        "unfinished": "No answer is recorded: the run is under way, or was stopped before it.",
    }.get(document["state"], "")


def errors_of(document: dict[str, Any]) -> dict[int, str]:
    """Return the newest error of each node that ever failed, by the node's number."""
    found = {
        number: detail["errors"][-1]
        for number, detail in enumerate(document["details"])
        if detail.get("errors")
    }
    for frame in document["frames"]:
        for item in frame["evaluations"]:
            if item["error"] and item["node"] is not None:
                found[item["node"]] = item["error"]  # a proposal that failed has no other record
    return {number: str(error) for number, error in found.items() if error}
