"""The journal of a run: an append-only JSONL file that is the truth about what was done.

Every policy answer, rollout and score is written and flushed under a deterministic id before the
node that made it returns, and a node looks its id up before it does the work: so a killed run goes
on where it was, and recorded answers replay a run exactly. "Finished" means: its line is in the
journal. A torn last line loses that line alone; of events with one id the first counts. Pictures
lie beside it as ``blobs/<sha256>``, each stored once.

The folder of a run::

    runs/<run>/trace.jsonl   one event a line: {"id", "kind", "time", …}
    runs/<run>/blobs/        pictures by content hash
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from armap_agents.errors import ConfigurationError
from armap_agents.trajectory import JSON, Image, Observation, Trajectory, content_hash

SCHEMA_VERSION = 1

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def new_run_id() -> str:
    """Return a name for a run that sorts by time and is never given twice."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"


def run_name(text: str) -> str:
    """Return `text` as a name for a run: itself where it is one, else its hash."""
    return text if _RUN_NAME.fullmatch(text) else content_hash(text)[:32]


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a journal in order, repeated ids once, a torn last line left out.

    Raises:
        ConfigurationError: A line in the middle is damaged.
    """
    seen: set[str] = set()
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
            event_id = event["id"]
        except (ValueError, TypeError, KeyError):
            if number == len(lines):
                return
            raise ConfigurationError(
                f"{path}, line {number} is damaged: delete that line to go on without it"
            ) from None
        if event_id not in seen:
            seen.add(event_id)
            yield event


class Journal:
    """One run's journal, open for reading and appending.

    Open it with `Journal.open`; it belongs to one event loop.
    """

    def __init__(self, run: str, folder: Path, events: dict[str, dict[str, Any]]) -> None:
        self.run = run
        self.folder = folder
        self._events = events
        self._failures: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._stored: set[str] = set()
        for event in events.values():
            self._note(event)

    @classmethod
    async def open(cls, runs: Path, run: str) -> Journal:
        """Open the journal of `run`, making its folder if it is new.

        Raises:
            ConfigurationError: The name is no plain file name, or the journal is damaged.
        """
        if not _RUN_NAME.fullmatch(run):
            raise ConfigurationError(
                f"{run!r} is no name for a run: use letters, digits, '.', '_' and '-'"
            )
        return await asyncio.to_thread(cls._open, run, runs / run)

    @classmethod
    def _open(cls, run: str, folder: Path) -> Journal:
        try:
            (folder / "blobs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cannot write runs to {folder.parent}: {error.strerror}; set ARMAP_RUNS"
            ) from None
        path = folder / "trace.jsonl"
        drop_torn_line(path)
        events = {event["id"]: event for event in read_events(path)} if path.exists() else {}
        journal = cls(run, folder, events)
        journal._stored = {blob.name for blob in (folder / "blobs").iterdir()}
        return journal

    def find(self, event_id: str) -> dict[str, Any] | None:
        """Return the event recorded under `event_id`, or None."""
        return self._events.get(event_id)

    def failures(self, event_id: str) -> list[dict[str, Any]]:
        """Return the failures of what would have been recorded under `event_id`, oldest first."""
        return list(self._failures.get(event_id, ()))

    def record(self, event_id: str, kind: str, **data: Any) -> dict[str, Any]:
        """Append an event and flush it; one that is already there is returned as it was."""
        known = self._events.get(event_id)
        if known is not None:
            return known
        event = {"id": event_id, "kind": kind, "time": round(time.time(), 3), **data}
        self._append(event)
        return event

    def _append(self, event: dict[str, Any]) -> None:
        # One short write does not block the loop noticeably, and a thread would let two events of
        # one node change places. Opened each time, so that a forgotten run holds no file.
        with (self.folder / "trace.jsonl").open("ab") as file:
            file.write(json_line(event).encode())
        self._events[event["id"]] = event
        self._note(event)

    def _note(self, event: dict[str, Any]) -> None:
        tried, failed, _ = str(event["id"]).rpartition("/failed/")
        if failed:
            self._failures[tried].append(event)

    def events(self) -> list[dict[str, Any]]:
        """Return every event, in order."""
        return list(self._events.values())

    async def fork(self, run: str, upto: str, **data: Any) -> Journal:
        """Open a new run that shares this one's beginning.

        Args:
            run: Its name; none of that name may exist.
            upto: Id of the last event that it takes over.
            data: Of its own first event, beside ``parent: {"run", "event"}``.

        Raises:
            ConfigurationError: There is no such event here, or there is such a run already.
        """
        if upto not in self._events:
            raise ConfigurationError(f"run {self.run} has no event {upto!r} to fork from")
        own = ("run", "context", "told")  # how the parent was started and gone on with
        events = [event for event in self._events.values() if event["kind"] not in own]
        last = next((k for k, event in enumerate(events) if event["id"] == upto), -1)
        first = data | {"parent": {"run": self.run, "event": upto}}
        return await asyncio.to_thread(self._copy, run, events[: last + 1], first)

    async def take_over(self, run: str, kinds: Set[str]) -> Journal:
        """Open a new run with this one's settings that has its events of some kinds already.

        Of a fork it has everything up to where that parted from its parent.

        Args:
            run: Its name; none of that name may exist.
            kinds: Kinds of the events.

        Raises:
            ConfigurationError: There is such a run already.
        """
        own = self._events["run"]
        first = {key: own[key] for key in own if key not in ("id", "kind", "time")}
        parted = (own["parent"] or {}).get("event")
        first["parent"] = {"run": self.run, "event": None}
        ids = list(self._events)
        inherited = set(ids[1 : ids.index(parted) + 1]) if parted else set()
        events = [
            event
            for key, event in self._events.items()
            if event["kind"] in kinds or key in inherited
        ]
        return await asyncio.to_thread(self._copy, run, events, first)

    def _copy(self, run: str, events: list[dict[str, Any]], first: dict[str, Any]) -> Journal:
        folder = self.folder.parent / run
        if folder.exists():
            raise ConfigurationError(f"run {run} exists: choose another name")
        child = Journal._open(run, folder)
        for sha256 in self._stored:
            shutil.copy2(self.folder / "blobs" / sha256, folder / "blobs" / sha256)
        child._stored = set(self._stored)
        child.record("run", "run", **first)
        for event in events:
            child._append(event)
        return child

    async def store(self, trajectory: Trajectory) -> dict[str, Any]:
        """Write a trajectory's pictures to the blob folder; return its JSON that refers to them."""
        pictures = [
            image
            for observation in (trajectory.observation, *(s.observation for s in trajectory.steps))
            for image in _images(observation)
            if image.sha256 not in self._stored
        ]
        if pictures:
            await asyncio.to_thread(self._write_blobs, pictures)
        return trajectory.to_dict()

    def load(self, value: dict[str, Any]) -> Trajectory:
        """Rebuild a stored trajectory with its pictures."""
        return Trajectory.from_dict(value, self.blob)

    def blob(self, sha256: str) -> bytes:
        """Return the bytes of a picture.

        Raises:
            ConfigurationError: It is not there.
        """
        try:
            if not _DIGEST.fullmatch(sha256):
                raise FileNotFoundError(sha256)
            return (self.folder / "blobs" / sha256).read_bytes()
        except OSError:
            raise ConfigurationError(f"run {self.run} has no picture {sha256[:12]}…") from None

    def _write_blobs(self, pictures: list[Image]) -> None:
        for image in pictures:
            path = self.folder / "blobs" / image.sha256
            part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:6]}.part")
            part.write_bytes(image.data)
            os.replace(part, path)
            self._stored.add(image.sha256)


def json_line(value: JSON, *, allow_nan: bool = True) -> str:
    """Return the line of a JSONL file for `value`, newline included; it can always be encoded.

    Args:
        value: What the line holds.
        allow_nan: Whether NaN and infinities are written, which other readers than Python refuse.

    Raises:
        ValueError: `value` holds one of these, and `allow_nan` is False.
    """
    line = json.dumps(value, ensure_ascii=False, allow_nan=allow_nan) + "\n"
    try:
        line.encode()
    except UnicodeEncodeError:  # halves of characters, which models and web pages do write
        return json.dumps(value, allow_nan=allow_nan) + "\n"
    return line


def _images(observation: Observation) -> list[Image]:
    own = [] if observation.image is None else [observation.image]
    return [*own, *observation.attachments.values()]


def drop_torn_line(path: Path) -> None:
    """Cut off a last line that was not written whole, so that the next one starts afresh."""
    if not path.exists():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)
