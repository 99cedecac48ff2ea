"""Where an environment works while data is generated, and what replaces one that dies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from armap_agents.environment import Environment


async def in_thread(work: Callable[[], None]) -> None:
    """Do what blocks in a thread, to its end even if interrupted."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await working
        raise


class Seat:
    """A place for one environment; another one takes it when its process dies.

    Args:
        make: Makes an environment; called in a thread, since a constructor may read files.
    """

    def __init__(self, make: Callable[[], Environment]) -> None:
        self._make = make
        self._environment: Environment | None = None

    async def environment(self) -> Environment:
        """Return the environment that sits here."""
        if self._environment is None:
            await in_thread(self._take_place)
        assert self._environment is not None
        return self._environment

    def _take_place(self) -> None:
        self._environment = self._make()

    async def close(self) -> None:
        """Close the environment; a dead one may fail to, which must not hide what killed it."""
        environment, self._environment = self._environment, None
        if environment is not None:
            with contextlib.suppress(Exception):
                await environment.close()
