"""Where a trajectory leads in the tree.

The rollout that found the best trajectory began at one node and went on below it. Where the search
evaluated the nodes on the rest of its way, then or later, the best path runs on to the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armap_agents.viewer.recorded import ROOT, Node, Recorded
from armap_agents.viewer.tree import merged


class Paths:
    """Follows trajectories through the tree as it grows.

    Args:
        recorded: The run's journal.
    """

    def __init__(self, recorded: Recorded) -> None:
        self._is_search = recorded.is_search
        self._below: dict[tuple[str | None, str], str] = {}
        self._tried: set[str] = set()
        self._taken: dict[str, list[str]] = {
            event["trajectory"]["id"]: [step["action"] for step in event["trajectory"]["steps"]]
            for event in recorded.events
            if event["kind"] == "rollout"
        }
        # A node keeps the beginning of its action alone, the proposals have it in full.
        self._actions = {
            f"{parent}.{k}": action
            for parent, event in recorded.proposals.items()
            for k, (action, _, _) in enumerate(merged(event["items"]))
        }

    def grow(self, nodes: Mapping[str, Node]) -> None:
        """Take over what an iteration changed; what failed may be a mere proposal again."""
        for name, node in nodes.items():
            action: str = self._actions.get(name) or node["action"]
            self._below[node["parent"], action] = name
            if node["status"] == "proposed":
                self._tried.discard(name)
            else:
                self._tried.add(name)

    def end(self, node: str | None, trajectory: str | None) -> str | None:
        """Return the deepest node tried so far on a trajectory's way.

        Args:
            node: Where its rollout began; None for one that began at no node.
            trajectory: Its id.
        """
        taken = self._taken.get(trajectory or "")
        if not self._is_search or taken is None:
            return node
        here = node or ROOT
        for action in taken[here.count(".") :]:
            below = self._below.get((here, action))
            if below is None or below not in self._tried:
                break
            here = below
        return node if here == ROOT else here


def best_end(best: Mapping[str, Any] | None, paths: Paths) -> str | None:
    """Return where the path to a ``best`` of the journal ends."""
    return None if best is None else paths.end(best.get("node"), best.get("trajectory"))
