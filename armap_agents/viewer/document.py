"""One run as one plain-JSON document, for every view of it.

Nodes are numbered in the order of a walk through the tree (parents first, children as proposed), so
that a subtree is a range of numbers. `frames` says what each iteration changed, `details` what does
not change: what was seen at a node and in its rollout. The page's scripts read the same document.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from armap_agents.errors import ConfigurationError
from armap_agents.trace import SCHEMA_VERSION, read_events
from armap_agents.viewer.attempts import attempt_frames, reflections
from armap_agents.viewer.outcome import add_outcome, answer_of, state_of
from armap_agents.viewer.paths import Paths, best_end
from armap_agents.viewer.recorded import ROOT, STATUSES, Frame, Node, Recorded
from armap_agents.viewer.steps import Observations, shown_steps
from armap_agents.viewer.text import one_line, presentable, presentable_json
from armap_agents.viewer.tree import merged, search_frames

Document = dict[str, Any]
"""What `read_document` returns."""


def read_document(folder: Path) -> Document:
    """Read the journal in a run's folder, whole or torn, into a document.

    Raises:
        ConfigurationError: There is no journal, it is damaged, or another version wrote it.
    """
    path = folder / "trace.jsonl"
    try:
        document: Document = presentable_json(_document(folder.resolve().name, _recorded(path)))
    except OSError as error:
        raise ConfigurationError(
            f"{folder} is no run, {error.strerror}: give a folder that holds a trace.jsonl"
        ) from None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        why = one_line(presentable(f"{type(error).__name__}: {error}"), 120)
        raise ConfigurationError(
            f"{path} is not as a run writes it ({why}): give one that `armap plan` wrote"
        ) from error
    return document


def _recorded(path: Path) -> Recorded:
    recorded = Recorded(read_events(path))
    version = (recorded.run or {}).get("settings", {}).get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise ConfigurationError(
            f"{path} has schema version {version}, this reads {SCHEMA_VERSION}: update armap-agents"
        )
    return recorded


def _document(run: str, recorded: Recorded) -> Document:
    settings = dict((recorded.run or {}).get("settings", {}))
    task = settings.get("task", {})
    frames = _frames(recorded)
    names = _in_order(frames)
    numbers = {name: number for number, name in enumerate(names)}
    latest = _latest(frames)
    observations, paths = Observations(), Paths(recorded)
    document = {
        "run": run,
        "state": state_of(recorded, frames, latest),
        "search": recorded.is_search,
        "value_name": _value_name(recorded),
        "planner": (recorded.run or {}).get("planner") or settings.get("planner"),
        "policy": settings.get("policy_model"),
        "environment": task.get("environment"),
        "task": task.get("id"),
        "instruction": _instruction(recorded, task),
        "settings": [[name, _one_value(value)] for name, value in _settings(recorded).items()],
        "parent": (recorded.run or {}).get("parent"),
        "started": recorded.begun if recorded.events else None,
        "statuses": STATUSES,
        "nodes": [_static(name, latest[name], numbers) for name in names],
        "details": _details(names, latest, recorded, observations),
        "frames": [_encoded(frame, numbers, paths) for frame in frames],
        "answer": answer_of(recorded, frames, numbers, observations, paths),  # in the whole tree
        "observations": observations.items,
    }
    add_outcome(document)
    return document


def _value_name(recorded: Recorded) -> str:
    if recorded.is_search:
        return "value"
    return "objective" if recorded.attempts else "score"


def _settings(recorded: Recorded) -> dict[str, Any]:
    run = recorded.run or {}
    return {**run.get("settings", {}), **run.get("context", {})}


def _frames(recorded: Recorded) -> list[Frame]:
    if not recorded.events:
        return []
    return search_frames(recorded) if recorded.is_search else attempt_frames(recorded)


def _instruction(recorded: Recorded, task: dict[str, Any]) -> str:
    if recorded.opening is not None:
        return str(recorded.opening["instruction"])
    for trajectory in recorded.trajectories.values():
        return str(trajectory["instruction"])
    return task.get("instruction") or ""


def _one_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _in_order(frames: list[Frame]) -> list[str]:
    names = {name for frame in frames for name in frame.nodes}
    return sorted(names, key=lambda name: [int(part) for part in name.split(".")])


def _latest(frames: list[Frame]) -> dict[str, Node]:
    latest: dict[str, Node] = {}
    for frame in frames:
        latest |= frame.nodes
    return latest


def _static(name: str, node: Node, numbers: dict[str, int]) -> dict[str, Any]:
    return {
        "id": name,
        "parent": numbers.get(node["parent"], -1) if node["parent"] is not None else -1,
        "action": node["action"],
        "depth": node["depth"],
        "prior": node.get("prior"),
    }


def _encoded(frame: Frame, numbers: dict[str, int], paths: Paths) -> dict[str, Any]:
    paths.grow(frame.nodes)
    return {
        "iteration": frame.iteration,
        "time": frame.time,
        "whole": frame.whole,
        "nodes": [_row(numbers[name], node) for name, node in frame.nodes.items()],
        "picks": [_pick(pick, numbers) for pick in frame.picks],
        "evaluations": [
            {key: item.get(key) for key in ("score", "objective", "value", "result", "error")}
            | {"node": numbers.get(item["node"])}
            for item in frame.evaluations
        ],
        "best": frame.best
        and {key: frame.best.get(key) for key in ("score", "objective")}
        | {
            "node": numbers.get(frame.best["node"]),
            "end": numbers.get(best_end(frame.best, paths) or ""),
        },
        "spent": dict(frame.spent),
        "reopened": frame.reopened,
    }


def _row(number: int, node: Node) -> list[Any]:
    """Return [number, status, n, q, V, result, visits, closed]."""
    return [
        number,
        STATUSES.index(node["status"]),
        node.get("n", 0),
        node.get("q"),
        node.get("value"),
        node.get("result"),
        node.get("visits", 0),
        bool(node.get("closed")),
    ]


def _pick(pick: dict[str, Any], numbers: dict[str, int]) -> dict[str, Any]:
    return {
        "leaf": numbers.get(pick["leaf"]),
        "path": [
            {
                "node": numbers.get(level["node"]),
                "chosen": numbers.get(level["chosen"]),
                "children": [
                    [numbers.get(c["node"]), _short(c["value"]), _short(c["bonus"]), c["pending"]]
                    for c in level["children"]
                ],
            }
            for level in pick["path"]
        ],
    }


def _short(value: float | None) -> float | None:
    """Six digits are more than anyone looks at; selections are most of a document."""
    return None if value is None else float(f"{value:.6g}")


def _details(
    names: list[str], latest: dict[str, Node], recorded: Recorded, observations: Observations
) -> list[dict[str, Any]]:
    trajectories = recorded.trajectories
    reflected = {} if recorded.is_search else reflections(recorded)
    seen = _states(trajectories, latest, observations) if recorded.is_search else {}
    opening = _opening(recorded)
    if opening is not None:
        seen[ROOT] = observations.add(opening)
    found = []
    for name in names:
        key = name if recorded.is_search else name.removeprefix(f"{ROOT}.")
        detail: dict[str, Any] = {}
        if name in seen:
            detail["observation"] = seen[name]
        if key in trajectories and (recorded.is_search or name != ROOT):
            start = latest[name]["depth"] if recorded.is_search else 0
            detail |= _rollout(key, trajectories[key], start, recorded, observations)
        if recorded.is_search and name in recorded.proposals:
            detail["proposals"] = merged(recorded.proposals[name]["items"])
        if key in reflected and name != ROOT:
            detail["reflections"] = reflected[key]
        found.append(detail)
    return found


def _rollout(
    key: str,
    trajectory: dict[str, Any],
    start: int,
    recorded: Recorded,
    observations: Observations,
) -> dict[str, Any]:
    said = recorded.said.get(key, {})
    failed = [event["trajectory"]["error"] for event in recorded.failures.get(key, ())]
    detail: dict[str, Any] = {
        "rollout": shown_steps(trajectory, observations, said, start),
        "rollout_status": trajectory["status"],
    }
    return detail | ({"errors": failed} if failed else {})


def _opening(recorded: Recorded) -> dict[str, Any] | None:
    if recorded.opening is not None:
        return recorded.opening["observation"]  # type: ignore[no-any-return]
    for trajectory in recorded.trajectories.values():
        return trajectory["observation"]  # type: ignore[no-any-return]
    return None


def _states(
    trajectories: dict[str, dict[str, Any]], latest: dict[str, Node], observations: Observations
) -> dict[str, int]:
    """Return the observation at each node that was ever passed: a rollout starts at the root."""
    seen: dict[str, int] = {}
    for name, trajectory in trajectories.items():
        here: str | None = name
        while here is not None and here in latest and here not in seen:
            depth = latest[here]["depth"]
            if 0 < depth <= len(trajectory["steps"]):
                seen[here] = observations.add(trajectory["steps"][depth - 1]["observation"])
            here = latest[here]["parent"]
    return seen
