"""The app that `langgraph.json` mounts: the traces, and the loop's resources while it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from armap_agents.resources import resources
from armap_agents.viewer.server import routes


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    async with resources():
        yield


app = Starlette(routes=routes, lifespan=_lifespan)
