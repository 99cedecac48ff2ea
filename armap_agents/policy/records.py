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
        thoughts: Whether a thought is written before each action; see `policy.thoughts`.
    """

    url: str
    model: str
    api_key_env: str | None = None
    style: Literal["chat", "completion"] = "chat"
    timeout: float = 120.0
    retries: int = 3
    max_concurrency: int = 128
    max_tokens: int = 64
    thoughts: bool = False

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
        thought: What it wrote before the action, where thoughts are asked for.
        beginnings: What was chosen on the way to an action of a long list, the verb first.
    """

    action: str
    text: str
    usage: Usage
    constrained: bool
    thought: str | None = None
    beginnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """An action worth trying.

    Attributes:
        action: As the environment takes it.
        prior: Its probability among the proposals of one call, which sum to 1.
        thought: What the policy wrote when it first drew it, where thoughts are asked for.
    """

    action: str
    prior: float
    thought: str | None = None


@dataclass(frozen=True)
class Proposals:
    """Distinct actions for one state.

    Attributes:
        items: In the order in which they were drawn.
        usage: What they cost; where the state's prior was remembered, what that had cost.
    """

    items: tuple[Proposal, ...]
    usage: Usage
