"""`vila`: VILA1.5, the paper's backbone, which reads texts and screenshots of a whole trajectory.

SigLIP's patches go through the projector into the Llama's input, between the words' embeddings; the
vector is the hidden state at the last valid position. LoRA adapts the Llama alone; vision tower and
projector stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from armap_agents.errors import ConfigurationError
from armap_agents.reward.backbones import Backbone, BackboneSpec, Part
from armap_agents.reward.backbones.pretrained import merge_lora, save_lora, with_lora
from armap_agents.reward.backbones.sequences import (
    check_room,
    chosen,
    last_valid,
    positions,
    recompute_layers,
    within,
)
from armap_agents.reward.backbones.tokens import padded
from armap_agents.reward.backbones.vila.checkpoint import (
    Layout,
    read_layout,
    read_llm,
    read_projector,
    read_tokens,
    read_vision_tower,
)
from armap_agents.reward.backbones.vila.images import pixels
from armap_agents.reward.backbones.vila.projector import positions_of
from armap_agents.reward.backbones.vila.prompt import AROUND, IMAGE, conversation
from armap_agents.reward.backbones.weights import digest
from armap_agents.reward.render import Rendered
from armap_agents.trajectory import JSON, Image

DEFAULTS = {"max_tokens": 4096, "rank": 64, "alpha": 16}

ADAPTED = r"layers\.\d+\.(self_attn\.[qkvo]|mlp\.(gate|up|down))_proj"
"""The Llama's linear layers; the tower's have names that end alike and lie outside of it."""

IMAGES_AT_ONCE = 16
"""Pictures that go through the vision tower together, which bounds its memory."""


class VilaBackbone(Backbone):
    """A VILA1.5 checkpoint with LoRA on its language model.

    Args:
        layout: The checkpoint.
        spec: What was asked for, with every option.
        dtype: Of the frozen weights.

    Attributes:
        llm: The Llama, with LoRA until `load` has merged it.
        vision_tower: SigLIP up to the layer whose output is used.
        mm_projector: From its patches to the Llama's embeddings.
        image_length: Positions that a picture takes.
        limit: Greatest number of positions of a part.
    """

    def __init__(self, layout: Layout, spec: BackboneSpec, dtype: torch.dtype) -> None:
        super().__init__()
        self.spec = spec
        self.width = int(layout.llm.hidden_size)
        self.image_length = positions_of(layout.vision.image_size // layout.vision.patch_size)
        self.limit = min(int(spec.options["max_tokens"]), layout.positions)
        self._image_size = int(layout.vision.image_size)
        self._begin, self._end = layout.llm.bos_token_id, layout.llm.eos_token_id
        self._tokens = read_tokens(layout)
        check_room(self.limit, self._composed)
        self.vision_tower = read_vision_tower(layout, dtype).requires_grad_(False)
        self.mm_projector = read_projector(layout, dtype).requires_grad_(False)
        self.llm: Any = with_lora(
            read_llm(layout, dtype),
            spec.options["rank"],
            spec.options["alpha"],
            targets=ADAPTED,
        )

    @classmethod
    def new(
        cls, weights: str | None, options: Mapping[str, JSON], dtype: torch.dtype | None
    ) -> VilaBackbone:
        """Return an untrained backbone; see `armap_agents.reward.backbones.new_backbone`."""
        settled = chosen("vila", DEFAULTS, options)
        if weights is None:
            raise ConfigurationError(
                "vila has no weights of its own: give --weights FOLDER with a VILA1.5 checkpoint"
            )
        layout = read_layout(Path(weights).expanduser().resolve())
        spec = BackboneSpec("vila", str(layout.folder), digest(layout.files), settled)
        return cls(layout, spec, dtype or torch.float32)

    def parts(self, rendered: Rendered) -> list[Part]:
        """Return the one part that is the whole trajectory."""
        return [within(rendered, self.limit, self._composed, self._length, self.image_length)]

    def encode(self, parts: Sequence[Part]) -> Tensor:
        """Encode parts in one padded batch, ``float32 [parts, width]``."""
        rows = [self._spread(part.ids) for part in parts]
        ids, mask = padded(rows, 0)
        images = [image for part in parts for image in part.images]
        device = self._device
        return self.vectors(ids.to(device), mask.to(device), self.features(images))

    def vectors(self, ids: Tensor, mask: Tensor, features: Tensor) -> Tensor:
        """Encode positions padded on either side, ``float32 [rows, width]``.

        Args:
            ids: Token ids, `IMAGE` at every position of a picture, ``int64 [rows, positions]``.
            mask: 1 for positions in use, 0 for padding, like `ids`.
            features: What goes where `ids` is `IMAGE`, in order, ``[pictures, positions, width]``.
        """
        embedded = self.llm.get_input_embeddings()(ids.clamp_min(0))
        shown = (ids == IMAGE).unsqueeze(-1)
        embedded = embedded.masked_scatter(shown, features.to(embedded.dtype))
        hidden = self.llm(
            inputs_embeds=embedded, attention_mask=mask, position_ids=positions(mask)
        ).last_hidden_state
        return last_valid(hidden, mask)

    @torch.no_grad()
    def features(self, images: Sequence[Image]) -> Tensor:
        """Return what the language model sees of pictures, ``[images, positions, width]``.

        Equal pictures pass the vision tower once.

        Raises:
            ArmapError: One cannot be read.
        """
        distinct = list({image.sha256: image for image in images}.values())
        chunks = [torch.empty(0, self.image_length, self.width, device=self._device)]
        for start in range(0, len(distinct), IMAGES_AT_ONCE):
            squares = [
                pixels(image, self._image_size)
                for image in distinct[start : start + IMAGES_AT_ONCE]
            ]
            batch = torch.from_numpy(np.stack(squares)).to(self._device)
            chunks.append(self.mm_projector(self.vision_tower(batch).last_hidden_state))
        place = {image.sha256: i for i, image in enumerate(distinct)}
        return torch.cat(chunks)[[place[image.sha256] for image in images]]

    def pool(self, vectors: Tensor, counts: Sequence[int]) -> Tensor:
        """Return the vectors as they are: every trajectory is one part."""
        return vectors

    def save(self, folder: Path) -> None:
        """Write the adapter."""
        save_lora(self.llm, self.spec.weights, folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote and merge it."""
        self.llm = merge_lora(self.llm, folder).requires_grad_(False)

    def checkpointing(self) -> None:
        """Recompute the language model's activations in the backward pass."""
        recompute_layers(self.llm.get_base_model())

    @property
    def _device(self) -> torch.device:
        device: torch.device = next(self.mm_projector.parameters()).device
        return device

    def _composed(self, rendered: Rendered) -> Part:
        return conversation(rendered, self._tokens, self._begin, self._end, self.image_length)

    def _length(self, text: str) -> int:
        return len(self._tokens(text)) + AROUND

    def _spread(self, ids: Sequence[int]) -> list[int]:
        """Return token ids with every picture's place as wide as the picture."""
        return [i for token in ids for i in [token] * (self.image_length if token == IMAGE else 1)]
