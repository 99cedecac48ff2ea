"""What a data folder is made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from armap_agents.trajectory import JSON


@dataclass(frozen=True)
class GenerateConfig:
    """What a data folder is made with; the same configuration, `pairs` aside, goes on with it.

    Attributes:
        pairs: Whole tasks are added until there are so many.
        seed: Seeds everything random.
        policy_model: Name of the policy's model, None without one.
        writer_model: Name of the model that words instructions and intents and writes negatives.
        policy_share: Share of the episodes that the policy plays.
        uniform_share: Share that uniform random actions play; what is left follows intents.
        temperatures: Lowest and highest of the policy, drawn between for each episode.
        written_share: Share of the instructions that the writer words.
        llm_share: Share of the good trajectories that get a negative by an LLM: with a wrong action
            picked by the policy, or a whole failing counterpart written by the writer.
        constraints: How many things an instruction asks for; None draws.
        episodes: Explored at each visit to a task.
        negatives: Wanted per good trajectory, or per depth of it where each depth is paired: half
            of them with something done wrong, half of them other episodes.
        partial_share: Share of the pairs of whole trajectories that prefixes are paired of as well.
        values: Prefixes of a good trajectory, and of one that is worse, that get a value.
        continuations: K for each value; None takes the domain's.
        options: Of the environment.
    """

    pairs: int = 2000
    seed: int = 0
    policy_model: str | None = None
    writer_model: str | None = None
    policy_share: float = 0.1
    uniform_share: float = 0.3
    temperatures: tuple[float, float] = (0.5, 1.2)
    written_share: float = 0.2
    llm_share: float = 0.2
    constraints: int | None = None
    episodes: int = 8
    negatives: int = 4
    partial_share: float = 0.25
    values: int = 2
    continuations: int | None = None
    options: Mapping[str, JSON] = field(default_factory=dict)
