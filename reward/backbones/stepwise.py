"""The default backbone: a small encoder reads each step beside the instruction, a layer pools.

A part is the pair (instruction, step), as the encoder's tokenizer joins pairs, so that what was
asked is compared with what was done inside the encoder. LoRA adapts its linear layers; the mean
over a part's tokens is its vector. Extending a prefix by a step costs one part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from armap_agents.errors import ConfigurationError
from armap_agents.reward.backbones import Backbone, BackboneSpec, Part
from armap_agents.reward.backbones.pooling import HEADS, StepPooling
from armap_agents.reward.backbones.pretrained import (
    damaged,
    find_weights,
    merge_lora,
    read_encoder,
    read_tensors,
    read_tokenizer,
    save_lora,
    with_lora,
)
from armap_agents.reward.backbones.sequences import mean_valid
from armap_agents.reward.backbones.tokens import PairTokenizer
from armap_agents.reward.backbones.weights import digest, weight_files
from armap_agents.reward.render import Rendered
from armap_agents.trajectory import JSON, Image

DEFAULT_WEIGHTS = "all-minilm-l6-v2"

OPTIONS: Mapping[str, JSON] = {
    "instruction_tokens": 96,
    "part_tokens": 256,
    "rank": 16,
    "alpha": 32,
    "layers": None,
    "distances": 32,
    "vision": None,
}
"""Budgets of the instruction and of a whole part, LoRA's rank and alpha, how many of the encoder's
last layers it adapts (default: all), how many distances from the newest step are told apart, and
the image encoder, if any."""

POOLING, IMAGES = "pooling.safetensors", "images.safetensors"


class StepwiseBackbone(Backbone):
    """A transformers encoder that reads one step at a time; see the module.

    Args:
        spec: Which encoder, with all options.
        encoder: Maps token ids to hidden states; carries LoRA until `load`.
        tokens: Makes token ids of instruction and step.
        images: Sees the parts' images, where the options name an image encoder.
    """

    def __init__(
        self, spec: BackboneSpec, encoder: Any, tokens: PairTokenizer, images: ImageBranch | None
    ) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = encoder
        self.tokens = tokens
        self.width = encoder.config.hidden_size
        if self.width % HEADS:
            raise ConfigurationError(
                f"{spec.weights} has vectors of {self.width}, no multiple of {HEADS}: use another"
            )
        self.pooling = StepPooling(self.width, int(spec.options["distances"]))
        self.images = images
        self._segments = getattr(encoder.config, "type_vocab_size", 1) > 1
        self._recompute = False

    @classmethod
    def new(
        cls, weights: str | None, options: Mapping[str, JSON], dtype: torch.dtype | None
    ) -> StepwiseBackbone:
        """Return an untrained backbone; see `new_backbone`."""
        chosen = _checked(options)
        name, folder = find_weights(weights or DEFAULT_WEIGHTS)
        files = weight_files(folder)
        encoder = read_encoder(folder)
        tokens = PairTokenizer(
            read_tokenizer(folder),
            min(chosen["part_tokens"], _positions(encoder)),
            chosen["instruction_tokens"],
        )
        total, images = digest(files), None
        if chosen["vision"] is not None:
            images = ImageBranch(chosen["vision"], encoder.config.hidden_size)
            total = hashlib.sha256(f"{total} {images.digest()}".encode()).hexdigest()
        adapted = with_lora(
            encoder,
            chosen["rank"],
            chosen["alpha"],
            dtype=dtype,
            exclude="|".join(_frozen(encoder, chosen["layers"])),
        )
        return cls(BackboneSpec("minilm", name, total, chosen), adapted, tokens, images)

    def parts(self, rendered: Rendered) -> list[Part]:
        """Return a part for each step: the instruction, the step and its image."""
        made = []
        for step in rendered.steps:
            ids = self.tokens(rendered.instruction, step.text)
            images = (step.image,) if step.image and self.images is not None else ()
            made.append(Part(ids, images, len(ids)))
        return made

    def encode(self, parts: Sequence[Part]) -> Tensor:
        """Encode parts in one padded batch, ``float32 [parts, width]``; padding moves nothing."""
        device = self.pooling.query.device
        ids, mask = (t.to(device) for t in self.tokens.padded([part.ids for part in parts]))
        segments = self.tokens.segments(ids) if self._segments else None
        if self._recompute:
            vectors: Tensor = checkpoint(self._mean, ids, mask, segments, use_reentrant=False)
        else:
            vectors = self._mean(ids, mask, segments)
        if self.images is not None:
            vectors = vectors + self.images([part.images for part in parts])
        return vectors

    def _mean(self, ids: Tensor, mask: Tensor, segments: Tensor | None) -> Tensor:
        more = {} if segments is None else {"token_type_ids": segments}
        hidden: Tensor = self.encoder(input_ids=ids, attention_mask=mask, **more).last_hidden_state
        with torch.autocast(ids.device.type, enabled=False):
            return mean_valid(hidden, mask)

    def pool(self, vectors: Tensor, counts: Sequence[int]) -> Tensor:
        """Pool the vectors of each trajectory's steps, ``float32 [len(counts), width]``."""
        pooled: Tensor = self.pooling(vectors, counts)
        return pooled

    def save(self, folder: Path) -> None:
        """Write adapter, pooling layer and what the vision branch trains."""
        save_lora(self.encoder, self.spec.weights, folder)
        save_file(self.pooling.state_dict(), folder / POOLING)
        if self.images is not None:
            save_file(self.images.trained.state_dict(), folder / IMAGES)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote and merge the adapter: from then on it serves, untrainable.

        Raises:
            ConfigurationError: Something is missing or damaged.
        """
        self.encoder = merge_lora(self.encoder, folder)
        _fill(self.pooling, folder / POOLING)
        if self.images is not None:
            _fill(self.images.trained, folder / IMAGES)
        self.requires_grad_(False)

    def checkpointing(self) -> None:
        """Recompute activations in the backward pass instead of keeping them."""
        self._recompute = True


class ImageBranch(nn.Module):
    """What the parts' images add to their vectors: nothing before training.

    Args:
        name: Of the frozen image encoder, as `open_vision` knows it.
        width: Size of a part's vector.
    """

    def __init__(self, name: str, width: int) -> None:
        super().__init__()
        from armap_agents.reward.backbones.vision import open_vision

        self.encoder = open_vision(name)
        self.trained = GatedProjection(self.encoder.width, width)

    def forward(self, images: Sequence[Sequence[Image]]) -> Tensor:
        """Return what to add for each part, ``float32 [parts, width]``; 0 where it has no image.

        Args:
            images: Those of each part, one at most.
        """
        gate = self.trained.gate
        added = gate.new_zeros(len(images), self.trained.projection.out_features)
        seen = [i for i, own in enumerate(images) if own]
        if not seen:
            return added
        features = self.encoder([images[i][0] for i in seen])
        return added.index_copy(0, torch.tensor(seen, device=gate.device), self.trained(features))

    def digest(self) -> str:
        """Return the sha256 hex digest of the frozen weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.encoder.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


