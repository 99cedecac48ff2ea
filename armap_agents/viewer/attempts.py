"""How planners without a tree went on: every rollout is an iteration and a child of the root.

Scores arrive in one batch at the end of such a run; the replay shows each beside its rollout.
"""

from __future__ import annotations

from typing import Any

from armap_agents.viewer.recorded import ROOT, Event, Frame, Node, Recorded, add_costs


def attempt_frames(recorded: Recorded) -> list[Frame]:
    """Return the frames of a run of whole rollouts; the first is the task alone."""
    root: Node = {"parent": None, "action": "", "prior": None, "depth": 0, "status": "open"}
    frames = [Frame(0, recorded.begun, {ROOT: root})]
    spent: dict[str, float] = {}
    best: dict[str, Any] | None = None
    for event in recorded.events:
        if event["kind"] not in {"rollout", "failure", "reflection"}:
            continue
        spent = add_costs(spent, event["usage"])
        if not _counts(event, recorded):
            continue
        found = _evaluation(event, recorded)
        if found["result"] is not None and (best is None or found["result"] > best["result"]):
            best = found
        count = len(frames)
        root = {**root, "n": count, "m": count, "q": best and best["result"]}
        nodes = {ROOT: root, found["node"]: _attempt(event, found["result"])}
        spent["rollouts"] = count
        frames.append(Frame(count, event["time"], nodes, [], [found], best, dict(spent)))
    return frames


def _counts(event: Event, recorded: Recorded) -> bool:
    """Whether an event is an attempt's last word: a failed rollout may have been tried again."""
    key = event["id"].split("/")[1]
    if event["kind"] == "failure":
        return key not in recorded.rollouts and event is recorded.failures[key][-1]
    return bool(event["kind"] == "rollout")


def _attempt(event: Event, result: float | None) -> Node:
    return {
        "parent": ROOT,
        "action": f"rollout {event['id'].split('/')[1]}",
        "prior": None,
        "depth": 1,
        "status": event["trajectory"]["status"],
        "n": 1,
        "q": result,
        "result": result,
        "visits": 1,
        "closed": True,
    }


def _evaluation(event: Event, recorded: Recorded) -> dict[str, Any]:
    key, trajectory = event["id"].split("/")[1], event["trajectory"]
    attempt = recorded.attempts.get(key, {})
    score = attempt.get("score", recorded.scores.get(trajectory["id"]))
    objective = attempt.get("objective")
    return {
        "node": f"{ROOT}.{key}",
        "score": score,
        "objective": objective,
        "value": None,
        "result": score if objective is None else objective,
        "error": trajectory.get("error"),
    }


def reflections(recorded: Recorded) -> dict[str, list[str]]:
    """Return what was reflected after each rollout, by the rollout's key."""
    found: dict[str, list[str]] = {}
    for event in recorded.events:
        if event["kind"] == "reflection" and event["text"]:
            found.setdefault(event["id"].split("/")[1], []).append(event["text"])
    return found
