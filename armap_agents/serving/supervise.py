"""Runs one command so that nothing of it outlives the process that asked for it.

A program of its own, without imports from the project:
`python supervise.py [--terminal] PARENT_PID COMMAND…`. vLLM is a tree of processes (server, engine,
workers), and a parent killed with SIGKILL can tidy up nothing. So this one stands between: it
becomes the reaper of the whole tree, watches its parent, and when the parent is gone, or on
SIGTERM, it stops the command politely, then kills every descendant that is left, those in other
process groups included. If it is killed itself, the kernel sends the command SIGTERM.

The command gets a session of its own; with `--terminal` it stays in the caller's, so that it can
use the terminal and Ctrl-C reaches it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.2
GRACE_SECONDS = 10.0


def main(parent: int, command: list[str], *, terminal: bool) -> int:
    """Run `command` until it ends, `parent` dies or SIGTERM arrives.

    Returns:
        Its exit status, negative where a signal ended it; 127, as in a shell, if it cannot be run.
    """
    asked_to_stop = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked_to_stop
        asked_to_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        child = subprocess.Popen(  # noqa: S603
            command,
            start_new_session=not terminal,
            preexec_fn=lambda: _prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
        )
    except OSError as error:
        print(f"error: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    while child.poll() is None and not asked_to_stop and os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    _kill_descendants()
    return child.returncode


def _kill_descendants() -> None:
    """Kill what the command left behind; its orphans become children of this process."""
    while orphans := _children(os.getpid()):
        for pid in orphans:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                continue


def _children(parent: int) -> list[int]:
    """Return the ids of the running children of a process, read from /proc."""
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The second field is the program's name in brackets and may hold spaces.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            children.append(int(stat.parent.name))
    return children


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    in_terminal = sys.argv[1] == "--terminal"
    owner, *program = sys.argv[2:] if in_terminal else sys.argv[1:]
    status = main(int(owner), program, terminal=in_terminal)
    sys.exit(status if status >= 0 else 128 - status)
