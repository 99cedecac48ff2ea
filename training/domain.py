"""What generation must know about an environment beyond its protocol, and where to find it."""

from __future__ import annotations

from typing import Protocol

from armap_agents.errors import ConfigurationError
from armap_agents.reward.render import Rendering
from armap_agents.training.explore import Continuations
from armap_agents.trajectory import Task, Trajectory

DOMAINS = ("game24",)
"""Environments that data can be generated for."""


class Domain(Protocol):
    """What generation must know about an environment beyond its protocol.

    Nothing here may use gold paths, hidden goals or true scores; rules and checks on executed
    episodes are allowed.
    """

    environment: str
    rendering: Rendering

    def tasks(self) -> list[Task]:
        """List the tasks that may be explored: none that any evaluation uses."""
        ...

    def fulfils(self, trajectory: Trajectory, text: str) -> bool:
        """Whether a finished trajectory fulfils an instruction."""
        ...

    def template(self, trajectory: Trajectory) -> str | None:
        """Return an instruction that a finished trajectory fulfils, None if there is none."""
        ...

    def grounded(self, trajectory: Trajectory, text: str) -> bool:
        """Whether a written instruction says what the trajectory did."""
        ...

    def continuations(self, prefix: Trajectory, text: str, count: int, seed: int) -> Continuations:
        """Play uniformly random continuations of a prefix; success fulfils the instruction."""
        ...


def domain(environment: str) -> Domain:
    """Return what data generation knows about an environment.

    Raises:
        ConfigurationError: It knows nothing about this one.
    """
    if environment not in DOMAINS:
        raise ConfigurationError(
            f"there is no data generator for {environment!r}: use one of {', '.join(DOMAINS)}"
        )
    from armap_agents.training.game24 import Game24Domain

    return Game24Domain()
