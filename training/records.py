"""The files of a data folder: trajectories, pairs of prefixes, Monte-Carlo values of prefixes.

``trajectories.jsonl`` holds each executed episode once, under its content hash;
``pairs.jsonl`` says which prefix is better than which, under an instruction; ``values.jsonl`` says
how often K executed continuations of a prefix succeeded. Pairs and values refer to trajectories by
id and number of steps, so that one episode serves every depth. Each line carries the schema
version; a field added later gets a default, a meaning that changes gets a new version.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from armap_agents.errors import ConfigurationError
from armap_agents.trajectory import Observation, Step, Trajectory

SCHEMA_VERSION = 1

TRAJECTORIES, PAIRS, VALUES = "trajectories.jsonl", "pairs.jsonl", "values.jsonl"

Source = Literal["perturb", "llm", "environment", "search-reward", "search-environment"]
"""Where a pair's label comes from; all but those with ``environment`` are self-made."""


def bare(trajectory: Trajectory) -> Trajectory:
    """Return the trajectory without the lists of valid actions.

    They are the bulk of a record (ScienceWorld lists hundreds a step), no scorer reads them, and
    replaying the actions brings them back.
    """

    def strip(observation: Observation) -> Observation:
        return replace(observation, actions=None, templates=(), schema=None)

    return replace(
        trajectory,
        observation=strip(trajectory.observation),
        steps=tuple(Step(s.action, strip(s.observation), s.done) for s in trajectory.steps),
    )


@dataclass(frozen=True)
class Pair:
    """One prefix is better than another, under an instruction.

    Attributes:
        environment: Registered name of the environment.
        instruction: What both are judged against; replaces the trajectories' own.
        chosen: Id of the better trajectory.
        chosen_steps: How many of its steps count.
        rejected: Id of the worse trajectory.
        rejected_steps: How many of its steps count.
        margin: Least difference of scores to aim at; 0 for none.
        source: Where the label comes from.
        task: Id of the task that both were acted out on.
    """

    environment: str
    instruction: str
    chosen: str
    chosen_steps: int
    rejected: str
    rejected_steps: int
    task: str
    source: Source = "perturb"
    margin: float = 0.0
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class PrefixValue:
    """The Monte-Carlo return of a prefix.

    Attributes:
        environment: Registered name of the environment.
        instruction: What success means; replaces the trajectory's own.
        trajectory: Id of the trajectory.
        steps: How many of its steps count.
        continuations: K, the number of executed continuations.
        successes: How many of them fulfilled the instruction.
        task: Id of the task.
    """

    environment: str
    instruction: str
    trajectory: str
    steps: int
    continuations: int
    successes: int
    task: str
    schema_version: int = SCHEMA_VERSION


@dataclass
class Dataset:
    """A data folder, read."""

    trajectories: dict[str, Trajectory] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    values: list[PrefixValue] = field(default_factory=list)

    def prefix(self, trajectory: str, steps: int, instruction: str) -> Trajectory:
        """Return what a pair or a value speaks of: a prefix, judged against an instruction."""
        return replace(self.trajectories[trajectory].prefix(steps), instruction=instruction)


def trajectory_line(trajectory: Trajectory) -> str:
    """Return the line of ``trajectories.jsonl`` for a bare trajectory, newline included."""
    return _line({"schema_version": SCHEMA_VERSION, **trajectory.to_dict()})


def record_line(record: Pair | PrefixValue) -> str:
    """Return a record's line, newline included."""
    return _line(asdict(record))


_Record = TypeVar("_Record", Pair, PrefixValue)


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and object of a JSONL file.

    Raises:
        ConfigurationError: The file is missing, or a line is not a JSON object of this schema.
    """
    if not path.is_file():
        raise ConfigurationError(
            f"{path} is missing: make a data folder with `armap generate ENV --out {path.parent}`"
        )
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            if not isinstance(value, dict):
                raise ConfigurationError(
                    f"{path} line {number} is not a JSON object: mend or delete that line"
                )
            if value.get("schema_version") != SCHEMA_VERSION:
                raise ConfigurationError(
                    f"{path} line {number} has schema version {value.get('schema_version')}, this "
                    f"version reads {SCHEMA_VERSION}: make the data again with `armap generate`"
                )
            yield number, value


def _records(path: Path, kind: type[_Record], known: set[str]) -> list[_Record]:
    records = []
    for number, value in read_lines(path):
        try:
            record = kind(**value)
        except TypeError as error:
            raise ConfigurationError(
                f"{path} line {number} is no {kind.__name__}: {error}; mend or delete that line"
            ) from None
        ids = {record.chosen, record.rejected} if isinstance(record, Pair) else {record.trajectory}
        if missing := ids - known:
            raise ConfigurationError(
                f"{path} line {number} names trajectory {missing.pop()!r}, which "
                f"{TRAJECTORIES} does not have: delete that line"
            )
        records.append(record)
    return records


def load_dataset(folder: Path) -> Dataset:
    """Read a data folder.

    Raises:
        ConfigurationError: A file is missing or a line is broken; the message names it.
    """
    trajectories: dict[str, Trajectory] = {}
    path = folder / TRAJECTORIES
    for number, value in read_lines(path):
        try:
            trajectories[value["id"]] = Trajectory.from_dict(value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError(
                f"{path} line {number} is no trajectory ({error!r}): mend or delete that line"
            ) from None
    known = set(trajectories)
    values = folder / VALUES
    return Dataset(
        trajectories,
        _records(folder / PAIRS, Pair, known),
        _records(values, PrefixValue, known) if values.is_file() else [],
    )
