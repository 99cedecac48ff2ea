"""What passes between a reward server and its clients: JSON over HTTP, torch-free on both ends.

A request carries trajectories in their own JSON form with pictures inline, and names what is
wanted of them. A client sends what a scorer reads and no more: lists of valid actions and pictures
that the model is not shown are most of a trajectory's bytes. What comes in is checked here, item by
item, so that one bad trajectory costs one item of a batch that other clients share.
"""

from __future__ import annotations

import binascii
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from armap_agents.errors import ArmapError, ConfigurationError
from armap_agents.trajectory import Image, Observation, Trajectory

Output = Literal["score", "value"]
"""``score``: of the whole trajectory. ``value``: chance that a continuation of it succeeds."""

OUTPUTS: tuple[Output, ...] = get_args(Output)

Found = dict[Output, float] | ArmapError
"""What became of a trajectory: each output that was wanted, or why there is none."""

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Attributes:
        body_bytes: Of a request.
        trajectories: In a request.
        image_bytes: Of one picture, encoded as it came.
        waiting: Trajectories of all clients that wait to be scored; a lone request is always taken.

    Raises:
        ValueError: One is no whole number above 0.
    """

    body_bytes: int = 64 * MIB
    trajectories: int = 256
    image_bytes: int = 8 * MIB
    waiting: int = 4096

    def __post_init__(self) -> None:
        if not all(type(limit) is int and limit > 0 for limit in vars(self).values()):
            raise ValueError(f"{self}")


KEY_VARIABLE = "ARMAP_REWARD_API_KEY_ENV"
"""Environment variable with the NAME of the variable that holds the key."""


def is_address(source: str) -> bool:
    """Return whether a reward model's name is the address of a server."""
    return source.lower().startswith(("http://", "https://"))


def check_address(url: str) -> None:
    """Refuse an address that is none, or that may hold a secret, without repeating that.

    Raises:
        ConfigurationError: It is one of these.
    """
    if any(mark in url for mark in "@?#"):
        raise ConfigurationError(
            "a reward server's address holds no password and no query, it is written into traces: "
            f"put the key into a variable and its name into {KEY_VARIABLE}"
        )
    import httpx  # slow to import, and who names no address never asks for it

    try:
        asked = httpx.URL(url)
        # Name resolution refuses what it cannot write so, an empty or a long label.
        asked.raw_host.decode("ascii").encode("idna")
        usable = is_address(url) and bool(asked.host) and urlsplit(url).port != 0
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        raise ConfigurationError(
            f"{url!r} is no reward server's address: use one like http://127.0.0.1:8100"
        )


def read_key(variable: str) -> str:
    """Return the key that an environment variable holds.

    Raises:
        ConfigurationError: It holds none, or what cannot stand in a header.
    """
    key = os.environ.get(variable, "")
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigurationError(
            f"the reward server's key is missing: set the environment variable {variable} to one "
            "of printable ASCII"
        )
    return key


class RequestRefused(ArmapError):
    """A request that no item of which is scored.

    Attributes:
        status: HTTP status of the answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class ScoreRequest:
    """A request that was read.

    Attributes:
        trajectories: Each as it was sent, or the error that it costs its sender.
        outputs: What is wanted of each.
    """

    trajectories: tuple[Trajectory | ArmapError, ...]
    outputs: tuple[Output, ...]


def written(trajectory: Trajectory, *, images: bool) -> bytes:
    """Return what a scorer reads of a trajectory, as JSON.

    Args:
        trajectory: Any.
        images: Whether the model is shown its screenshots.
    """

    def read(observation: Observation) -> Observation:
        return Observation(observation.text, image=observation.image if images else None)

    steps = tuple(
        replace(step, observation=read(step.observation), thought=None) for step in trajectory.steps
    )
    task = replace(trajectory.task, data={}, instruction=None)
    lean = replace(trajectory, task=task, observation=read(trajectory.observation), steps=steps)
    # ASCII, since halves of characters, which web pages do hold, have no encoding of their own.
    return json.dumps(lean.to_dict(inline=True) | {"id": trajectory.id}).encode("ascii")


def request_body(trajectories: Sequence[bytes], outputs: Sequence[Output]) -> bytes:
    """Return a request's body from what `written` returned for each trajectory."""
    head = json.dumps({"outputs": list(outputs)})[:-1].encode()
    return head + b', "trajectories": [' + b",".join(trajectories) + b"]}"


def read_request(body: bytes, limits: Limits) -> ScoreRequest:
    """Read a request's body.

    Raises:
        RequestRefused: It is malformed, or more than the limits allow.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestRefused(400, "the body is not JSON") from None
    items = value.get("trajectories") if isinstance(value, dict) else None
    if not isinstance(items, list):
        raise RequestRefused(
            422, "`trajectories` must be a list of Trajectory.to_dict(inline=True)"
        )
    outputs = value.get("outputs", ["score"])
    if not isinstance(outputs, list) or not outputs or any(o not in OUTPUTS for o in outputs):
        raise RequestRefused(422, f"`outputs` must be a list of {' or '.join(OUTPUTS)}")
    if len(items) > limits.trajectories:
        raise RequestRefused(
            413, f"{len(items)} trajectories are too many: send at most {limits.trajectories}"
        )
    wanted = tuple(output for output in OUTPUTS if output in outputs)
    return ScoreRequest(tuple(_read(item, limits.image_bytes) for item in items), wanted)


def _read(value: Any, image_bytes: int) -> Trajectory | ArmapError:
    try:
        trajectory = Trajectory.from_dict(value)
        if "id" in value:  # errors shall name the sender's, and not the hash of what it sent
            if not isinstance(value["id"], str):
                raise TypeError
            vars(trajectory)["id"] = value["id"]
    except ArmapError as error:
        return error
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error):
        return ArmapError("it is no trajectory: send Trajectory.to_dict(inline=True)")
    for image in _images(trajectory):
        if len(image.data) > image_bytes:
            raise RequestRefused(
                413,
                f"a picture of {len(image.data)} bytes is too large: send at most {image_bytes}",
            )
    return trajectory


def _observations(trajectory: Trajectory) -> list[Observation]:
    return [trajectory.observation, *(step.observation for step in trajectory.steps)]


def _images(trajectory: Trajectory) -> list[Image]:
    return [o.image for o in _observations(trajectory) if o.image is not None]


def answer(fingerprint: str, outputs: Sequence[Output], found: Sequence[Found]) -> dict[str, Any]:
    """Return the answer to a request as JSON: ``scores``, ``values`` and ``errors``.

    Args:
        fingerprint: Of the model that scored.
        outputs: What was wanted.
        found: What became of each trajectory; one that failed has None for every output.
    """
    numbers = {
        f"{output}s": [None if isinstance(item, ArmapError) else item[output] for item in found]
        for output in outputs
    }
    errors = [
        {"index": index, "error": str(item)}
        for index, item in enumerate(found)
        if isinstance(item, ArmapError)
    ]
    return {"fingerprint": fingerprint, **numbers, "errors": errors}
