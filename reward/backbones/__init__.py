"""What turns a rendered trajectory into a vector: backbones behind one small interface.

A backbone cuts a trajectory into parts, encodes parts in batches, and pools the vectors of a
trajectory's parts into one. `minilm` (`stepwise`) has a part for every step, so that a longer
prefix costs one more part; `hf-text` and `vila` have one part, the whole trajectory, and pool
nothing. Whoever encodes may therefore remember vectors by their key and never encode a part twice.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from armap_agents.errors import ConfigurationError
from armap_agents.reward.render import Rendered
from armap_agents.trajectory import JSON, Image

if TYPE_CHECKING:
    import torch

KINDS = ("minilm", "hf-text", "vila")
"""Kinds of backbones; `minilm` is the default and the one whose weights can be pulled."""


@dataclass(frozen=True)
class Part:
    """A piece of a trajectory that is encoded by itself.

    Attributes:
        ids: Token ids, without padding.
        images: The pictures in it, in order.
        length: Positions that it takes in a batch, images included.
    """

    ids: tuple[int, ...]
    images: tuple[Image, ...]
    length: int

    @cached_property
    def key(self) -> bytes:
        """Digest of ids and images: parts with one key have one vector."""
        digest = hashlib.sha256(b",".join(str(i).encode() for i in self.ids))
        for image in self.images:
            digest.update(bytes.fromhex(image.sha256))
        return digest.digest()


@dataclass(frozen=True)
class BackboneSpec:
    """What a model folder notes about its backbone, in ``reward.json``.

    Attributes:
        kind: One of `KINDS`.
        weights: Name that `armap models pull` knows, or a folder.
        sha256: Digest of the weights, so that a model never meets another backbone unnoticed.
        options: Of the kind: token budgets, pooling, LoRA rank and alpha.
    """

    kind: str
    weights: str
    sha256: str
    options: Mapping[str, JSON]


class Backbone(nn.Module, ABC):
    """Pretrained weights, frozen, with a few trained ones beside them.

    The trained parameters are those with ``requires_grad``. All of it computes on the device that
    the module was moved to.

    Attributes:
        spec: What `open_backbone` needs to make it again.
        width: Size of a vector.
    """

    spec: BackboneSpec
    width: int

    @abstractmethod
    def parts(self, rendered: Rendered) -> list[Part]:
        """Cut a trajectory into at least one part; every part keeps the backbone's budget."""

    @abstractmethod
    def encode(self, parts: Sequence[Part]) -> Tensor:
        """Encode parts in one padded batch, ``float32 [parts, width]``; padding moves nothing."""

    @abstractmethod
    def pool(self, vectors: Tensor, counts: Sequence[int]) -> Tensor:
        """Pool the vectors of each trajectory's parts, ``float32 [len(counts), width]``.

        Args:
            vectors: Those of all trajectories' parts in order, ``[sum(counts), width]``.
            counts: How many parts each trajectory has, at least 1 each.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the trained weights: a PEFT adapter and safetensors."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read what `save` wrote and merge the adapter: from then on it serves, untrainable.

        Raises:
            ConfigurationError: Something is missing or damaged.
        """

    @abstractmethod
    def checkpointing(self) -> None:
        """Recompute activations in the backward pass instead of keeping them."""


def new_backbone(
    kind: str,
    weights: str | None,
    options: Mapping[str, JSON],
    *,
    dtype: torch.dtype | None = None,
) -> Backbone:
    """Return an untrained backbone with LoRA on its language model.

    Args:
        kind: One of `KINDS`.
        weights: Name of a pulled model, or a folder; None for the kind's own default.
        options: Of the kind, merged over its defaults; an unknown one is refused.
        dtype: Of the frozen weights; None leaves it to the kind.

    Raises:
        ConfigurationError: The kind or an option is unknown, or the weights are missing or damaged.
    """
    made: Backbone = _kind(kind).new(weights, options, dtype)
    return made


def open_backbone(spec: BackboneSpec) -> Backbone:
    """Return the backbone that a model folder speaks of, still without its trained weights.

    Raises:
        ConfigurationError: The weights are missing, damaged, or others than the model was trained
            on.
    """
    made = new_backbone(spec.kind, spec.weights, spec.options)
    if made.spec.sha256 != spec.sha256:
        raise ConfigurationError(
            f"{spec.weights} is not the backbone that this reward model was trained on: pull it "
            f"again with `armap models pull {spec.weights}`, or train again"
        )
    return made


def _kind(kind: str) -> Any:
    if kind == "minilm":
        from armap_agents.reward.backbones.stepwise import StepwiseBackbone

        return StepwiseBackbone
    if kind == "hf-text":
        from armap_agents.reward.backbones.text import TextBackbone

        return TextBackbone
    if kind == "vila":
        from armap_agents.reward.backbones.vila import VilaBackbone

        return VilaBackbone
    raise ConfigurationError(f"there is no backbone {kind!r}: use {', '.join(KINDS)}")
