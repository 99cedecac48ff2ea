"""`hf-text`: any transformers encoder or decoder that reads a whole trajectory as one text.

The text ends with a question about the score. A decoder's vector is the hidden state at the last
token, which has read everything; an encoder's is the mean over all tokens.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from armap_agents.errors import ConfigurationError
from armap_agents.reward.backbones import Backbone, BackboneSpec, Part
from armap_agents.reward.backbones.pretrained import (
    find_weights,
    merge_lora,
    quiet,
    read_tokenizer,
    save_lora,
    with_lora,
)
from armap_agents.reward.backbones.sequences import (
    check_room,
    chosen,
    last_valid,
    mean_valid,
    positions,
    recompute_layers,
    within,
)
from armap_agents.reward.backbones.tokens import padded
from armap_agents.reward.backbones.weights import digest, weight_files
from armap_agents.reward.render import Rendered
from armap_agents.trajectory import JSON

DEFAULTS = {"max_tokens": 1024, "rank": 16, "alpha": 32}
QUESTION = "Does the last action leave the task done as it was asked? Its score is"
AROUND = 6
"""Tokens that the words around a text may take."""

NOT_ADAPTED = r".*(pooler|lm_head|embed|classifier|score).*"
"""Layers that LoRA leaves alone; the pooler's output is not used at all."""

HEADS = ("pooler", "lm_head", "cls", "classifier", "score")
"""Parts of checkpoints that the vector does not pass through."""


def written(rendered: Rendered) -> str:
    """Return the text that the model reads."""
    lines = [f"Task: {rendered.instruction}"]
    for step in rendered.steps:
        if step.action:
            lines.append(f"Action: {step.action}")
        if step.observation:
            lines.append(f"Seen: {step.observation}")
    return "\n".join([*lines, QUESTION])


