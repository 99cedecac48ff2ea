"""The app that `langgraph.json` mounts: traces, resources while it runs, and stricter contexts.

The LangGraph server drops unknown keys of a context without a word, and a run with a misspelt
budget would go on with the default; here such a request is refused before it starts anything.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid5

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from armap_agents.graphs import PLANNERS
from armap_agents.graphs.context import PlannerContext
from armap_agents.resources import resources
from armap_agents.viewer.server import routes

_RUNS = ("/runs", "/runs/wait", "/runs/stream")
"""Endings of the paths that start runs."""

_NAMESPACE = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
"""Of the ids that the LangGraph server gives to the assistants which it makes of graphs."""

_OURS = {*PLANNERS, *(str(uuid5(_NAMESPACE, name)) for name in PLANNERS)}
"""Assistants whose context is a `PlannerContext`; other graphs of the server have their own."""


class KnownContext:
    """Middleware: refuses to start a run whose context has a key that no planner knows."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        starts = scope["type"] == "http" and scope["method"] == "POST"
        if not starts or not scope["path"].endswith(_RUNS):
            await self._app(scope, receive, send)
            return
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        unknown = _unknown_keys(b"".join(message.get("body", b"") for message in messages))
        if unknown:
            known = ", ".join(PlannerContext.model_fields)
            line = f"no option of the context is called {', '.join(unknown)}: use {known}"
            await JSONResponse({"detail": line}, 422)(scope, receive, send)
            return

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, again, send)


def _unknown_keys(body: bytes) -> list[str]:
    try:
        run = json.loads(body)
        context = run["context"] if run["assistant_id"] in _OURS else {}
        return sorted(context.keys() - PlannerContext.model_fields.keys())
    except (ValueError, KeyError, TypeError, AttributeError):
        return []  # not ours to judge: the server itself says what is wrong


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    async with resources():
        yield


app = Starlette(routes=routes, lifespan=_lifespan, middleware=[Middleware(KnownContext)])
