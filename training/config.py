"""How a reward model is trained; needs no torch, so that the command line can make one at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from armap_agents.errors import ConfigurationError
from armap_agents.training.records import Source
from armap_agents.trajectory import JSON

Loss = Literal["pairwise", "binary"]
"""What scores are trained to be: ``pairwise`` Bradley–Terry, ``binary`` logits of success."""

Centring = Literal["squared", "paper"]
"""How scores are kept around 0: ``squared`` 0.01·mean((r⁺+r⁻)²), ``paper`` 1e-3·|mean(r⁺+r⁻)|."""

DEFAULT_MINUTES = 6.0
"""Wall-clock budget of a training that is given no budget."""


@dataclass(frozen=True)
class TrainConfig:
    """How a reward model is trained; the same configuration resumes a run.

    Attributes:
        backbone: Kind of the backbone: ``minilm``, ``hf-text`` or ``vila``.
        weights: Its weights: the name of a pulled model, or a folder; None for the kind's own.
        options: Of the backbone, such as its LoRA rank.
        minutes: Wall-clock budget of training, evaluations included, over all resumed parts;
            `DEFAULT_MINUTES` where no budget is given at all. Of several budgets the one that is
            used up first ends training.
        cpu_minutes: Budget of CPU time, which other work on the machine does not eat.
        steps: Budget of optimiser steps; reproducible, unlike a time budget.
        rows: Trajectories in a pack, at most. With few minutes more steps beat larger ones.
        positions: Positions of a pack's distinct parts, at most: bounds memory and time.
        accumulate: Packs a step, in each process.
        loss: ``pairwise``, or ``binary`` classification of each trajectory.
        centring: ``squared`` or ``paper``; of the pairwise loss.
        margin: Least difference of scores to aim at, where a pair states none; of the pairwise
            loss.
        value_weight: Weight of the value loss beside the loss on pairs.
        learning_rate: At its peak.
        head_learning_rate: The same for weights that start from nothing, such as the heads; None
            for the same rate.
        warmup: Steps to the peak; a fifth of the budget where that is less.
        clip: Largest gradient norm.
        patience: Evaluations without a better held-out accuracy after which training ends; the
            best weights are kept. None trains to the end and keeps the last ones.
        held_out: Share of each environment's tasks kept from training.
        fraction: Share of the other tasks that is used; smaller shares lie inside larger ones.
        sources: Label sources of the pairs that are used; none named, all.
        images: Whether screenshots are shown; None where the backbone is made for them.
        knowledge: Patterns and texts, added to every environment's rendering.
        checkpointing: Recompute activations in the backward pass: slower, with less memory.
        seed: Seeds initialisation and order.

    Raises:
        ConfigurationError: There is a margin, and the loss has none.
    """

    backbone: str = "minilm"
    weights: str | None = None
    options: Mapping[str, JSON] = field(default_factory=dict)
    minutes: float | None = None
    cpu_minutes: float | None = None
    steps: int | None = None
    rows: int = 32
    positions: int = 4096
    accumulate: int = 1
    loss: Loss = "pairwise"
    centring: Centring = "squared"
    margin: float = 0.0
    value_weight: float = 1.0
    learning_rate: float = 5e-4
    head_learning_rate: float | None = None
    warmup: int = 100
    clip: float = 1.0
    patience: int | None = None
    held_out: float = 0.1
    fraction: float = 1.0
    sources: tuple[Source, ...] = ()
    images: bool | None = None
    knowledge: tuple[tuple[str, str], ...] = ()
    checkpointing: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loss == "binary" and self.margin:
            raise ConfigurationError(
                "a margin lies between two scores, and the binary loss looks at one at a time: "
                "leave out --margin"
            )

    def used(self, seconds: float, cpu_seconds: float, steps: int) -> float:
        """Return the share of the budget that is used, from 1 on all of it.

        Args:
            seconds: Wall seconds that training took so far.
            cpu_seconds: CPU seconds likewise.
            steps: Optimiser steps taken.
        """
        minutes = self.minutes
        if minutes is None and self.cpu_minutes is None and self.steps is None:
            minutes = DEFAULT_MINUTES
        spent = (
            (seconds / 60, minutes),
            (cpu_seconds / 60, self.cpu_minutes),
            (steps, self.steps),
        )
        return max(used / budget for used, budget in spent if budget is not None)
