"""From the vectors of a trajectory's steps to one: a small trained layer, seen from the newest.

Steps are placed by their distance from the newest one, so that the same step at the same distance
means the same however long the episode was. With one step, and before any training, the layer
hands on what it gets: a mean in which the step at distance d weighs 1/(1 + d).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from armap_agents.reward.batching import batches

HEADS = 4
"""Of the attention between steps."""

BATCH_STEPS = 16_384
"""Padded steps that are pooled at once; bounds the memory of attention."""


class StepPooling(nn.Module):
    """One pre-norm transformer layer over steps, then attention with one learned query.

    Args:
        width: Size of a step's vector, a multiple of `HEADS`.
        distances: How many distances from the newest step are told apart; all older steps share
            the last one.
    """

    def __init__(self, width: int, distances: int) -> None:
        super().__init__()
        self.place = nn.Embedding(distances, width)
        self.norm_mix, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm_pool = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.wide, self.fed = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.query = nn.Parameter(torch.zeros(width))
        self.recency = nn.Parameter(-torch.log1p(torch.arange(distances, dtype=torch.float32)))
        nn.init.normal_(self.place.weight, std=0.02)
        for last in (self.mixed, self.fed):  # both branches begin with nothing to add
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, vectors: Tensor, counts: Sequence[int]) -> Tensor:
        """Pool the vectors of each trajectory's steps, ``float32 [len(counts), width]``.

        Args:
            vectors: Those of all trajectories' steps, oldest first, ``[sum(counts), width]``.
            counts: How many steps each trajectory has, at least 1 each.
        """
        own = torch.split(vectors, list(counts))
        order = batches(counts, BATCH_STEPS)
        pooled = [self._pooled([own[i] for i in batch]) for batch in order]
        place = torch.tensor([i for batch in order for i in batch], device=vectors.device)
        return torch.cat(pooled)[place.argsort()]

    def _pooled(self, trajectories: Sequence[Tensor]) -> Tensor:
        steps = pad_sequence(list(trajectories), batch_first=True)
        counts = torch.tensor([len(own) for own in trajectories], device=steps.device)
        distance = counts[:, None] - 1 - torch.arange(steps.shape[1], device=steps.device)
        valid = distance >= 0
        distance = distance.clamp(0, len(self.recency) - 1)
        steps = steps + self._mix(self.norm_mix(steps) + self.place(distance), valid)
        steps = steps + self.fed(functional.gelu(self.wide(self.norm_feed(steps))))
        told = self.norm_pool(steps) @ self.query / steps.shape[-1] ** 0.5
        told = (told + self.recency[distance]).masked_fill(~valid, -torch.inf)
        pooled: Tensor = told.softmax(1).unsqueeze(1) @ steps
        return pooled.squeeze(1)

    def _mix(self, steps: Tensor, valid: Tensor) -> Tensor:
        rows, longest, width = steps.shape
        split = self.query_key_value(steps).view(rows, longest, 3, HEADS, width // HEADS)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=valid[:, None, None, :]
        )
        result: Tensor = self.mixed(seen.transpose(1, 2).reshape(rows, longest, width))
        return result
