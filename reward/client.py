"""Reward models behind an address, with the members of those in-process.

`open_client` finds out what answers there: the server of `armap serve reward`, or a vLLM server
(`vllm`). Large batches are cut into requests, several of which are in flight at once, so that one
is read while another is scored.
"""

from __future__ import annotations

import asyncio
import math
import os
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx

from armap_agents.errors import ArmapError
from armap_agents.reward.endpoint import PATIENCE_SECONDS, Endpoint
from armap_agents.reward.loaded import LoadedReward, require_torch
from armap_agents.reward.settings import Settings
from armap_agents.reward.wire import KEY_VARIABLE, MIB, Limits, Output, request_body, written
from armap_agents.trajectory import Trajectory

IN_FLIGHT = 4
"""Requests of one batch that are sent at once: one is scored, one waits, the others travel."""

TRAJECTORIES = 64
"""In a request."""

BODY_BYTES = 8 * MIB
"""Size at which a request is full."""

T = TypeVar("T")


def open_client(
    url: str, *, api_key_env: str | None = None, patience: float = PATIENCE_SECONDS
) -> LoadedReward:
    """Return the reward model that a server serves.

    Args:
        url: The server's address.
        api_key_env: Name of the environment variable that holds the key; default: what
            ``ARMAP_REWARD_API_KEY_ENV`` names.
        patience: Seconds for which requests to a server that is gone or busy are tried again.

    Raises:
        ConfigurationError: The address is none, the key is missing, or a vLLM server answers and
            torch, which its client needs, is not installed.
        ArmapError: Nobody answers there, the key is refused, or it serves no reward model.
    """
    endpoint = Endpoint(url, api_key_env or os.environ.get(KEY_VARIABLE), patience)
    status, described = endpoint.get("/model")
    if status == httpx.codes.OK and isinstance(described, dict) and "fingerprint" in described:
        return RemoteReward(endpoint, described)
    _, served = endpoint.get("/v1/models")
    if isinstance(served, dict) and served.get("data"):
        require_torch()
        from armap_agents.reward.vllm import open_vllm

        return open_vllm(endpoint, served["data"])
    raise endpoint.error(
        f"is none (GET /model answers {status})",
        "give the address of `armap serve reward`, or of a vLLM server",
    )


class ServedReward(LoadedReward):
    """A reward model behind an address.

    Args:
        settings: What the model says about itself.
        fingerprint: Digest of settings and weights.
    """

    def __init__(self, settings: Settings, fingerprint: str) -> None:
        super().__init__(settings)
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> str:
        """Digest of settings and weights: scores under one fingerprint are comparable."""
        return self._fingerprint

    @abstractmethod
    async def _ask(self, trajectories: Sequence[Trajectory], output: Output) -> list[float]:
        """Return one number for each trajectory."""

    async def ascore(self, trajectories: Sequence[Trajectory]) -> list[float]:
        """Score a batch of any size, in order; higher is better, the scale is the model's own.

        Raises:
            ArmapError: The server is gone for good, refuses, or cannot score one of them.
        """
        return await self._ask(list(trajectories), "score")

    async def avalue(self, prefixes: Sequence[Trajectory]) -> list[float]:
        """Return each prefix's chance, 0 to 1, that a random continuation succeeds.

        Raises:
            ArmapError: The server is gone for good, refuses, or cannot value one of them.
        """
        return await self._ask(list(prefixes), "value")

    def score(self, trajectories: Sequence[Trajectory]) -> list[float]:
        """Score and wait."""
        return _waited(self.ascore(trajectories))

    def value(self, prefixes: Sequence[Trajectory]) -> list[float]:
        """Return what `avalue` returns and wait."""
        return _waited(self.avalue(prefixes))

    async def aclose(self) -> None:
        """Do nothing: connections are the event loop's."""