class GatedProjection(nn.Module):
    """A linear layer behind a gate that begins closed.

    Args:
        entering: Size of a vector that goes in.
        leaving: Size of one that comes out.
    """

    def __init__(self, entering: int, leaving: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(entering)
        self.projection = nn.Linear(entering, leaving)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Map ``float32 [n, entering]`` to ``float32 [n, leaving]``."""
        with torch.autocast(features.device.type, enabled=False):
            result: Tensor = self.gate * self.projection(self.norm(features))
            return result


def _frozen(encoder: Any, adapted: int | None) -> list[str]:
    """Return regular expressions of the modules without LoRA.

    Raises:
        ConfigurationError: The encoder has fewer layers than are to be adapted.
    """
    frozen = [r".*pooler.*"]  # the mean over tokens takes its place
    count = int(encoder.config.num_hidden_layers)
    if adapted is not None and adapted > count:
        raise ConfigurationError(f"option layers is {adapted}: the encoder has {count}")
    below = range(count - adapted) if adapted else ()
    return [*frozen, *(rf".*\blayers?\.{number}\..*" for number in below)]


def _checked(options: Mapping[str, JSON]) -> dict[str, Any]:
    """Return all options.

    Raises:
        ConfigurationError: One is unknown or no such value.
    """
    if unknown := sorted(set(options) - set(OPTIONS)):
        raise ConfigurationError(
            f"backbone minilm has no option {', '.join(unknown)}: use {', '.join(OPTIONS)}"
        )
    chosen = {**OPTIONS, **options}
    for name, value in chosen.items():
        if name == "layers" and value is None:
            continue
        if name == "vision":
            if not (value is None or isinstance(value, str)):
                raise ConfigurationError(f"option vision is {value!r}: name an image encoder")
        elif not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigurationError(f"option {name} is {value!r}: use a whole number above 0")
    return chosen


def _positions(encoder: nn.Module) -> int:
    """Return how many tokens an encoder takes; some leave their first positions unused."""
    known = int(getattr(encoder.config, "max_position_embeddings", 1 << 30))
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            skipped = 0 if module.padding_idx is None else module.padding_idx + 1
            return min(known, module.num_embeddings - skipped)
    return known


def _fill(module: nn.Module, path: Path) -> None:
    tensors = read_tensors(path)
    with damaged(path):
        module.load_state_dict(tensors)
