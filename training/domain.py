"""What generation must know about an environment beyond its protocol, and where to find it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from random import Random
from typing import Protocol

from armap_agents.environment import Environment
from armap_agents.errors import ConfigurationError
from armap_agents.reward.render import Rendering
from armap_agents.trajectory import JSON, Task, Trajectory

_GROUP = "armap_agents.domains"

Choose = Callable[[Trajectory], Awaitable[str]]
"""Picks the next action of an open trajectory."""


@dataclass(frozen=True)
class Instruction:
    """What a trajectory is judged against.

    Attributes:
        text: As an agent would be told.
        asks: What it asks for, as the domain understands it: made of what a trajectory showed.
    """

    text: str
    asks: JSON


@dataclass(frozen=True)
class Corruption:
    """A way to do a trajectory's task wrong.

    Attributes:
        kind: What is wrong, such as ``wrong option``; counted in the report.
        actions: Everything to do instead, from the start of the episode.
    """

    kind: str
    actions: tuple[str, ...]


@dataclass(frozen=True)
class Continuations:
    """How executed continuations of a prefix ended.

    Attributes:
        count: K, how many were played.
        total: Sum of their returns, each from 0 to 1.
        example: The actions of the first that returned 1, None without any.
    """

    count: int
    total: float
    example: tuple[str, ...] | None = None


class Domain(Protocol):
    """What generation must know about an environment beyond its protocol.

    Nothing here may use gold paths, hidden goals, hidden fields or true scores; what an agent sees,
    rules that everybody knows, and checks on executed episodes are allowed. A domain whose
    observations show the whole state of a short game may say ``each_depth = True``: its pairs are
    then of prefixes of every depth alike, and every prefix gets a value. One whose instructions
    always ask for one thing may say ``asks_one_thing = True``. One whose environment is
    slow for what only the eye gets may have ``continued_options``: options that come over all
    others where continuations are played, which nobody looks at. One whose instructions say when an
    episode is over, while it explores without such ends, may have ``ends(trajectory, instruction)
    -> int``: after how many steps the instruction would have ended it, at most all of them. One
    whose tasks lead to the same things may have ``group(trajectory) -> str | None``: what an
    episode is about, so that training holds out all of it together. One that leaves out what an
    evaluation asks for may have ``evaluated(trajectory) -> bool``, so that it is counted as such.

    Attributes:
        environment: Its registered name.
        rendering: How its trajectories are written for reward models.
        options: Options of the environment that exploring needs; the user's come over them.
        continuations: K, continuations of a prefix by default.
        example: An instruction in the environment's style, on nothing that is evaluated; shown to
            the LLM that writes instructions.
    """

    environment: str
    rendering: Rendering
    options: Mapping[str, JSON]
    continuations: int
    example: str

    def tasks(self, environment: Environment) -> list[Task]:
        """List the tasks whose openings may be explored: none that any evaluation uses."""
        ...

    def intent(self, opening: Trajectory, rng: Random) -> Choose:
        """Return a chooser that carries out one random intent with what it sees listed.

        It needs no policy and gets somewhere; where it can go no further it acts at random.
        """
        ...

    def instruct(
        self, trajectory: Trajectory, rng: Random, constraints: int | None = None
    ) -> Instruction | None:
        """Return an instruction that an executed trajectory fulfils.

        Args:
            trajectory: A finished one, or one that ran into its limit.
            rng: Draws what is asked for and how it is worded.
            constraints: How many things to ask for at once; None draws.

        Returns:
            None where the trajectory did nothing worth asking for, or what it did may be what an
            evaluation asks for.
        """
        ...

    def grounded(self, text: str, instruction: Instruction) -> bool:
        """Whether a text that an LLM wrote asks for what `instruction` asks, and in its form."""
        ...

    def fulfils(self, trajectory: Trajectory, instruction: Instruction) -> float:
        """Return the share of what is asked for that an executed trajectory did, 1.0 for all."""
        ...

    def corruptions(
        self,
        trajectory: Trajectory,
        instruction: Instruction,
        others: Sequence[Trajectory],
        rng: Random,
    ) -> list[Corruption]:
        """Return ways to fail the instruction that look like the trajectory.

        Args:
            trajectory: Fulfils the instruction.
            instruction: What it fulfils.
            others: Other executed trajectories of the same task, to borrow from.
            rng: Draws among the ways.
        """
        ...

    async def continued(
        self,
        environment: Environment,
        prefix: Trajectory,
        instruction: Instruction,
        count: int,
        rng: Random,
    ) -> Continuations:
        """Play executed continuations of a prefix; a return is what `fulfils` says at the end."""
        ...


DomainFactory = Callable[[], Domain]

_factories: dict[str, DomainFactory] = {}


def register_domain(environment: str, factory: DomainFactory) -> None:
    """Let data be generated for an environment, by what ``factory()`` knows of it.

    Packages can register with an entry point in the group ``armap_agents.domains`` instead.
    """
    _factories[environment] = factory


def has_domain(environment: str) -> bool:
    """Whether data can be generated for an environment."""
    return environment in _factories or environment in entry_points(group=_GROUP).names


def domain(environment: str) -> Domain:
    """Return what data generation knows about an environment.

    Raises:
        ConfigurationError: It knows nothing about this one.
    """
    if environment in _factories:
        return _factories[environment]()
    for point in entry_points(group=_GROUP, name=environment):
        factory: DomainFactory = point.load()
        return factory()
    known = ", ".join(sorted({*entry_points(group=_GROUP).names, *_factories}))
    raise ConfigurationError(
        f"there is no data generator for {environment!r}: use one of {known}, or register yours "
        "with register_domain(environment, factory)"
    )
