"""Running another command as a part of this one."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from armap_agents.serving import supervise


async def run_to_end(command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run a command in this terminal; it ends with this process, however that ends.

    Args:
        command: Program and arguments.
        variables: Set on top of the inherited environment.

    Returns:
        Its exit status as a shell has it: 128 + n after signal n, 127 if it cannot be run.
    """
    supervisor = [sys.executable, "-I", str(supervise.__file__), "--terminal", str(os.getpid())]
    process = await asyncio.create_subprocess_exec(
        *supervisor, *command, env=os.environ | dict(variables)
    )
    try:
        return await process.wait()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise
