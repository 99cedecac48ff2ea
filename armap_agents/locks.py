"""The lock on a folder that one process at a time may write."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from armap_agents.errors import ConfigurationError


@contextmanager
def only_writer(folder: Path, otherwise: str = "use another folder") -> Iterator[None]:
    """Make the folder and hold it for this process alone; a killed process lets go of it.

    Args:
        folder: The folder.
        otherwise: What errors name as the way out.

    Raises:
        ConfigurationError: Another process is writing it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be written ({error.strerror}): {otherwise}"
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"{folder} is being written by another process: wait for it, or {otherwise}"
            ) from None
        yield
    finally:
        os.close(lock)
