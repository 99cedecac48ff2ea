"""A data folder while it is written: files that grow together, images, a journal, a report.

A unit is everything made from one task. Its images are written first, then all of its lines are
appended, then ``journal.jsonl`` notes the files' lengths. A run that was killed cuts the files back
to the last note, deletes the images that no note has, and goes on with the next unit. A task that
comes up again may give a line again; it is written once. So nothing is there twice and nothing by
half.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from armap_agents.errors import ConfigurationError
from armap_agents.training.datacard import card
from armap_agents.training.identity import check_identity
from armap_agents.training.records import (
    IMAGES,
    PAIRS,
    SCHEMA_VERSION,
    TRAJECTORIES,
    VALUES,
    Pair,
    PrefixValue,
    record_line,
    trajectory_line,
)
from armap_agents.trajectory import Image, Trajectory

T = TypeVar("T")

CONFIG, JOURNAL, REPORT, CARD = "config.json", "journal.jsonl", "report.json", "README.md"


def is_complete(path: Path, pairs: int) -> bool:
    """Say whether a data folder's report counts so many pairs; without a report it does not."""
    try:
        counted: int = json.loads((path / REPORT).read_text("utf-8"))["counts"]["pairs"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return counted >= pairs


@dataclass
class Unit:
    """Everything made from one task.

    Attributes:
        trajectories: By id.
        pairs: By what makes two of them the same.
        values: By instruction and state.
        counts: What was made and dropped.
    """

    trajectories: dict[str, Trajectory] = field(default_factory=dict)
    pairs: dict[tuple[Any, ...], Pair] = field(default_factory=dict)
    values: dict[tuple[Any, ...], PrefixValue] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)


def images_of(trajectories: Iterable[Trajectory]) -> dict[str, Image]:
    """Return the pictures that trajectories show, by digest."""
    seen = (o for t in trajectories for o in (t.observation, *(s.observation for s in t.steps)))
    return {o.image.sha256: o.image for o in seen if o.image is not None}


class DataFolder:
    """A data folder being written; whoever opens one holds its `only_writer`.

    Args:
        path: The folder; made where it is missing.
        environment: Registered name of the environment.
        config: What the data is made with, as JSON.

    Attributes:
        units: How many units are written.
        counts: What was made and dropped so far.

    Raises:
        ConfigurationError: The folder holds data of another configuration, or cannot go on.
    """

    def __init__(self, path: Path, environment: str, config: Mapping[str, Any]) -> None:
        self.path = path
        self.environment = environment
        self.config = json.loads(json.dumps(config))
        self.units = 0
        self.counts: Counter[str] = Counter()
        self._images: set[str] = set()
        self._written: set[bytes] = set()
        (path / IMAGES).mkdir(parents=True, exist_ok=True)
        identity = {"environment": environment, "schema_version": SCHEMA_VERSION, **self.config}
        identity.pop("pairs", None)  # a folder may grow
        check_identity(path / CONFIG, identity, "data of another configuration")
        lengths = self._read_journal()
        self._files = {}
        for name in (TRAJECTORIES, VALUES, PAIRS):
            file = self._cut(name, lengths.get(name, 0))
            with file.open("rb") as lines:
                self._written.update(map(_digest, lines))
            self._files[name] = file.open("ab")
        self._journal = (path / JOURNAL).open("ab")
        for image in (path / IMAGES).iterdir():
            if image.name not in self._images:
                image.unlink()

    def _read_journal(self) -> dict[str, int]:
        lengths: dict[str, int] = {}
        path = self.path / JOURNAL
        whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                try:
                    note = json.loads(line)
                    lengths = note["lengths"]
                    self._images.update(note["images"])
                    self.counts.update(note["counts"])
                except (ValueError, KeyError, TypeError):
                    raise ConfigurationError(
                        f"{path} line {self.units + 1} is damaged: use another --out or delete "
                        f"{self.path}"
                    ) from None
                whole += len(line)
                self.units += 1
            self._cut(JOURNAL, whole)
        return lengths

    def _cut(self, name: str, length: int) -> Path:
        """Cut a file back to what is noted."""
        path = self.path / name
        with path.open("ab") as file:
            if file.tell() < length:
                raise ConfigurationError(
                    f"{path} is shorter than {JOURNAL} says: use another --out or delete "
                    f"{self.path}"
                )
            file.truncate(length)
        return path

    def append(self, task: str, unit: Unit) -> None:
        """Write a unit's images and records, then note them."""
        images = {
            digest: image
            for digest, image in images_of(unit.trajectories.values()).items()
            if digest not in self._images
        }
        for digest, image in images.items():
            (self.path / IMAGES / digest).write_bytes(image.data)
        self._append(TRAJECTORIES, unit.trajectories.values(), trajectory_line, unit.counts)
        self._append(VALUES, unit.values.values(), record_line, unit.counts)
        for pair in self._append(PAIRS, unit.pairs.values(), record_line, unit.counts):
            unit.counts[f"pairs by {pair.source}"] += 1
            unit.counts[f"pairs, {pair.kind}"] += 1
            prefixes = pair.chosen_steps < len(unit.trajectories[pair.chosen])
            unit.counts["pairs of prefixes"] += prefixes
        unit.counts["dropped: duplicate"] += len(unit.pairs) - unit.counts["pairs"]
        unit.counts["images"] = len(images)
        note = {
            "task": task,
            "lengths": {name: file.tell() for name, file in self._files.items()},
            "images": sorted(images),
            "counts": dict(unit.counts),
        }
        self._journal.write(json.dumps(note).encode() + b"\n")
        self._journal.flush()
        self._images.update(images)
        self.units += 1
        self.counts.update(unit.counts)

    def _append(
        self, name: str, records: Iterable[T], line_of: Callable[[T], str], counts: Counter[str]
    ) -> list[T]:
        """Append and count the records that are not there yet, and return them."""
        new, lines = [], []
        for record in records:
            line = line_of(record).encode()
            digest = _digest(line)
            if digest not in self._written:
                self._written.add(digest)
                new.append(record)
                lines.append(line)
        self._files[name].write(b"".join(lines))
        self._files[name].flush()
        counts[name.removesuffix(".jsonl")] = len(new)
        return new

    def report(
        self,
        tasks: int,
        describe: Callable[[dict[str, Any]], str] = card,
        besides: Mapping[str, int] | None = None,
    ) -> dict[str, Any]:
        """Write ``report.json`` and the data card, and return the report.

        Args:
            tasks: How many tasks there are to explore.
            describe: Writes the card of a report.
            besides: Further counts, of what no unit is made of.
        """
        counts = self.counts + Counter(besides)
        report = {
            "environment": self.environment,
            "config": self.config,
            "tasks": tasks,
            "units": self.units,
            "counts": {name: n for name, n in sorted(counts.items()) if n},
            "versions": _versions(self.environment),
        }
        (self.path / REPORT).write_text(json.dumps(report, indent=2) + "\n", "utf-8")
        (self.path / CARD).write_text(describe(report), "utf-8")
        return report

    def close(self) -> None:
        """Close the files."""
        for file in (*self._files.values(), self._journal):
            os.fsync(file.fileno())
            file.close()


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=12).digest()


def _versions(environment: str) -> dict[str, str]:
    """Return the versions of what made the data; an environment may be a package of its own."""
    found = {"python": platform.python_version()}
    for package in ("armap-agents", environment):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
