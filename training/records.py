"""The files of a data folder: trajectories, pairs of prefixes, Monte-Carlo values, images.

``trajectories.jsonl`` holds each executed episode once, under its content hash;
``pairs.jsonl`` says which prefix is better than which, under an instruction; ``values.jsonl`` says
how often K executed continuations of a prefix succeeded. Pairs and values refer to trajectories by
id and number of steps, so that one episode serves every depth. Screenshots lie in ``images``, named
by their digest, and are read when they are looked at. Each line carries the schema version; a field
added later gets a default, a meaning that changes gets a new version.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from armap_agents.errors import ConfigurationError
from armap_agents.training.stored_image import StoredImage
from armap_agents.trajectory import Observation, Step, Trajectory

SCHEMA_VERSION = 1

TRAJECTORIES, PAIRS, VALUES = "trajectories.jsonl", "pairs.jsonl", "values.jsonl"
IMAGES = "images"

Source = Literal["perturb", "llm", "environment", "search-reward", "search-environment"]
"""Where a pair's label comes from; all but those with ``environment`` are self-made."""


def bare(trajectory: Trajectory) -> Trajectory:
    """Return the trajectory without the lists of valid actions and the pictures for people.

    They are the bulk of a record (ScienceWorld lists hundreds a step), no scorer reads them, and
    replaying the actions brings them back.
    """

    def strip(observation: Observation) -> Observation:
        return replace(observation, actions=None, templates=(), schema=None, attachments={})

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
        task: Id of the task that both were acted out on.
        source: Where the label comes from.
        kind: What is wrong with the worse one, such as ``wrong option``.
        label: Chance that the chosen one is better: 1 for certain, less for soft labels.
        margin: Least difference of scores to aim at; 0 for none.
        rejected_instruction: What the worse one is judged against, where that is another
            instruction: the same trajectory may be right under one and wrong under another.
    """

    environment: str
    instruction: str
    chosen: str
    chosen_steps: int
    rejected: str
    rejected_steps: int
    task: str
    source: Source = "perturb"
    kind: str = ""
    label: float = 1.0
    margin: float = 0.0
    rejected_instruction: str | None = None
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
        successes: Sum of their returns, each from 0 to 1: the share of the instruction fulfilled.
        task: Id of the task.
    """

    environment: str
    instruction: str
    trajectory: str
    steps: int
    continuations: int
    successes: float
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
    # Not `json_line`: a folder that grows knows the lines it has by their bytes, without spaces.
    line = json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"
    # Halves of characters, which models and web pages do write, are escaped as JSON does it.
    return line.encode(errors="backslashreplace").decode()


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and object of a JSONL file.

    Raises:
        ConfigurationError: The file is missing, or a line is not a JSON object of this schema.
    """
    if not path.is_file():
        raise ConfigurationError(
            f"{path} is missing: make a data folder with `armap generate ENV --out {path.parent}`"
        )
    with path.open("rb") as lines:  # a line that is no UTF-8 is a broken line as well
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


def _records(
    path: Path, kind: type[_Record], trajectories: Mapping[str, Trajectory]
) -> list[_Record]:
    records = []
    for number, value in read_lines(path):
        try:
            record = kind(**value)
        except TypeError as error:
            raise ConfigurationError(
                f"{path} line {number} is no {kind.__name__}: {error}; mend or delete that line"
            ) from None
        named = (
            [record.chosen, record.rejected] if isinstance(record, Pair) else [record.trajectory]
        )
        for id_ in named:
            if not isinstance(id_, str) or id_ not in trajectories:
                raise ConfigurationError(
                    f"{path} line {number} names trajectory {id_!r}, which {TRAJECTORIES} does not "
                    "have: delete that line"
                )
        if faults := _faults(record, trajectories):
            raise ConfigurationError(
                f"{path} line {number} cannot be so ({', '.join(faults)}): mend or delete that line"
            )
        records.append(record)
    return records


def _faults(record: Pair | PrefixValue, trajectories: Mapping[str, Trajectory]) -> list[str]:
    """Return the fields, as a file has them, that are not what they may be."""
    texts = ["environment", "instruction", "task"]
    limits: dict[str, float]
    if isinstance(record, Pair):
        texts += ["kind", *(["rejected_instruction"] if record.rejected_instruction else [])]
        limits = {
            "chosen_steps": len(trajectories[record.chosen]),
            "rejected_steps": len(trajectories[record.rejected]),
            "label": 1,
            "margin": math.inf,
        }
    else:
        limits = {
            "steps": len(trajectories[record.trajectory]),
            "continuations": math.inf,
            "successes": record.continuations,
        }
    given = vars(record)
    wrong = [name for name in texts if not isinstance(given[name], str)]
    wrong += [name for name, most in limits.items() if not _is_number(name, given[name], most)]
    if isinstance(record, Pair) and record.source not in get_args(Source):
        wrong.append("source")
    return [f"{name} {given[name]!r}" for name in wrong]


def _is_number(name: str, value: object, most: object) -> bool:
    """Whether a value is a number from 0 to another one, a whole one where steps are counted."""
    kind = int if name.endswith("steps") else int | float
    if not (isinstance(value, kind) and isinstance(most, int | float)):
        return False
    return 0 <= value <= most and math.isfinite(value)


def _trajectory(value: dict[str, Any], images: Path) -> Trajectory:
    """Rebuild a trajectory whose pictures stay on the disk."""
    seen = [value["observation"], *(step["observation"] for step in value["steps"])]
    shown = [
        reference and StoredImage(images / str(reference["sha256"]), reference, value["id"])
        for reference in (observation.pop("image", None) for observation in seen)
    ]
    trajectory = Trajectory.from_dict(value)
    if not any(shown):
        return trajectory
    steps = tuple(
        replace(step, observation=replace(step.observation, image=image))
        for step, image in zip(trajectory.steps, shown[1:], strict=True)
    )
    opening = replace(trajectory.observation, image=shown[0])
    return replace(trajectory, observation=opening, steps=steps)


def load_dataset(folder: Path) -> Dataset:
    """Read a data folder; pictures stay on the disk until they are looked at.

    Raises:
        ConfigurationError: A file is missing or a line is broken; the message names it.
    """
    trajectories: dict[str, Trajectory] = {}
    path = folder / TRAJECTORIES
    for number, value in read_lines(path):
        try:
            trajectories[value["id"]] = _trajectory(value, folder / IMAGES)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError(
                f"{path} line {number} is no trajectory ({error!r}): mend or delete that line"
            ) from None
    values = folder / VALUES
    return Dataset(
        trajectories,
        _records(folder / PAIRS, Pair, trajectories),
        _records(values, PrefixValue, trajectories) if values.is_file() else [],
    )