class RemoteReward(ServedReward):
    """What `armap serve reward` serves.

    Args:
        endpoint: The server.
        described: What its ``/model`` answered.

    Raises:
        ConfigurationError: The server is of another version.
        ArmapError: The answer is no description of a model.
    """

    def __init__(self, endpoint: Endpoint, described: dict[str, Any]) -> None:
        self._endpoint = endpoint
        try:
            self._limits = Limits(**described.pop("limits"))
            fingerprint = str(described.pop("fingerprint"))
        except (KeyError, TypeError, ValueError):
            raise self._nonsense() from None
        super().__init__(Settings.from_dict(described), fingerprint)

    async def _ask(self, trajectories: Sequence[Trajectory], output: Output) -> list[float]:
        size = min(TRAJECTORIES, self._limits.trajectories)
        async with self._endpoint.opened() as http:

            async def ask(batch: Sequence[Trajectory]) -> list[float]:
                items = await asyncio.to_thread(self._written, batch)
                numbers: list[float] = []
                for body, count in self._bodies(items, output):
                    self._check_size(body)
                    answer = await self._endpoint.post(http, "/score", body)
                    part = batch[len(numbers) : len(numbers) + count]
                    numbers += self._numbers(answer, f"{output}s", part)
                return numbers

            return await in_batches(ask, trajectories, size)

    def _written(self, batch: Sequence[Trajectory]) -> list[bytes]:
        items = []
        for trajectory in batch:
            rendering = self.settings.of(trajectory.task.environment).rendering
            items.append(written(trajectory, images=rendering.images))
        return items

    def _bodies(self, items: Sequence[bytes], output: Output) -> Iterator[tuple[bytes, int]]:
        """Yield requests with the number of trajectories in each; pictures fill one early."""
        full = min(BODY_BYTES, self._limits.body_bytes // 2)
        first = size = 0
        for i, item in enumerate(items):
            if i > first and size + len(item) > full:
                yield request_body(items[first:i], [output]), i - first
                first, size = i, 0
            size += len(item)
        yield request_body(items[first:], [output]), len(items) - first

    def _check_size(self, body: bytes) -> None:
        """Refuse what the server would cut off in the middle."""
        if len(body) > self._limits.body_bytes:
            raise self._endpoint.error(
                f"takes {self._limits.body_bytes} bytes, a trajectory has {len(body)}",
                "start it with a greater --max-body",
            )

    def _numbers(self, answer: Any, name: str, batch: Sequence[Trajectory]) -> list[float]:
        """Return an answer's numbers once it is sure that they mean what they should."""
        try:
            fingerprint, numbers, errors = answer["fingerprint"], answer[name], answer["errors"]
            failed = [(batch[e["index"]].id, " ".join(str(e["error"]).split())) for e in errors]
            found = [] if failed else [float(number) for number in numbers]
        except (KeyError, TypeError, ValueError, IndexError):
            raise self._nonsense() from None
        if fingerprint != self.fingerprint:
            raise self._endpoint.error(
                "serves another model than before", "start the command again, or that model"
            )
        if failed:
            trajectory, line = failed[0]
            named = line if trajectory in line else f"trajectory {trajectory}: {line}"
            raise ArmapError(f"the reward server at {self._endpoint.url} cannot score {named}")
        if len(found) != len(batch) or not all(map(math.isfinite, found)):
            raise self._nonsense()
        return found

    def _nonsense(self) -> ArmapError:
        return self._endpoint.error(
            "answered what is no score", "run the same armap-agents on both sides"
        )


async def in_batches(
    ask: Callable[[Sequence[Trajectory]], Awaitable[list[float]]],
    trajectories: Sequence[Trajectory],
    size: int,
) -> list[float]:
    """Return what is answered to batches of at most `size`, several asked at once, in order.

    The first failure ends them all.
    """
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def ask_in_turn(batch: Sequence[Trajectory]) -> list[float]:
        async with slots:
            return await ask(batch)

    starts = range(0, len(trajectories), size)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(ask_in_turn(trajectories[start : start + size]))
                for start in starts
            ]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [number for task in tasks for number in task.result()]


def _waited(work: Coroutine[Any, Any, T]) -> T:
    """Run in an event loop of its own, on a thread of its own: the caller's may be running."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
