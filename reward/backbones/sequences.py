"""What backbones share that read a whole trajectory as one sequence: budget, positions, pooling."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from armap_agents.errors import ConfigurationError
from armap_agents.reward.backbones import Part
from armap_agents.reward.backbones.tokens import CHARACTERS
from armap_agents.reward.render import Rendered, RenderedStep, cut, fitted
from armap_agents.trajectory import JSON

LEAST_ROOM = 64
"""Tokens that must be left for the trajectory beside what is always written."""


def chosen(kind: str, defaults: Mapping[str, int], options: Mapping[str, JSON]) -> dict[str, int]:
    """Return a backbone's options merged over their defaults.

    Raises:
        ConfigurationError: One is unknown or no whole number above 0.
    """
    for name, value in options.items():
        if name not in defaults:
            raise ConfigurationError(
                f"the backbone {kind} has no option {name!r}: use {', '.join(defaults)}"
            )
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigurationError(f"{name} must be a whole number above 0, not {value!r}")
    return {**defaults, **options}


def check_room(limit: int, compose: Callable[[Rendered], Part]) -> None:
    """Refuse a limit that leaves no room for a trajectory.

    Raises:
        ConfigurationError: The limit is too small.
    """
    least = compose(Rendered("", (RenderedStep("", ""),))).length + LEAST_ROOM
    if limit < least:
        raise ConfigurationError(
            f"{limit} tokens are too few for this backbone's input: allow at least {least} with "
            "the option max_tokens, or take a backbone with more positions"
        )


def within(
    rendered: Rendered,
    limit: int,
    compose: Callable[[Rendered], Part],
    length: Callable[[str], int],
    image_length: int = 0,
) -> Part:
    """Return a trajectory's part within a limit, shortened by the renderer's rule where needed.

    The renderer counts texts by themselves; what stands around them is found out by composing, and
    the renderer's budget is lowered until the whole fits.

    Args:
        rendered: The whole trajectory.
        limit: Greatest length of the part.
        compose: Writes a trajectory out.
        length: Of one text with what stands around it, in tokens.
        image_length: Positions of an image.
    """
    rendered = _readable(rendered, CHARACTERS * limit)
    part, budget = compose(rendered), limit
    while part.length > limit:
        if budget < 1:
            raise ConfigurationError(f"{limit} tokens are too few: raise the option max_tokens")
        part = compose(fitted(rendered, budget, length, image_length))
        budget -= max(part.length - limit, 0)
    return part


def _readable(rendered: Rendered, characters: int) -> Rendered:
    steps = [
        replace(
            step,
            action=cut(step.action, characters, len),
            observation=cut(step.observation, characters, len),
        )
        for step in rendered.steps
    ]
    return replace(
        rendered, instruction=cut(rendered.instruction, characters, len), steps=tuple(steps)
    )


def positions(mask: Tensor, first: int = 0) -> Tensor:
    """Return position ids that count tokens alone, wherever the padding is, ``int64`` like `mask`.

    Args:
        mask: 1 for tokens, 0 for padding, ``[rows, tokens]``.
        first: Position of a row's first token.
    """
    return (mask.cumsum(1) - 1).clamp_min(0) + first


def last_valid(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return each row's hidden state at its last token, ``float32 [rows, width]``."""
    last = mask.size(1) - 1 - mask.flip(1).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last].float()


def mean_valid(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of each row's hidden states over its tokens, ``float32 [rows, width]``."""
    weight = mask.unsqueeze(-1).float()
    return (hidden.float() * weight).sum(1) / weight.sum(1)


def recompute_layers(model: Any) -> None:
    """Let a transformers model keep only what goes into its layers until the backward pass.

    Raises:
        ConfigurationError: The model has no layers that can be recomputed.
    """
    with warnings.catch_warnings():
        # The method is being renamed; this is the name that all versions know.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        except ValueError as error:
            raise ConfigurationError(
                f"{type(model).__name__} cannot recompute its layers: train without checkpointing"
            ) from error
