"""The events of a journal by what they are about, and the frames that a replay is made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]
Node = Mapping[str, Any]
"""A node of the search tree as the journal writes it (`armap_agents.search.Node`)."""

STATUSES = ("proposed", "open", "ended", "limit", "failed")

ROOT = "0"


@dataclass
class Frame:
    """What one iteration changed.

    Attributes:
        iteration: Its number; 0 is the state before the first.
        time: Seconds since the epoch at its end.
        nodes: The nodes that changed, as they are afterwards.
        picks: What was selected, with the parts of the scores.
        evaluations: What was evaluated.
        best: The best finished trajectory so far.
        spent: Costs so far.
        whole: False for the iteration that a kill interrupted.
        reopened: How many failed nodes are to be tried again, where it did nothing else.
    """

    iteration: int
    time: float
    nodes: dict[str, Node]
    picks: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    spent: Mapping[str, float] = field(default_factory=dict)
    whole: bool = True
    reopened: int = 0


class Recorded:
    """A journal's events by kind; what stands behind ``rollout/`` in their ids is their key.

    Args:
        events: The events in the order of the journal.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self.events = list(events)
        self.run: Event | None = None
        self.opening: Event | None = None
        self.answer: Event | None = None
        self.proposals: dict[str, Event] = {}
        self.rollouts: dict[str, Event] = {}
        self.attempts: dict[str, Event] = {}
        self.failures: dict[str, list[Event]] = defaultdict(list)
        self.said: dict[str, dict[int, str]] = defaultdict(dict)
        self.scores: dict[str, float] = {}
        for event in self.events:
            self._sort(event)

    def _sort(self, event: Event) -> None:
        match event["kind"]:
            case "run":
                self.run = event
            case "opening":
                self.opening = event
            case "answer":
                self.answer = event  # a person may have asked for more: the last one counts
            case "proposals":
                self.proposals[event["node"]] = event
            case "rollout":
                self.rollouts[_key(event)] = event
            case "failure":
                self.failures[_key(event)].append(event)
            case "attempt":
                self.attempts[_key(event)] = event
            case "score":
                self.scores.update(zip(event["trajectories"], event["scores"], strict=True))
            case "policy":
                step = event["id"].rpartition("/")[2]
                if step.isdecimal() and event["text"].strip() != event["action"].strip():
                    self.said[_key(event)][int(step)] = event["text"]

    @property
    def begun(self) -> float:
        """When the run began; a fork's first event is younger than those it took over."""
        return min(float(event["time"]) for event in self.events)

    @property
    def is_search(self) -> bool:
        """Whether the planner grew a tree."""
        return bool(self.opening or self.proposals) or any(
            event["kind"] in {"selection", "backup"} for event in self.events
        )

    @property
    def trajectories(self) -> dict[str, dict[str, Any]]:
        """The newest trajectory of each rollout, finished ones before failed ones."""
        failed = {key: events[-1]["trajectory"] for key, events in self.failures.items()}
        return failed | {key: event["trajectory"] for key, event in self.rollouts.items()}


def _key(event: Event) -> str:
    key: str = event["id"].split("/")[1]
    return key


def add_costs(spent: Mapping[str, float], usage: Mapping[str, float] | None) -> dict[str, float]:
    """Return `spent` with `usage` added, name by name."""
    total = dict(spent)
    for name, value in (usage or {}).items():
        total[name] = total.get(name, 0) + value
    return total