class TextBackbone(Backbone):
    """A transformers model with LoRA on its linear layers.

    Args:
        model: Maps token ids to hidden states.
        tokenizer: The model's own.
        spec: What was asked for, with every option.

    Attributes:
        model: With LoRA until `load` has merged it.
        tokenizer: The model's own.
        causal: Whether a token sees those before it alone; the vector is then the last one's.
        limit: Greatest number of tokens of a part.
        padding: Token id that fills up batches; always masked.
    """

    def __init__(self, model: Any, tokenizer: Any, spec: BackboneSpec) -> None:
        super().__init__()
        self.spec = spec
        self.tokenizer = tokenizer
        self.width = int(model.config.get_text_config().hidden_size)
        self.causal = _is_causal(model)
        self.padding = next(
            (i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0
        )
        self._first = _first_position(model)
        self._numbered = "position_ids" in inspect.signature(model.forward).parameters
        known = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        most = known - self._first if known else tokenizer.model_max_length
        self.limit = min(int(spec.options["max_tokens"]), most, tokenizer.model_max_length)
        check_room(self.limit, self._composed)
        left_alone = any(re.fullmatch(NOT_ADAPTED, name) for name, _ in model.named_modules())
        self.model: Any = with_lora(
            model,
            spec.options["rank"],
            spec.options["alpha"],
            exclude=NOT_ADAPTED if left_alone else None,  # PEFT warns of one that meets nothing
        )

    @classmethod
    def new(
        cls, weights: str | None, options: Mapping[str, JSON], dtype: torch.dtype | None
    ) -> TextBackbone:
        """Return an untrained backbone; see `armap_agents.reward.backbones.new_backbone`."""
        settled = chosen("hf-text", DEFAULTS, options)
        if weights is None:
            raise ConfigurationError("hf-text has no weights of its own: give --weights FOLDER")
        name, folder = find_weights(weights)
        files = weight_files(folder)
        model = _read_model(folder, dtype or torch.float32)
        spec = BackboneSpec("hf-text", name, digest(files), settled)
        return cls(model, read_tokenizer(folder), spec)

    def parts(self, rendered: Rendered) -> list[Part]:
        """Return the one part that is the whole trajectory."""
        return [within(rendered, self.limit, self._composed, self._length)]

    def encode(self, parts: Sequence[Part]) -> Tensor:
        """Encode parts in one padded batch, ``float32 [parts, width]``."""
        ids, mask = padded([part.ids for part in parts], self.padding)
        device = next(self.model.parameters()).device
        return self.vectors(ids.to(device), mask.to(device))

    def vectors(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode token ids padded on either side, ``float32 [rows, width]``.

        Args:
            ids: Token ids, ``int64 [rows, tokens]``.
            mask: 1 for tokens, 0 for padding, ``int64 [rows, tokens]``.
        """
        numbers = {"position_ids": positions(mask, self._first)} if self._numbered else {}
        hidden = self.model(input_ids=ids, attention_mask=mask, **numbers).last_hidden_state
        return last_valid(hidden, mask) if self.causal else mean_valid(hidden, mask)

    def pool(self, vectors: Tensor, counts: Sequence[int]) -> Tensor:
        """Return the vectors as they are: every trajectory is one part."""
        return vectors

    def save(self, folder: Path) -> None:
        """Write the adapter."""
        save_lora(self.model, self.spec.weights, folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote and merge it."""
        self.model = merge_lora(self.model, folder).requires_grad_(False)

    def checkpointing(self) -> None:
        """Recompute activations in the backward pass instead of keeping them."""
        recompute_layers(self.model.get_base_model())

    def _composed(self, rendered: Rendered) -> Part:
        ids = self._ids(written(rendered), special=True)
        return Part(tuple(ids), (), len(ids))

    def _length(self, text: str) -> int:
        return len(self._ids(text, special=False)) + AROUND

    def _ids(self, text: str, *, special: bool) -> list[int]:
        """Return token ids; names of special tokens in a text are letters, never the tokens."""
        ids: list[int] = self.tokenizer(
            text, add_special_tokens=special, split_special_tokens=True, verbose=False
        ).input_ids
        return ids


def _read_model(folder: Path, dtype: torch.dtype) -> Any:
    try:
        with quiet():
            model, read = _read(folder, dtype)
    except ConfigurationError:
        raise
    except Exception as error:  # whatever the loaders meet in a foreign folder
        reason = str(error).strip().partition("\n")[0]
        raise ConfigurationError(
            f"{folder} cannot be read as a text model ({type(error).__name__}: {reason}): give a "
            "folder with config.json, safetensors and tokenizer of a model that transformers knows"
        ) from error
    wrong = [*sorted(read["missing_keys"]), *(entry[0] for entry in read["mismatched_keys"])]
    wrong = [name for name in wrong if not _of_head(name)]
    if wrong:
        raise ConfigurationError(
            f"{folder} lacks {len(wrong)} tensors that its config.json asks for, or has them in "
            f"another shape, the first is {wrong[0]}: give the complete model"
        )
    return model


def _read(folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    local = {"local_files_only": True, "trust_remote_code": False}
    config = AutoConfig.from_pretrained(folder, **local)
    if config.is_encoder_decoder:
        raise ConfigurationError(
            f"{folder} is an encoder with a decoder: give an encoder or a decoder alone"
        )
    config.use_cache = False
    model, read = AutoModel.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **local,
    )
    return model, read


def _of_head(name: str) -> bool:
    return any(part in HEADS for part in name.split("."))


def _first_position(model: nn.Module) -> int:
    """Return the first token's position id: after the padding's, where the padding has one."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


@torch.no_grad()
def _is_causal(model: Any) -> bool:
    """Return whether the first token's hidden state does not depend on the second token.

    Measured, because a configuration does not say it: many classes run either way.
    """
    rows = [torch.tensor([[1, 2]]), torch.tensor([[1, 3]])]
    model.eval()
    first, second = (model(input_ids=row).last_hidden_state[:, 0].float() for row in rows)
    return torch.allclose(first, second, rtol=0.0, atol=1e-5)
