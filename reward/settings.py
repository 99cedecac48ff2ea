"""What a reward model's folder says about itself, in ``reward.json``; needs no torch.

One model may serve several environments: how trajectories are written, the scale of the scores and
their calibration are each environment's own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from armap_agents.errors import ConfigurationError
from armap_agents.reward.calibration import Calibration
from armap_agents.reward.render import Rendering

SETTINGS = "reward.json"
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class EnvironmentSettings:
    """What a model knows about one environment.

    Attributes:
        rendering: How its trajectories are written.
        mean: Mean score μ of held-out finished training trajectories.
        std: Standard deviation σ of the same scores, above 0.
        calibration: What scores mean as probabilities; None where nothing was held out.

    Raises:
        ValueError: Mean or spread is no number, or the spread not above 0.
    """

    rendering: Rendering
    mean: float = 0.0
    std: float = 1.0
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise ValueError(f"mean {self.mean}, spread {self.std}")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as pure JSON."""
        return asdict(self) | {"rendering": self.rendering.to_dict()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> EnvironmentSettings:
        """Rebuild settings; raises KeyError, TypeError, ValueError or ConfigurationError."""
        calibration = value["calibration"]
        return cls(
            Rendering.from_dict(value["rendering"]),
            float(value["mean"]),
            float(value["std"]),
            None if calibration is None else Calibration(**calibration),
        )


@dataclass(frozen=True)
class Settings:
    """A model folder's ``reward.json``.

    Attributes:
        backbone: Kind, weights, digest and options of the backbone, as `BackboneSpec` has them.
        environments: By registered name; at least one.
        accuracy: Held-out pair accuracy by number of steps, and overall under ``all``; of several
            environments also of each by itself, with its name before both.
        training: Steps, wall and CPU seconds, pairs and parts that training took.
        sources: How many pairs had each label source.
        schema_version: Of this file.
    """

    backbone: dict[str, Any]
    environments: dict[str, EnvironmentSettings]
    accuracy: dict[str, float] = field(default_factory=dict)
    training: dict[str, float] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def of(self, environment: str) -> EnvironmentSettings:
        """Return what is known about an environment; of a foreign one, the first one's rendering.

        Scale and calibration were measured where they belong and say nothing elsewhere.
        """
        known = self.environments
        if environment in known:
            return known[environment]
        return EnvironmentSettings(next(iter(known.values())).rendering)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as pure JSON."""
        environments = {name: known.to_dict() for name, known in self.environments.items()}
        return asdict(self) | {"environments": environments}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Settings:
        """Rebuild settings.

        Raises:
            ConfigurationError: They are of another version or not what `to_dict` returned.
        """
        version = value.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ConfigurationError(
                f"the reward model has schema version {version}, this version reads "
                f"{SCHEMA_VERSION}: train the model again, or update armap-agents"
            )
        try:
            environments = {
                name: EnvironmentSettings.from_dict(item)
                for name, item in value["environments"].items()
            }
            settings = cls(**{**value, "environments": environments})
            named = [type(settings.backbone[key]) for key in ("kind", "weights", "sha256")]
            if not environments or named != [str] * 3:
                raise ValueError("it names no environment or no backbone")
            if not isinstance(settings.backbone["options"], dict):
                raise ValueError("the backbone's options are none")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError(
                f"the reward model's settings are damaged ({error}): train the model again"
            ) from None
        return settings

    @classmethod
    def read(cls, folder: Path) -> Settings:
        """Read a model folder's settings.

        Raises:
            ConfigurationError: The folder is missing, is no reward model, or is damaged.
        """
        path = folder / SETTINGS
        if not folder.is_dir():
            raise ConfigurationError(
                f"there is no reward model in {folder}: train one with `armap train DATA --out "
                f"{folder}`"
            )
        if not path.is_file():
            raise ConfigurationError(
                f"{folder} is not a reward model, it has no {SETTINGS}: give a folder that "
                "`armap train` finished"
            )
        try:
            value = json.loads(path.read_text("utf-8"))
            if not isinstance(value, dict):
                raise TypeError("no JSON object")
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ConfigurationError(
                f"{path} is damaged ({error}): train the model again"
            ) from None
        try:
            return cls.from_dict(value)
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: {error}") from None
