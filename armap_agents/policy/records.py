"""What goes into a policy and comes out of it: its address, answers, proposals, failures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from armap_agents.errors import ConfigurationError, PolicyError
from armap_agents.usage import Usage


@dataclass(frozen=True)
class PolicyConfig:
    """Where the policy is and how it is asked; plain values, no secret among them.

    Attributes:
        url: Base URL, such as ``http://127.0.0.1:8000/v1``.
        model: A name that the endpoint serves.
        api_key_env: Name of the environment variable that holds the key; None where none is needed.
        style: ``completion`` for base models, which have no chat template.
        timeout: Seconds that a server may be silent before a try is given up.
        retries: Further tries after a failure that may pass.
        max_concurrency: Requests in flight at once.
        max_tokens: Tokens of a free-text action; under a constraint its longest action counts.
    """

    url: str
    model: str
    api_key_env: str | None = None
    style: Literal["chat", "completion"] = "chat"
    timeout: float = 120.0
    retries: int = 3
    max_concurrency: int = 128
    max_tokens: int = 64

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"{self.url!r} is no policy address: use one like http://127.0.0.1:8000/v1"
            )
        if self.style not in ("chat", "completion"):
            raise ConfigurationError(f"policy style {self.style!r}: use chat or completion")
        if self.max_concurrency < 1:
            raise ConfigurationError("max_concurrency must be at least 1")


class PolicyFailure(PolicyError):
    """A call that failed for good.

    Attributes:
        usage: What it cost all the same, the failure included.
    """

    def __init__(self, message: str, usage: Usage) -> None:
        super().__init__(message)
        self.usage = usage


@dataclass(frozen=True)
class Answer:
    """One sampled action.

    Attributes:
        action: As the environment takes it.
        text: What the model wrote last.
        usage: What it cost, repairs included.
        constrained: Whether the server was asked to sample valid actions alone, and did.
    """

    action: str
    text: str
    usage: Usage
    constrained: bool


@dataclass(frozen=True)
class Proposal:
    """An action worth trying.

    Attributes:
        action: As the environment takes it.
        prior: Its probability among the proposals of one call, which sum to 1.
    """

    action: str
    prior: float


@dataclass(frozen=True)
class Proposals:
    """Distinct actions for one state.

    Attributes:
        items: In the order in which they were drawn.
        usage: What they cost; where the state's prior was remembered, what that had cost.
    """

    items: tuple[Proposal, ...]
    usage: Usage
