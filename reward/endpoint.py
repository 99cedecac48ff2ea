"""Requests to a server that scores: its address, its key, patience, and one line for each failure.

Nothing here is bound to an event loop: requests go through the loop's own HTTP client, and where
none is open through one that is opened for the call.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from armap_agents.errors import ArmapError
from armap_agents.resources import resources
from armap_agents.reward.wire import KEY_VARIABLE, check_address, read_key

if TYPE_CHECKING:
    from armap_agents.trajectory import JSON

PATIENCE_SECONDS = 60.0
"""How long a server that refuses or is gone is tried again."""

ANSWER_SECONDS = 600.0
"""How long a server may compute: a large model on a CPU takes minutes for a batch."""

CONNECT_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0

BUSY = (429, 502, 503, 504)
"""Statuses that pass."""

START = "start one with `armap serve reward MODEL`, or give its address"


class Endpoint:
    """A server that scores.

    Args:
        url: Its address.
        api_key_env: Name of the variable that holds the key; None sends none.
        patience: Seconds for which a request that fails on the way is tried again.

    Raises:
        ConfigurationError: The address is none, or holds a secret.
    """

    def __init__(self, url: str, api_key_env: str | None, patience: float) -> None:
        check_address(url)
        self.url = url.rstrip("/").removesuffix("/v1")
        self._key_name = api_key_env
        self._patience = patience

    def get(self, path: str) -> tuple[int, JSON]:
        """Ask once, blocking, and return status and JSON; None for what is no JSON.

        Raises:
            ArmapError: Nobody answers, or the key is refused.
        """
        try:
            response = httpx.get(self.url + path, headers=self._headers(), timeout=CONNECT_SECONDS)
        except httpx.TransportError:
            raise self.error("cannot be reached", START) from None
        except httpx.DecodingError:
            raise self.error("answers what cannot be read", START) from None
        self._check_key(response.status_code)
        return response.status_code, _json(response)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[httpx.AsyncClient]:
        """Open the event loop's HTTP client for a block, or share the open one."""
        async with resources() as opened:
            yield opened.http

    async def post(
        self, http: httpx.AsyncClient, path: str, body: bytes, *, cure: str = "see its log"
    ) -> JSON:
        """Send a request until it is answered, and return the JSON.

        Args:
            http: From `opened`.
            path: Of the request.
            body: JSON.
            cure: What helps if the server refuses the request.

        Raises:
            ArmapError: It was refused, or could not be sent for as long as patience lasts.
        """
        started = time.monotonic()
        pause = FIRST_PAUSE
        while True:
            what, asked = "cannot be reached", None
            try:
                response = await self._sent(http, path, body)
            except httpx.ReadTimeout:  # sent again, it would take as long
                raise self.error(
                    f"did not answer within {ANSWER_SECONDS:g} s", "is it hanging, or too slow?"
                ) from None
            except httpx.DecodingError:
                raise self.error("answers what cannot be read", cure) from None
            except httpx.TransportError:
                pass  # The loop is the handling.
            else:
                if response.status_code not in BUSY:
                    return self._answer(response, cure)
                what = f"answers {response.status_code}"
                asked = response.headers.get("retry-after")
            waited = time.monotonic() - started
            if waited >= self._patience:
                raise self.error(
                    f"{what}, tried for {waited:.0f} s", "start it again, then go on with --resume"
                )
            wait = _seconds(asked) or pause * random.uniform(0.5, 1.0)
            await asyncio.sleep(min(wait, self._patience - waited))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _sent(self, http: httpx.AsyncClient, path: str, body: bytes) -> httpx.Response:
        import aiohttp

        headers = {"Content-Type": "application/json", **self._headers()}
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, pool=None)
        try:
            return await http.post(self.url + path, content=body, headers=headers, timeout=timeout)
        except aiohttp.ClientError as error:  # those that the transport does not translate
            raise httpx.TransportError(type(error).__name__) from error

    def _answer(self, response: httpx.Response, cure: str) -> JSON:
        self._check_key(response.status_code)
        value = _json(response)
        if response.status_code != httpx.codes.OK:
            if response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
                cure = "raise its limits, see `armap serve reward --help`"
            raise self.error(f"answered {response.status_code}{self._said(value)}", cure)
        return value

    def _check_key(self, status: int) -> None:
        if status in (401, 403):
            name = self._key_name
            cure = f"check the key in ${name}" if name else f"name its variable in {KEY_VARIABLE}"
            raise self.error("refuses the key", cure)

    def _headers(self) -> dict[str, str]:
        if self._key_name is None:
            return {}
        # As it is now: it may be renewed while a search runs.
        return {"Authorization": f"Bearer {read_key(self._key_name)}"}

    def _said(self, value: JSON) -> str:
        """Return what an error's JSON says, as one short line without the key."""
        said = value.get("error") if isinstance(value, dict) else None
        if isinstance(said, dict):  # as OpenAI and vLLM have it
            said = said.get("message")
        if not isinstance(said, str):
            return ""
        line = " ".join(said.split())
        if self._key_name is not None:
            line = line.replace(read_key(self._key_name), "***")
        return f", {line[:300]!r}"

    def error(self, what: str, cure: str) -> ArmapError:
        """Return the error of one line that says what the server does and what helps."""
        return ArmapError(f"the reward server at {self.url} {what}: {cure}")


def _json(response: httpx.Response) -> Any:
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None


def _seconds(header: str | None) -> float | None:
    """Read a Retry-After header; one that holds a date counts as none."""
    return float(header) if header and header.isdecimal() else None
