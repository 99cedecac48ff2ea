"""A data folder while it is written: three files that grow together, a journal, a report.

All of a task's lines are appended, then ``journal.jsonl`` notes the files' lengths. A run that was
killed cuts the files back to the last note and goes on with the next task, so that nothing is there
twice and nothing by half.
"""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from armap_agents.training.explore import BY_POLICY
from armap_agents.training.identity import check_identity
from armap_agents.training.records import (
    PAIRS,
    SCHEMA_VERSION,
    TRAJECTORIES,
    VALUES,
    Pair,
    PrefixValue,
    record_line,
    trajectory_line,
)
from armap_agents.trajectory import Trajectory

CONFIG, JOURNAL, REPORT, CARD = "config.json", "journal.jsonl", "report.json", "README.md"


@dataclass
class Unit:
    """Everything made from one task."""

    trajectories: dict[str, Trajectory] = field(default_factory=dict)
    pairs: dict[tuple[Any, ...], Pair] = field(default_factory=dict)
    values: dict[tuple[Any, ...], PrefixValue] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)


class DataFolder:
    """A data folder being written; whoever opens one holds its `only_writer`.

    Args:
        path: The folder; made where it is missing.
        environment: Registered name of the environment.
        config: What the data is made with, as JSON.

    Attributes:
        done: Ids of the tasks that are written.
        counts: What was made and dropped so far.

    Raises:
        ConfigurationError: The folder holds data of another configuration.
    """

    def __init__(self, path: Path, environment: str, config: Mapping[str, Any]) -> None:
        self.path = path
        self.environment = environment
        self.config = config
        self.done: set[str] = set()
        self.counts: Counter[str] = Counter()
        path.mkdir(parents=True, exist_ok=True)
        wanted = {"environment": environment, "schema_version": SCHEMA_VERSION, **config}
        check_identity(path / CONFIG, wanted, "data of another configuration")
        lengths = self._read_journal()
        self._files = {}
        for name in (TRAJECTORIES, VALUES, PAIRS):
            file = (path / name).open("ab")
            file.truncate(lengths.get(name, 0))
            self._files[name] = file
        self._journal = (path / JOURNAL).open("ab")

    def _read_journal(self) -> dict[str, int]:
        lengths: dict[str, int] = {}
        path = self.path / JOURNAL
        whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                note = json.loads(line)
                whole += len(line)
                lengths = note["lengths"]
                self.done.add(note["task"])
                self.counts.update(note["counts"])
            with path.open("ab") as file:
                file.truncate(whole)
        return lengths

    def append(self, task: str, unit: Unit) -> None:
        """Write a task's records, then note them."""
        lines = {
            TRAJECTORIES: map(trajectory_line, unit.trajectories.values()),
            VALUES: map(record_line, unit.values.values()),
            PAIRS: map(record_line, unit.pairs.values()),
        }
        for name, file in self._files.items():
            file.write("".join(lines[name]).encode())
            file.flush()
        unit.counts.update(
            trajectories=len(unit.trajectories), pairs=len(unit.pairs), values=len(unit.values)
        )
        note = {
            "task": task,
            "lengths": {name: file.tell() for name, file in self._files.items()},
            "counts": dict(unit.counts),
        }
        self._journal.write(json.dumps(note).encode() + b"\n")
        self._journal.flush()
        self.done.add(task)
        self.counts.update(unit.counts)

    def report(self, tasks: int, episodes: int) -> dict[str, Any]:
        """Write ``report.json`` and the data card, and return the report."""
        report = {
            "environment": self.environment,
            "config": dict(self.config),
            "tasks": tasks,
            "episodes_per_task": episodes,
            "counts": dict(sorted(self.counts.items())),
            "versions": {
                "armap-agents": version("armap-agents"),
                "python": platform.python_version(),
            },
        }
        (self.path / REPORT).write_text(json.dumps(report, indent=2) + "\n", "utf-8")
        (self.path / CARD).write_text(card(report), "utf-8")
        return report

    def close(self) -> None:
        """Close the files."""
        for file in (*self._files.values(), self._journal):
            os.fsync(file.fileno())
            file.close()


def card(report: dict[str, Any]) -> str:
    """Return the data card: what the folder holds and how it was made."""
    config = report["config"]
    policy, counts = config["policy_model"], report["counts"]
    explorer = (
        f"the policy {policy} ({counts.get(BY_POLICY, 0)} of {counts['explored']} episodes) and "
        "uniform random actions"
        if policy
        else "uniform random actions"
    )
    rows = (f"| {name} | {n} |" for name, n in counts.items())
    return "\n".join(
        [
            f"# Training pairs for {report['environment']}",
            "",
            f"Made by `armap generate {report['environment']}` with seed {config['seed']} on "
            f"{report['tasks']} tasks, {report['episodes_per_task']} episodes each, explored by "
            f"{explorer}. Labels are self-made: a prefix is good where one of its executed random "
            f"continuations succeeded, bad where none of them did ({config['continuations']} after "
            "the first step, at least 64 later). Held-out tasks are excluded.",
            "",
            "`trajectories.jsonl`: executed episodes. `pairs.jsonl`: which prefix is better. "
            "`values.jsonl`: how often a prefix's continuations succeeded.",
            "",
            "| what | count |",
            "|---|---|",
            *rows,
            "",
            "Versions: "
            + ", ".join(f"{name} {number}" for name, number in report["versions"].items())
            + ".",
            "",
        ]
    )
