"""The encoder as it was before any training: what a trained reward model has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from armap_agents.reward.backbones.pretrained import find_weights, read_encoder, read_tokenizer
from armap_agents.reward.backbones.sequences import mean_valid
from armap_agents.reward.backbones.tokens import padded
from armap_agents.reward.backbones.weights import digest, weight_files
from armap_agents.reward.batching import batches
from armap_agents.reward.model import BATCH_POSITIONS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_TOKENS = 512


class UntrainedEncoder:
    """Mean-pooled embeddings of an encoder without adapter or heads.

    Args:
        name: A pulled model, or a Hugging Face folder.

    Raises:
        ConfigurationError: There is no such model.
    """

    def __init__(self, name: str = "all-minilm-l6-v2") -> None:
        name, folder = find_weights(name)
        self.fingerprint = f"{name}:{digest(weight_files(folder))[:16]}"
        self._encoder = read_encoder(folder).eval()
        self._tokenizer = read_tokenizer(folder)

    def encode(self, texts: list[str]) -> NDArray[np.float64]:
        """Return one embedding per text, ``float64 [texts, width]``; equal texts cost once."""
        distinct = list(dict.fromkeys(texts))
        rows = self._tokenizer(distinct, truncation=True, max_length=MAX_TOKENS)["input_ids"]
        vectors: dict[str, torch.Tensor] = {}
        with torch.inference_mode():
            for batch in batches([len(row) for row in rows], BATCH_POSITIONS):
                ids, mask = padded([rows[i] for i in batch], self._tokenizer.pad_token_id)
                hidden = self._encoder(input_ids=ids, attention_mask=mask).last_hidden_state
                pooled = mean_valid(hidden, mask).double()
                vectors.update(zip([distinct[i] for i in batch], pooled, strict=True))
        result: NDArray[np.float64] = torch.stack([vectors[text] for text in texts]).numpy()
        return result
