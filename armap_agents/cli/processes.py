"""Running another command as a part of this one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

from armap_agents.errors import ArmapError


async def run_to_end(command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run a command in this terminal and return its exit status; cancelled, end it first.

    Args:
        command: Program and arguments.
        variables: Set on top of the inherited environment.

    Raises:
        ArmapError: The program cannot be started.
    """
    try:
        process = await asyncio.create_subprocess_exec(*command, env=os.environ | dict(variables))
    except OSError as error:
        raise ArmapError(f"cannot run {command[0]}: {error.strerror}") from None
    try:
        return await process.wait()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise
