"""A reward model over HTTP, for planners in other processes and on other machines.

``POST /score`` scores trajectories, ``GET /model`` says what serves and what its scores mean,
``GET /health`` that it does. What several clients ask for at once the scorer takes up in one batch;
a trajectory that cannot be scored costs its sender one item. What passes is in `wire`. Every
refusal is one line of JSON, ``{"error": …}``, and no trajectory's text reaches a log.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from armap_agents.errors import ArmapError, ConfigurationError
from armap_agents.reward.wire import (
    Found,
    Limits,
    Output,
    RequestRefused,
    ScoreRequest,
    answer,
    read_key,
    read_request,
)
from armap_agents.trajectory import Trajectory

if TYPE_CHECKING:
    from armap_agents.reward.loaded import LoadedReward

_log = logging.getLogger(__name__)

DEFAULT_LIMITS = Limits()

STOP_SECONDS = 10
"""How long requests that are being answered may take once the server is told to stop."""

Ask = Callable[[Sequence[Trajectory]], Awaitable[Sequence[float]]]


def create_app(
    model: LoadedReward, *, api_key: str | None = None, limits: Limits = DEFAULT_LIMITS
) -> FastAPI:
    """Return the ASGI application that serves a model; the caller closes the model.

    Args:
        model: What scores.
        api_key: What requests must carry as ``Authorization: Bearer …``; `/health` is open.
        limits: What clients may send.
    """
    app = FastAPI(openapi_url=None)
    app.add_exception_handler(RequestRefused, _refusal)
    app.add_exception_handler(HTTPException, _refusal)
    app.add_exception_handler(Exception, _failure)
    guarded = [Depends(_key_check(api_key))]
    scoring = _Scoring(model, limits)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that the server answers."""
        return {"status": "ok"}

    @app.get("/model", dependencies=guarded)
    async def describe() -> dict[str, Any]:
        """Say which model serves, what its scores mean, and how much may be sent at once."""
        return {
            "fingerprint": model.fingerprint,
            "limits": asdict(limits),
            **model.settings.to_dict(),
        }

    @app.post("/score", dependencies=guarded)
    async def score(request: Request) -> Response:
        """Score trajectories; one that cannot be scored is null, with its error beside."""
        scoring.check_room(1)
        try:
            content = await _body(request, limits.body_bytes)
            asked = await asyncio.to_thread(read_request, content, limits)
            found = await _unless_gone(request, scoring.found(asked))
        except ClientDisconnect:
            return Response(status_code=499)  # which nobody will see
        return JSONResponse(answer(model.fingerprint, asked.outputs, found))

    return app


class _Scoring:
    """The requests of all clients before one model."""

    def __init__(self, model: LoadedReward, limits: Limits) -> None:
        self._asks: dict[Output, Ask] = {"score": model.ascore, "value": model.avalue}
        self._limits = limits
        self._waiting = 0

    def check_room(self, count: int) -> None:
        """Raise `RequestRefused` if so many more trajectories may not wait."""
        if self._waiting and self._waiting + count > self._limits.waiting:
            raise RequestRefused(429, f"{self._waiting} trajectories wait: try again later")

    async def found(self, asked: ScoreRequest) -> list[Found]:
        """Return what is found of each trajectory; unreadable ones never reach the model."""
        readable = [item for item in asked.trajectories if isinstance(item, Trajectory)]
        self.check_room(len(readable))
        self._waiting += len(readable)
        try:
            # Side by side, so that the scorer reads each trajectory once for both.
            columns = await asyncio.gather(
                *(_isolated(self._asks[output], readable) for output in asked.outputs)
            )
        finally:
            self._waiting -= len(readable)
        scored = (_merged(asked.outputs, row) for row in zip(*columns, strict=True))
        return [
            next(scored) if isinstance(item, Trajectory) else item for item in asked.trajectories
        ]


def _merged(outputs: Sequence[Output], row: Sequence[float | ArmapError]) -> Found:
    found: dict[Output, float] = {}
    for output, number in zip(outputs, row, strict=True):
        if isinstance(number, ArmapError):
            return number
        found[output] = number
    return found


async def _isolated(ask: Ask, batch: Sequence[Trajectory]) -> list[float | ArmapError]:
    """Return each trajectory's number, or the error that it alone raises.

    A batch that fails is asked again in halves, down to the culprit.
    """
    if not batch:
        return []
    try:
        return [_finite(number) for number in await ask(batch)]
    except Exception as error:
        if len(batch) == 1:
            return [_said(error)]
    half = len(batch) // 2
    return [*await _isolated(ask, batch[:half]), *await _isolated(ask, batch[half:])]


def _finite(number: float) -> float | ArmapError:
    return number if isfinite(number) else ArmapError(f"the model's output is {number}")


def _said(error: Exception) -> ArmapError:
    """Return one line on a failure; what foreign errors say may quote the trajectory."""
    if isinstance(error, ArmapError):
        return error
    _log.warning("a trajectory could not be scored: %s", type(error).__name__)
    return ArmapError(f"it could not be scored ({type(error).__name__})")


async def _body(request: Request, limit: int) -> bytes:
    """Read a body of at most `limit` bytes, whatever its header promises."""
    refused = RequestRefused(413, f"the body is too large: send at most {limit} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise refused
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise refused
    return bytes(body)


async def _unless_gone(request: Request, work: Awaitable[list[Found]]) -> list[Found]:
    """Return the work's result, and give it up where the client hangs up before.

    Raises:
        ClientDisconnect: It did.
    """

    async def hung_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = (asyncio.ensure_future(work), asyncio.create_task(hung_up()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise ClientDisconnect
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _key_check(api_key: str | None) -> Callable[[Request], Awaitable[None]]:
    async def check(request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if api_key is not None and not secrets.compare_digest(given, f"Bearer {api_key}".encode()):
            raise RequestRefused(401, "the key is missing or wrong: send Authorization: Bearer KEY")

    return check


_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}


async def _refusal(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)
    assert isinstance(error, RequestRefused)
    return JSONResponse({"error": str(error)}, error.status, _HEADERS.get(error.status))


async def _failure(_: Request, error: Exception) -> Response:
    _log.error("a request failed: %s", type(error).__name__)
    return JSONResponse({"error": f"the server failed ({type(error).__name__})"}, 500)


def serve(
    folder: Path,
    host: str,
    port: int,
    *,
    api_key_env: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    started: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve a model folder until SIGINT or SIGTERM, which end it in good order.

    Args:
        folder: What `armap train` wrote.
        host: Address to listen on; anything but loopback needs a key.
        port: Port to listen on; 0 takes a free one.
        api_key_env: Name of the environment variable that holds the key that clients must send.
        limits: What clients may send.
        started: Is told the server's address once the model is loaded.

    Raises:
        ConfigurationError: The folder is no reward model, the key is missing, or the port is taken.
    """
    import uvicorn

    from armap_agents.reward import load_reward

    api_key = _api_key(api_key_env, host)
    with _listening(host, port) as listening:
        model = load_reward(folder)
        config = uvicorn.Config(
            create_app(model, api_key=api_key, limits=limits),
            log_config=None,
            log_level="critical",  # a traceback's last line may quote what a client sent
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        # uvicorn raises the signal that stopped it once more when all is closed. Being told to
        # stop is how serving ends, no failure.
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signal_number, lambda *_: None)
        started(_origin(listening))
        uvicorn.Server(config).run(sockets=[listening])
        asyncio.run(model.aclose())


def _api_key(name: str | None, host: str) -> str | None:
    if name is None:
        if _is_loopback(host):
            return None
        raise ConfigurationError(
            f"{host} is open to the network: put a key into an environment variable and name that "
            "with --api-key-env"
        )
    return read_key(name)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise ConfigurationError(
            f"{host}:{port} cannot be listened on ({error.strerror}): choose another --port or "
            "--host"
        ) from None


def _origin(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
