"""One line of progress on a terminal, and a readable log of it everywhere else."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from armap_agents.serving.cache import Report

LOG_SECONDS = 15.0


@contextmanager
def progress_line(console: Console) -> Iterator[Report]:
    """Yield a `Report` that shows its latest line with a spinner until the block ends.

    Where there is no terminal, a line is printed when it says something new, or, if only its
    figures change, every 15 seconds.
    """
    if console.is_terminal:
        with console.status("") as status:
            yield status.update
        return
    printed = ""
    printed_at = 0.0

    def log(line: str) -> None:
        nonlocal printed, printed_at
        words = re.sub(r"\d+|\(.*?\)", "", line)
        now = time.monotonic()
        if words != printed or now - printed_at >= LOG_SECONDS:
            console.print(line, markup=False, highlight=False)
            printed, printed_at = words, now

    yield log
