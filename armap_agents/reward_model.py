"""The RewardModel protocol and the registry of scorers.

A reward model maps trajectories, finished or not, to numbers: higher is better, the scale is its
own. Anything that keeps the protocol can score: the trained models of `armap_agents.reward`, a
function (`register_reward` with `FunctionReward`), a judge prompt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import Protocol, runtime_checkable

from armap_agents.errors import ConfigurationError
from armap_agents.trajectory import Trajectory


@runtime_checkable
class RewardModel(Protocol):
    """Scores trajectories.

    Optional member: ``probability(scores: list[float]) -> list[float]``, the calibrated chance of
    success. An optional ``async aclose()`` is awaited when the event loop's resources close.
    """

    @property
    def fingerprint(self) -> str:
        """Identifies weights and settings; scores under one fingerprint are comparable."""
        ...

    async def ascore(self, trajectories: list[Trajectory]) -> list[float]:
        """Score a batch of any size, in order."""
        ...


RewardFactory = Callable[[], RewardModel]
ScoreFunction = Callable[[Trajectory], float | Awaitable[float]]

_factories: dict[str, RewardFactory] = {}


class FunctionReward:
    """A function from a trajectory to a number, as a RewardModel.

    Args:
        function: Takes one trajectory, returns its score or an awaitable of it.
        fingerprint: Names the function and its version; scores are cached under it.
    """

    def __init__(self, function: ScoreFunction, fingerprint: str) -> None:
        self._function = function
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> str:
        """The name it was made with."""
        return self._fingerprint

    async def ascore(self, trajectories: Sequence[Trajectory]) -> list[float]:
        """Score each trajectory with the function."""
        scores = []
        for trajectory in trajectories:
            value = self._function(trajectory)
            scores.append(float(await value if isawaitable(value) else value))
        return scores


def register_reward(name: str, factory: RewardFactory) -> None:
    """Let `reward=name` in a planner's context mean the scorer that ``factory()`` returns."""
    _factories[name] = factory


def registered_reward(name: str) -> RewardModel | None:
    """Return a new scorer registered under `name`, or None where there is none.

    Raises:
        ConfigurationError: The factory returned something that cannot score.
    """
    factory = _factories.get(name)
    if factory is None:
        return None
    model = factory()
    if not isinstance(model, RewardModel):
        raise ConfigurationError(
            f"reward {name!r} needs `fingerprint` and `async ascore(trajectories)`: "
            "wrap a plain function in FunctionReward(function, name)"
        )
    return model
