"""What is alive in one event loop: the HTTP client, environment pools, policies, scorers.

Graph nodes find the open `Resources` through the loop they run in, so nothing that is bound to a
loop hides in a module global or a cache, and several `asyncio.run` in one process each get their
own. An application opens them with ``async with resources():``, the LangGraph server with its
lifespan, the command line around each command; leaving closes everything, children included.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from armap_agents.environment import environment_factory, make_environment
from armap_agents.errors import ConfigurationError
from armap_agents.pool import EnvironmentPool

if TYPE_CHECKING:
    from ssl import SSLContext

    import httpx

T = TypeVar("T")

_log = logging.getLogger(__name__)

_open: WeakKeyDictionary[asyncio.AbstractEventLoop, Resources] = WeakKeyDictionary()


@cache
def _authorities() -> SSLContext:
    """Return whose certificates are trusted: 20 ms to read, and of no event loop."""
    import httpx

    return httpx.create_ssl_context()


def runs_folder() -> Path:
    """Return where runs are written: ``$ARMAP_RUNS``, else ``./runs``."""
    return Path(os.environ.get("ARMAP_RUNS", "runs"))


class Resources:
    """Live things, each opened once, found by key, closed together in reverse order.

    Args:
        runs: Folder that runs are written to.
    """

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self._things: dict[tuple[Any, ...], asyncio.Future[Any]] = {}
        self._closers: dict[tuple[Any, ...], Callable[[], Awaitable[None]]] = {}
        self.users = 0
        self._http: httpx.AsyncClient | None = None

    @property
    def http(self) -> httpx.AsyncClient:
        """The one HTTP client of this event loop.

        It speaks through aiohttp: with 32 requests in flight httpx's own transport takes 7 ms of
        CPU a request, aiohttp's 1.3 ms, and that is what bounds rollouts side by side.
        """
        if self._http is None:
            import httpx  # slow to import, and most uses of this module never ask for it
            from httpx_aiohttp import HttpxAiohttpClient

            self._http = HttpxAiohttpClient(
                limits=httpx.Limits(max_connections=0),  # to aiohttp 0 is "no limit", None is 100
                timeout=httpx.Timeout(120.0, connect=10.0),
                verify=_authorities(),
            )
        return self._http

    async def get(
        self,
        key: tuple[Any, ...],
        open_: Callable[[], Awaitable[T]],
        close: Callable[[T], Awaitable[None]] | None = None,
    ) -> T:
        """Return what is open under `key`, opening it if this is the first time it is asked for.

        Concurrent callers wait for the one that opens; if opening fails, each gets its error and
        the next call tries again.

        Args:
            key: Hashable name and options.
            open_: Opens the thing.
            close: Closes it when the resources close.
        """
        if key not in self._things:
            self._things[key] = asyncio.ensure_future(self._open(key, open_, close))
        # Shielded: a cancelled caller must not take the thing from those who wait beside it.
        value: T = await asyncio.shield(self._things[key])
        return value

    async def _open(
        self,
        key: tuple[Any, ...],
        open_: Callable[[], Awaitable[T]],
        close: Callable[[T], Awaitable[None]] | None,
    ) -> T:
        try:
            value = await open_()
        except BaseException:
            self._things.pop(key, None)
            raise
        if close is not None:
            self._closers[key] = partial(close, value)
        return value

    async def drop(self, key: tuple[Any, ...]) -> None:
        """Close what is open under `key`, if anything is."""
        self._things.pop(key, None)
        closer = self._closers.pop(key, None)
        if closer is not None:
            await closer()

    async def pool(self, name: str, options: Mapping[str, Any] | None = None) -> EnvironmentPool:
        """Return the pool of the environment `name` with these options.

        Raises:
            ConfigurationError: No environment has that name.
        """
        chosen = dict(options or {})

        async def open_pool() -> EnvironmentPool:
            await asyncio.to_thread(environment_factory, name)
            return EnvironmentPool(partial(make_environment, name, **chosen))

        key = ("pool", name, json.dumps(chosen, sort_keys=True))
        return await self.get(key, open_pool, EnvironmentPool.aclose)

    async def aclose(self) -> None:
        """Close everything that was opened, the last first."""
        opening = [thing for thing in self._things.values() if not thing.done()]
        for thing in opening:
            thing.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for key in reversed(list(self._closers)):
            try:
                await self.drop(key)
            except Exception:
                _log.warning("closing %s failed", key[0], exc_info=True)
        self._things.clear()
        if self._http is not None:
            await self._http.aclose()
            self._http = None


@asynccontextmanager
async def resources(runs: str | Path | None = None) -> AsyncIterator[Resources]:
    """Open the resources of the running event loop, or share the open ones.

    Whoever leaves last closes them, so that several tasks of one loop may each enter.

    Args:
        runs: Folder that runs are written to; default ``$ARMAP_RUNS``, else ``./runs``.

    Raises:
        ConfigurationError: They are open already with another `runs`.
    """
    loop = asyncio.get_running_loop()
    shared = _open.get(loop)
    if shared is None:
        shared = _open[loop] = Resources(Path(runs) if runs is not None else runs_folder())
    elif runs is not None and Path(runs) != shared.runs:
        raise ConfigurationError(
            f"this event loop's runs go to {shared.runs}: leave `runs` out, or use {shared.runs}"
        )
    shared.users += 1
    try:
        yield shared
    finally:
        shared.users -= 1
        if shared.users == 0:
            del _open[loop]
            await shared.aclose()


def current() -> Resources:
    """Return the running event loop's resources.

    Raises:
        ConfigurationError: None are open.
    """
    found = _open.get(asyncio.get_running_loop())
    if found is None:
        raise ConfigurationError(
            "no resources are open in this event loop: call the graph inside "
            "`async with armap_agents.resources():`"
        )
    return found
