"""The traces of the runs folder over HTTP, for the LangGraph server's ``http.app``.

``/traces`` lists the runs, ``/traces/{run}`` is the page of one, with pictures by address instead
of embedded. Everything is read only. Files are read in threads: the server's loop must not block.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from armap_agents.errors import ArmapError
from armap_agents.resources import runs_folder
from armap_agents.trace import run_name
from armap_agents.viewer.document import read_document
from armap_agents.viewer.page import (
    content_policy,
    fill,
    page_policy,
    read_picture,
    render_page,
    static_text,
)
from armap_agents.viewer.runs import JOURNAL, RunSummary, list_runs

LISTED = 500
"""Most runs in the list."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


async def list_traces(request: Request) -> Response:
    """Show the runs, newest first."""
    return await asyncio.to_thread(_list_page, runs_folder())


async def show_trace(request: Request) -> Response:
    """Show one run."""
    return await asyncio.to_thread(_trace_page, runs_folder(), request.path_params["run"])


async def show_picture(request: Request) -> Response:
    """Send a picture of a run."""
    return await asyncio.to_thread(
        _picture, runs_folder(), request.path_params["run"], request.path_params["sha256"]
    )


routes: list[Route] = [
    Route("/traces", list_traces),
    Route("/traces/{run}", show_trace),
    Route("/traces/{run}/pictures/{sha256}", show_picture),
]
"""What an application mounts; methods other than GET and HEAD are refused."""


def _list_page(runs: Path) -> Response:
    found, older = list_runs(runs, LISTED)
    style = static_text("list.css")
    more = f"<p>{older:,} older runs are not listed.</p>" if older else ""
    page = fill(
        static_text("list.html"),
        {
            "policy": escape(content_policy(style)),
            "style": style,
            "folder": escape(str(runs)),
            "rows": "".join(map(_row, found)),
            "more": more if found else "<p>No runs yet: <code>armap plan</code> makes one.</p>",
        },
    )
    return _html(page, content_policy(style))


def _row(run: RunSummary) -> str:
    changed = datetime.fromtimestamp(run.changed, UTC)
    objective = "" if run.objective is None else f"{run.objective:.3f}"
    name = escape(run.name)
    return (
        f'<tr><th scope="row"><a href="traces/{name}">{name}</a></th>'
        f'<td><time datetime="{changed.isoformat()}">{changed:%Y-%m-%d %H:%M}</time></td>'
        f"<td><bdi>{escape(run.task)}</bdi>"
        f'<span class="instruction" dir="auto">{escape(run.instruction)}</span></td>'
        f"<td><bdi>{escape(run.planner or '')}</bdi></td>"
        f'<td class="{run.state}">{run.state}</td><td class="number">{objective}</td></tr>\n'
    )


def _trace_page(runs: Path, run: str) -> Response:
    if run_name(run) != run or not (runs / run / JOURNAL).is_file():
        return _plain("There is no such run: /traces lists them.", 404)
    try:
        document = read_document(runs / run)
    except ArmapError as error:
        return _plain(str(error), 422)
    page = render_page(document, lambda sha256: f"{run}/pictures/{sha256}")
    return _html(page, page_policy())


def _picture(runs: Path, run: str, sha256: str) -> Response:
    found = read_picture(runs / run, sha256) if run_name(run) == run else None
    if found is None:
        return _plain("There is no such picture.", 404)
    return Response(found[0], media_type=found[1], headers=_HEADERS)


def _html(page: str, policy: str) -> Response:
    headers = {"Content-Security-Policy": f"{policy}; frame-ancestors 'none'"}
    return HTMLResponse(page, headers=_HEADERS | headers)


def _plain(text: str, status: int) -> Response:
    return PlainTextResponse(text + "\n", status, headers=_HEADERS)
