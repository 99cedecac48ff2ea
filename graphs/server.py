"""The app that `langgraph.json` mounts: opens the event loop's resources while the server runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from armap_agents.resources import resources


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    async with resources():
        yield


app = Starlette(lifespan=_lifespan)
