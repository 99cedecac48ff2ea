"""The folder of an evaluation: one writer at a time, one appended line per finished run.

``results.jsonl`` is the only truth about what is finished. A line is written whole and flushed
before its run counts; a process killed in the middle of a line loses that line alone. Several lines
of one (task, planner, seed) mean that earlier ones failed: the last one counts.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from armap_agents import locks
from armap_agents.errors import ConfigurationError
from armap_agents.trace import json_line
from armap_agents.trajectory import JSON, Status
from armap_agents.usage import Usage

RESULTS = "results.jsonl"
SCORES = "scores.jsonl"

T = TypeVar("T")

Key = tuple[str, str, int]
"""(task id, planner, seed)."""


@dataclass(frozen=True)
class Candidate:
    """One trajectory that a planner could have answered with.

    Attributes:
        actions: Its actions.
        status: Why it stopped.
        score: The reward model's; None where it was not scored.
        true_score: The environment's, 0 to 1; 0 for a failed rollout, whatever its prefix is worth.
        error: One line, where the rollout failed or could not be restored as recorded.
    """

    actions: tuple[str, ...]
    status: Status
    score: float | None
    true_score: float
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether a planner could not have answered with it."""
        return self.error is not None or self.status is Status.FAILED

    def to_dict(self) -> dict[str, JSON]:
        """Return the candidate as pure JSON."""
        return {
            "actions": list(self.actions),
            "length": len(self.actions),
            "status": self.status.value,
            "score": self.score,
            "true_score": self.true_score,
            "error": self.error,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Candidate:
        """Rebuild a candidate."""
        return cls(
            tuple(value["actions"]),
            Status(value["status"]),
            value["score"],
            value["true_score"],
            value["error"],
        )


@dataclass(frozen=True)
class Result:
    """What one planner did on one task with one seed.

    Attributes:
        task: Task id.
        planner: The planner's label.
        seed: The seed.
        error: One line where the whole run failed; it then counts as true score 0.
        instruction: What the trajectories were judged against.
        true_score: The chosen trajectory's, 0 to 1.
        score: The reward model's of the chosen trajectory.
        actions: The chosen trajectory's.
        candidates: Everything it was chosen from.
        usage: What the run cost.
        seconds: From the run's start to its answer, by its own account.
        run: Id of its trace.
    """

    task: str
    planner: str
    seed: int
    error: str | None = None
    instruction: str = ""
    true_score: float = 0.0
    score: float | None = None
    actions: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    run: str | None = None

    @property
    def key(self) -> Key:
        """What is not done twice."""
        return (self.task, self.planner, self.seed)

    def to_dict(self) -> dict[str, JSON]:
        """Return the result as pure JSON."""
        return {
            "task": self.task,
            "planner": self.planner,
            "seed": self.seed,
            "status": "ok" if self.error is None else "error",
            "error": self.error,
            "instruction": self.instruction,
            "true_score": self.true_score,
            "score": self.score,
            "actions": list(self.actions),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "usage": self.usage.to_dict(),
            "seconds": self.seconds,
            "run": self.run,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Result:
        """Rebuild a result."""
        return cls(
            task=value["task"],
            planner=value["planner"],
            seed=value["seed"],
            error=value["error"],
            instruction=value["instruction"],
            true_score=value["true_score"],
            score=value["score"],
            actions=tuple(value["actions"]),
            candidates=tuple(Candidate.from_dict(item) for item in value["candidates"]),
            usage=Usage.from_dict(value["usage"]),
            seconds=value["seconds"],
            run=value["run"],
        )


@dataclass(frozen=True)
class Scored:
    """What `rescore` had one selector say of one run's candidates.

    Attributes:
        selector: The selector's name.
        fingerprint: The model's that had the name.
        key: The run.
        scores: One per candidate; None for a failed one.
    """

    selector: str
    fingerprint: str
    key: Key
    scores: tuple[float | None, ...]

    def to_dict(self) -> dict[str, JSON]:
        """Return the scores as pure JSON."""
        return {
            "selector": self.selector,
            "fingerprint": self.fingerprint,
            "key": list(self.key),
            "scores": list(self.scores),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Scored:
        """Rebuild the scores."""
        task, planner, seed = value["key"]
        key = (task, planner, seed)
        return cls(value["selector"], value["fingerprint"], key, tuple(value["scores"]))


@asynccontextmanager
async def only_writer(folder: Path) -> AsyncIterator[None]:
    """Make the folder and hold it for this process alone; a killed process lets go of it.

    Raises:
        ConfigurationError: Another process is writing it, or it cannot be written.
    """
    with ExitStack() as held:
        await asyncio.to_thread(held.enter_context, locks.only_writer(folder))
        yield


def append(path: Path, value: JSON) -> None:
    """Write one line and wait until it is on the disk."""
    with path.open("ab") as file:
        file.write(json_line(value, allow_nan=False).encode())
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path, rebuild: Callable[[dict[str, Any]], T]) -> list[T]:
    """Return what a JSON-lines file holds; a missing file is empty, a torn last line ignored.

    Args:
        path: The file.
        rebuild: Makes of a line's value what it stands for.

    Raises:
        ConfigurationError: A whole line is damaged.
    """
    if not path.exists():
        return []
    values = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            values.append(rebuild(json.loads(line)))
        except (ValueError, TypeError, KeyError):
            raise ConfigurationError(
                f"{path}, line {number} is damaged: delete that line and start again"
            ) from None
    return values


def read_results(folder: Path) -> dict[Key, Result]:
    """Return the last result of every (task, planner, seed) in the folder.

    Raises:
        ConfigurationError: A line is damaged.
    """
    results = read_lines(folder / RESULTS, Result.from_dict)
    return {result.key: result for result in results}


def read_scored(folder: Path) -> list[Scored]:
    """Return the scores of the model that each selector's name had last.

    What an earlier model of that name gave is left out, even where the last one was interrupted:
    figures of two models never mix.

    Raises:
        ConfigurationError: A line is damaged.
    """
    scored = read_lines(folder / SCORES, Scored.from_dict)
    last = {item.selector: item.fingerprint for item in scored}
    return [item for item in scored if item.fingerprint == last[item.selector]]


def read_scores(folder: Path) -> dict[str, dict[Key, tuple[float | None, ...]]]:
    """Return the scores of `read_scored` by selector and run.

    Raises:
        ConfigurationError: A line is damaged.
    """
    found: dict[str, dict[Key, tuple[float | None, ...]]] = {}
    for item in read_scored(folder):
        found.setdefault(item.selector, {})[item.key] = item.scores
    return found
