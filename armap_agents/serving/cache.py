"""The cache folder: where pulled models, the vLLM environment and the server logs live.

Two rules keep it trustworthy: what is made there is made under a lock (two commands at once do the
work once), and a folder gets its name only when it is complete (a killed command leaves at most a
`.partial` folder, which the next one removes).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

Report = Callable[[str], None]
"""Receives one line of progress at a time; each line replaces the one before it."""


def silent(line: str) -> None:
    """The `Report` of callers that show no progress."""


def cache_folder() -> Path:
    """Return `$ARMAP_CACHE`, by default `~/.cache/armap-agents`; the folder need not exist yet."""
    return Path(os.environ.get("ARMAP_CACHE") or "~/.cache/armap-agents").expanduser().absolute()


def _lock_file(name: str) -> TextIO:
    path = cache_folder() / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w")


@contextmanager
def try_lock(name: str) -> Iterator[bool]:
    """Hold the lock `name` for the block and yield True, or yield False if another holds it.

    The kernel frees the lock when its holder dies, however it dies.
    """
    with _lock_file(name) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextmanager
def lock(name: str, report: Report = silent) -> Iterator[None]:
    """Hold the lock `name` for the block, waiting for another command that holds it."""
    with _lock_file(name) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"waiting for another command that prepares {name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def complete_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `target` if the block succeeds and is removed if not.

    Call it under the target's `lock`: leftovers of a killed command are removed first.
    """
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
