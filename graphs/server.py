"""The app that `langgraph.json` mounts: traces, resources while it runs, and stricter requests.

The LangGraph server drops unknown keys of a context without a word, so that a run with a misspelt
budget would go on with the default, and finds other faults only when the run has begun. Here such
a request is refused, in one line, before it starts or stores anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid5

from httpx import HTTPError
from langgraph_sdk import get_client
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from armap_agents.errors import ArmapError
from armap_agents.graphs import PLANNERS
from armap_agents.graphs.checking import checked_context, checked_task
from armap_agents.resources import resources
from armap_agents.viewer.server import routes

_CHECKED = {
    "POST": re.compile(
        r"/(?:assistants|runs|runs/(?:wait|stream|batch|crons)|threads/[^/]+/commands)$"
    ),
    "PATCH": re.compile(r"/(?P<kind>assistants|runs/crons)/(?P<id>[^/]+)$"),
}
"""Paths that start runs, now or later, or store a context for them."""

_NAMESPACE = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
"""Of the ids that the LangGraph server gives to the assistants which it makes of graphs."""

_OURS = {*PLANNERS, *(str(uuid5(_NAMESPACE, name)) for name in PLANNERS)}
"""Assistants whose context is a `PlannerContext`; other graphs of the server have their own."""

_PLUMBING = re.compile(
    r"__|langgraph_|(?:thread|run|graph|assistant|user|cron|checkpoint)_id$|checkpoint_(?:ns|map)$"
)
"""Keys of ``config.configurable`` that are LangGraph's own; the others are a context's."""


class CheckedRequests:
    """Middleware: refuses requests for a planner whose context or task it could not work with."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._graphs: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        checked = _CHECKED.get(scope["method"]) if scope["type"] == "http" else None
        path = checked and checked.search(scope["path"])
        if path is None:
            await self._app(scope, receive, send)
            return
        self._graphs.pop(path.groupdict().get("id", ""), None)  # it may get another one
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        line = await self._fault(path, b"".join(m.get("body", b"") for m in messages))
        if line is not None:
            await JSONResponse({"detail": line}, 422)(scope, receive, send)
            return

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, again, send)

    async def _fault(self, path: re.Match[str], body: bytes) -> str | None:
        """Return what is wrong with a request, None where nothing is or it is not ours to judge."""
        try:
            asked = json.loads(body)
        except ValueError:
            return None  # the server itself says so
        for one in asked if isinstance(asked, list) else [asked]:
            # A command of the event stream wraps what the other paths take as it is.
            request = one.get("params", one) if isinstance(one, dict) else None
            if not isinstance(request, dict):
                continue
            line = _wrong_with(request)
            # To whom it goes is looked up last: most requests are in order, and cost nothing here.
            if line is not None and await self._is_ours(path, request):
                return line
        return None

    async def _is_ours(self, path: re.Match[str], request: Mapping[str, Any]) -> bool:
        """Whether a request is for one of the planners, by whatever assistant."""
        assistant = request.get("assistant_id") or request.get("graph_id")
        if assistant in _OURS:
            return True
        try:
            return await self._graph(assistant or await _patched(path)) in PLANNERS
        except HTTPError:
            return False  # there is none: the server itself says so

    async def _graph(self, assistant: str | None) -> str | None:
        """Return the graph of an assistant, from the server where it is asked for first."""
        if assistant is not None and assistant not in self._graphs:
            async with get_client() as client:  # this very server, without a socket
                self._graphs[assistant] = (await client.assistants.get(assistant))["graph_id"]
        return self._graphs.get(assistant or "")


async def _patched(path: re.Match[str]) -> str | None:
    """Return the assistant that a change of itself or of its cron job is about."""
    kind, changed = (path.groupdict().get(name) for name in ("kind", "id"))
    if kind == "runs/crons":
        async with get_client() as client:
            changed = (await client.http.get(f"/runs/crons/{changed}"))["assistant_id"]
    return changed


def _wrong_with(request: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a request's context or input, in one line."""
    config = request.get("config")
    configurable = config.get("configurable") if isinstance(config, dict) else None
    try:
        if isinstance(context := request.get("context"), dict):
            checked_context(context)
        if isinstance(configurable, dict):
            own = {key: configurable[key] for key in configurable if not _PLUMBING.match(key)}
            checked_context(own)
        if request.get("input") is not None:
            checked_task(request["input"])
    except ArmapError as error:
        return str(error)
    return None


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    async with resources():
        yield


app = Starlette(routes=routes, lifespan=_lifespan, middleware=[Middleware(CheckedRequests)])
