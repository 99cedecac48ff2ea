"""What was seen in a run: observations and steps, each observation kept once.

Every rollout of a tree repeats the path from the root, and pages repeat themselves; a document
refers to observations by number, so that a search of 2,000 nodes stays a page of some megabytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

ACTIONS_SHOWN = 200
"""Most valid actions kept of an observation; some environments list more than a thousand."""


class Observations:
    """Observations by number, equal ones once."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self._numbers: dict[str, int] = {}

    def add(self, observation: Mapping[str, Any]) -> int:
        """Return the number of an observation (`Observation.to_dict()`), keeping it if new."""
        key = json.dumps(observation, sort_keys=True)
        if key not in self._numbers:
            self._numbers[key] = len(self.items)
            self.items.append(_shown(observation))
        return self._numbers[key]


def _shown(observation: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"text": observation.get("text", "")}
    actions = [*(observation.get("actions") or ()), *observation.get("templates", ())]
    if actions:
        shown["actions"] = actions[:ACTIONS_SHOWN]
        shown["actions_left_out"] = max(0, len(actions) - ACTIONS_SHOWN)
    pictures = list(_pictures(observation))
    if pictures:
        shown["pictures"] = pictures
    if observation.get("facts"):
        shown["facts"] = [
            [name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)]
            for name, value in observation["facts"].items()
        ]
    return shown


def _pictures(observation: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield [name, sha256] of each picture, what the policy saw first."""
    if observation.get("image"):
        yield ["what the policy saw", observation["image"]["sha256"]]
    for name, image in observation.get("attachments", {}).items():
        yield [name, image["sha256"]]


def shown_steps(
    trajectory: Mapping[str, Any], observations: Observations, said: Mapping[int, str], start: int
) -> list[list[Any]]:
    """Return the steps of a trajectory from `start` on as rows [action, observation, said].

    Args:
        trajectory: `Trajectory.to_dict()`.
        observations: Where observations are kept.
        said: The policy's own words by step, where they say more than the action.
        start: Number of steps to leave out.
    """
    return [
        [step["action"], observations.add(step["observation"]), said.get(k)]
        for k, step in enumerate(trajectory["steps"][start:], start)
    ]
