"""What `load_reward` returns, wherever it computes: scores, and their scale in each environment.

Needs no torch: a model may sit behind an address.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NoReturn

from armap_agents.errors import ConfigurationError
from armap_agents.reward.settings import EnvironmentSettings, Settings
from armap_agents.trajectory import Trajectory


class LoadedReward(ABC):
    """A trained reward model; keeps the `RewardModel` protocol.

    Scores of all environments come from the same weights; mean, spread and calibration are each
    environment's own. A model of one environment has that one's itself, a model of several says
    them through `of`. ``probability`` (the chance of success at each score of a finished
    trajectory) and ``preference`` (the chance that the trajectory with score `a` beats the one with
    score `b`) are members of calibrated models alone: planners ask with hasattr.

    Args:
        settings: What the model says about itself.
    """

    probability: Callable[[Sequence[float]], list[float]]
    preference: Callable[[Any, Any], Any]

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        known = [*settings.environments.values()]
        if len(known) == 1:
            _calibrate(self, known[0])
        elif any(item.calibration for item in known):
            self.probability = self.preference = self._ambiguous

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Digest of settings and weights: scores under one fingerprint are comparable."""

    @abstractmethod
    async def ascore(self, trajectories: Sequence[Trajectory]) -> list[float]:
        """Score a batch of any size, in order; higher is better, the scale is the model's own."""

    @abstractmethod
    async def avalue(self, prefixes: Sequence[Trajectory]) -> list[float]:
        """Return each prefix's chance, 0 to 1, that a random continuation succeeds."""

    @abstractmethod
    def score(self, trajectories: Sequence[Trajectory]) -> list[float]:
        """Score and wait; for scripts, never inside an event loop."""

    @abstractmethod
    def value(self, prefixes: Sequence[Trajectory]) -> list[float]:
        """Return what `avalue` returns and wait; for scripts, never inside an event loop."""

    @abstractmethod
    async def aclose(self) -> None:
        """Give back what scoring needs; scoring afterwards is an error."""

    @property
    def environments(self) -> tuple[str, ...]:
        """Registered names of the environments that it was trained on."""
        return tuple(self.settings.environments)

    @property
    def mean(self) -> float:
        """Mean score μ of held-out finished training trajectories."""
        return self._only.mean

    @property
    def std(self) -> float:
        """Standard deviation σ of the same scores."""
        return self._only.std

    def of(self, environment: str) -> BoundReward:
        """Return the same model with the scale of its scores in an environment.

        One that it was not trained on is read like the first one that it was; its scores have no
        scale (mean 0, spread 1) and no calibration.
        """
        return BoundReward(self, self.settings.of(environment))

    @property
    def _only(self) -> EnvironmentSettings:
        if len(self.settings.environments) > 1:
            self._ambiguous()
        return next(iter(self.settings.environments.values()))

    def _ambiguous(self, *_: Any) -> NoReturn:
        raise ConfigurationError(
            f"this reward model serves {', '.join(self.environments)}, each with a scale of its "
            "own: use `model.of(environment)`"
        )


class BoundReward:
    """A reward model with one environment's mean, spread and calibration.

    Args:
        model: Scores.
        known: What it knows about the environment.

    Attributes:
        mean: Mean score μ of held-out finished training trajectories.
        std: Standard deviation σ of the same scores.
    """

    probability: Callable[[Sequence[float]], list[float]]
    preference: Callable[[Any, Any], Any]

    def __init__(self, model: LoadedReward, known: EnvironmentSettings) -> None:
        self._model = model
        self.mean = known.mean
        self.std = known.std
        _calibrate(self, known)

    @property
    def fingerprint(self) -> str:
        """The model's: its scores are the same for everyone."""
        return self._model.fingerprint

    async def ascore(self, trajectories: Sequence[Trajectory]) -> list[float]:
        """Score a batch of any size, in order; higher is better, the scale is the model's own."""
        return await self._model.ascore(trajectories)

    async def avalue(self, prefixes: Sequence[Trajectory]) -> list[float]:
        """Return each prefix's chance, 0 to 1, that a random continuation succeeds."""
        return await self._model.avalue(prefixes)

    def score(self, trajectories: Sequence[Trajectory]) -> list[float]:
        """Score and wait; for scripts, never inside an event loop."""
        return self._model.score(trajectories)

    def value(self, prefixes: Sequence[Trajectory]) -> list[float]:
        """Return what `avalue` returns and wait; for scripts, never inside an event loop."""
        return self._model.value(prefixes)


def require_torch() -> None:
    """Raise `ConfigurationError` where torch is not installed; in time, before it is imported."""
    if find_spec("torch") is None:
        raise ConfigurationError(
            "trained reward models need torch: install it with `pip install 'armap-agents[reward]'`"
        )


def _calibrate(model: LoadedReward | BoundReward, known: EnvironmentSettings) -> None:
    if known.calibration is not None:
        if known.calibration.slope is not None:
            model.probability = known.calibration.probability
        model.preference = known.calibration.preference
