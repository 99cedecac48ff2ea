"""The backbone as it was before any training: what a trained reward model has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armap_agents.reward.model import Backbone, pad, plain_encoder, tokenizer_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 64


class UntrainedEncoder:
    """Mean-pooled embeddings of an encoder without adapter or heads.

    Args:
        name: A pulled model, or a Hugging Face folder.

    Raises:
        ConfigurationError: There is no such model.
    """

    def __init__(self, name: str = "all-minilm-l6-v2") -> None:
        backbone = Backbone.find(name)
        self.fingerprint = f"{backbone.name}:{backbone.sha256()[:16]}"
        self._encoder = plain_encoder(backbone).eval()
        self._tokenizer = tokenizer_of(backbone)

    def encode(self, texts: list[str]) -> NDArray[np.float64]:
        """Return one embedding per text, ``float64 [texts, width]``; equal texts cost once."""
        import torch

        distinct = sorted(set(texts), key=len)
        rows = self._tokenizer(distinct, truncation=True, max_length=512)["input_ids"]
        vectors: dict[str, torch.Tensor] = {}
        with torch.inference_mode():
            for start in range(0, len(rows), BATCH):
                ids, mask = pad(rows[start : start + BATCH], self._tokenizer.pad_token_id)
                hidden = self._encoder(input_ids=ids, attention_mask=mask).last_hidden_state
                weight = mask.unsqueeze(-1).float()
                pooled = (hidden * weight).sum(1) / weight.sum(1)
                vectors.update(zip(distinct[start:], pooled.double().unbind(), strict=False))
        result: NDArray[np.float64] = torch.stack([vectors[text] for text in texts]).numpy()
        return result
