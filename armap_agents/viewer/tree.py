"""How a tree search went on: one frame an iteration, read from its backup events.

A run that was killed gets one more frame with what its last iteration had recorded: proposals and
rollouts that no backup has counted yet.
"""

from __future__ import annotations

from typing import Any

from armap_agents.viewer.recorded import ROOT, Event, Frame, Node, Recorded, add_costs

_WORK = frozenset(
    ("selection", "proposals", "policy", "step", "rollout", "failure", "score", "value")
)

_PAUSE = 3.0
"""Seconds without a word after which a search is taken to have stood still."""


def search_frames(recorded: Recorded) -> list[Frame]:
    """Return the frames of a tree search; the first is the root alone."""
    frames = [Frame(0, recorded.begun, {ROOT: _node(None, "", 1.0, 0, "open")})]
    known: dict[str, Node] = dict(frames[0].nodes)
    since: list[Event] = []
    for event in recorded.events:
        if event["kind"] == "backup":
            frames.append(_frame(event, since, known))
            known |= frames[-1].nodes
            since = []
        else:
            since.append(event)
    interrupted = _interrupted(recorded, since, known, frames[-1])
    if interrupted.nodes or interrupted.picks:
        frames.append(interrupted)
    return frames


def _frame(event: Event, since: list[Event], known: dict[str, Node]) -> Frame:
    opened = [
        name
        for name, node in event["nodes"].items()
        if node["status"] != "failed" and name in known and known[name]["status"] == "failed"
    ]
    return Frame(
        event["iteration"],
        event["time"],
        event["nodes"],
        _picks(since),
        event["evaluations"],
        event["best"],
        event["spent"],
        reopened=0 if event["evaluations"] else len(opened),
    )


def _picks(events: list[Event]) -> list[dict[str, Any]]:
    return [pick for event in events if event["kind"] == "selection" for pick in event["picks"]]


def _interrupted(
    recorded: Recorded, since: list[Event], known: dict[str, Node], last: Frame
) -> Frame:
    nodes: dict[str, Node] = {}
    spent = last.spent
    for event in since:
        if event["kind"] not in {"proposals", "rollout", "failure"}:
            continue
        spent = add_costs(spent, event.get("usage"))
        if event["kind"] == "proposals":
            nodes |= _children(event, known)
        else:
            node = event["id"].split("/")[1]
            before = nodes.get(node) or known.get(node)
            if before is not None:
                nodes[node] = {**before, "status": _status(event["trajectory"], before["depth"])}
    if nodes:
        begun = max(last.time, recorded.run["time"] if recorded.run else recorded.begun)
        took = last.spent.get("seconds", 0.0) + _elapsed(since, begun)
        spent = {**spent, "seconds": round(took, 3)}
    time = max([last.time, *(event["time"] for event in since)])
    return Frame(last.iteration + 1, time, nodes, _picks(since), [], last.best, spent, whole=False)


def _elapsed(events: list[Event], begun: float) -> float:
    """Return the seconds in which the work of an iteration that began at `begun` was done.

    An event is written when what it tells of is over, so each stands for the span before it; side
    by side, spans overlap. The time between a kill and a resume is nobody's work, nor are events
    older than the run, which a replay took over.
    """
    spans = sorted(
        # Proposals asked for side by side add up their seconds, and may seem to begin too early.
        (max(begun, event["time"] - (event.get("usage") or {}).get("seconds", 0.0)), event["time"])
        for event in events
        if event["kind"] in _WORK and event["time"] >= begun
    )
    took, upto = 0.0, spans[0][0] if spans else 0.0
    for start, end in spans:
        if start - upto > _PAUSE:
            upto = start
        took += max(0.0, end - upto)
        upto = max(upto, end)
    return took


def _children(event: Event, known: dict[str, Node]) -> dict[str, Node]:
    parent = event["node"]
    depth = known[parent]["depth"] + 1 if parent in known else parent.count(".") + 1
    return {
        f"{parent}.{k}": _node(parent, action, prior, depth, "proposed")
        for k, (action, prior, _) in enumerate(merged(event["items"]))
    }


def _node(parent: str | None, action: str, prior: float, depth: int, status: str) -> Node:
    return {"parent": parent, "action": action, "prior": prior, "depth": depth, "status": status}


def _status(trajectory: dict[str, Any], depth: int) -> str:
    """Status of the node that a rollout began at: where the rollout went on, it was open."""
    status: str = trajectory["status"]
    return status if status == "failed" or len(trajectory["steps"]) <= depth else "open"


def merged(items: list[dict[str, Any]]) -> list[tuple[str, float, int]]:
    """Return proposals as (action, prior, times proposed), equal actions once, as `expand` does."""
    found: dict[str, tuple[float, int]] = {}
    for item in items:
        prior, times = found.get(item["action"], (0.0, 0))
        found[item["action"]] = (prior + item["prior"], times + 1)
    return [(action, prior, times) for action, (prior, times) in found.items()]
