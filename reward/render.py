"""Trajectories as text for the scorer: one renderer for training and for serving.

What it writes is the instruction and what was seen and done. It never writes whether the episode
ended, why, how many steps are allowed or what the environment thinks of it: success and failure
endings must look alike, or the model learns the ending instead of the deed. How an environment's
trajectories are written is data (`Rendering`), stored in the reward model's folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from armap_agents.errors import ConfigurationError
from armap_agents.trajectory import Trajectory


@dataclass(frozen=True)
class Rendering:
    """How the trajectories of one environment are written.

    Attributes:
        history: ``all`` writes every step; ``newest`` writes the newest observation alone, for
            environments whose observation shows the whole state, where it costs a quarter of the
            tokens and lets equal states share one cached score.
        shorten: Regular expressions with replacements, applied in order to instruction and
            observations; they take out the words that never change.
        max_characters: Budget of the text. The instruction, the opening and the newest steps stay
            whole; the oldest steps lose their observations first, then are counted instead.
    """

    history: Literal["all", "newest"] = "all"
    shorten: tuple[tuple[str, str], ...] = ()
    max_characters: int = 1500

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as pure JSON."""
        return asdict(self) | {"shorten": [list(rule) for rule in self.shorten]}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Rendering:
        """Rebuild settings.

        Raises:
            ConfigurationError: They are not what `to_dict` returned.
        """
        try:
            rules = tuple((str(pattern), str(new)) for pattern, new in value["shorten"])
            for pattern, _ in rules:
                re.compile(pattern)
            history, budget = value["history"], int(value["max_characters"])
            if history not in ("all", "newest"):
                raise ValueError(f"history {history!r}")
        except (KeyError, TypeError, ValueError, re.error) as error:
            raise ConfigurationError(
                f"the reward model's rendering settings are damaged ({error}): train it again"
            ) from None
        return cls(history, rules, budget)


def render(trajectory: Trajectory, rendering: Rendering) -> str:
    """Return a trajectory, finished or not, as the scorer's input text."""
    instruction = _short(trajectory.instruction, rendering)
    if rendering.history == "newest":
        return f"{instruction} : {_short(trajectory.last.text, rendering)}"
    head = f"{instruction} : {_short(trajectory.observation.text, rendering)}"
    left = rendering.max_characters - len(head)
    written: list[str] = []
    for step in reversed(trajectory.steps):
        short = f" ; {step.action}"
        whole = f"{short} ( {_short(step.observation.text, rendering)} )"
        text = whole if len(whole) <= left or not written else short
        if written and len(text) > left:
            written.append(f" ; ( {len(trajectory.steps) - len(written)} earlier steps )")
            break
        written.append(text)
        left -= len(text)
    return head + "".join(reversed(written))


def _short(text: str, rendering: Rendering) -> str:
    for pattern, new in rendering.shorten:
        text = re.sub(pattern, new, text)
    return text
