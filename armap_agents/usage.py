"""What a run costs, counted in the units that every figure of the project uses.

The unit of policy cost is one sampled completion (a request for n counts n; scoring a list of
choices counts one per candidate), reported beside tokens, environment steps, scored states and
seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Usage:
    """Costs that add up.

    Attributes:
        completions: Sampled completions of the policy.
        prompt_tokens: Tokens sent to it, cached ones included.
        completion_tokens: Tokens it wrote.
        environment_steps: Actions taken in environments, replayed ones included.
        scored: Trajectories and prefixes given to the reward model.
        rollouts: Rollouts begun, failed ones included.
        seconds: Time spent, summed over concurrent parts.
        failures: Requests or rollouts that failed for good.
        repairs: Answers that had to be asked for again because no action could be read from them.
    """

    completions: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    environment_steps: int = 0
    scored: int = 0
    rollouts: int = 0
    seconds: float = 0.0
    failures: int = 0
    repairs: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            **{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(self)}
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as pure JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Usage:
        """Rebuild counts; missing ones are 0, unknown ones are ignored (older traces)."""
        return cls(**{f.name: value[f.name] for f in fields(cls) if f.name in value})
