"""The training objective, computed in float32."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Centring = Literal["squared", "paper"]
"""How scores are kept around 0: ``squared`` 0.01·mean((r⁺+r⁻)²), ``paper`` 1e-3·|mean(r⁺+r⁻)|."""


def pairwise_loss(
    chosen: Tensor, rejected: Tensor, margin: Tensor, centring: Centring = "squared"
) -> Tensor:
    """Return the mean Bradley–Terry loss −log σ(r⁺ − r⁻ − margin) with centring.

    Loss and centring ``paper`` are those of ARMAP (arXiv 2502.12130, section 3.3); ``squared``
    holds each pair's mean near 0 instead of the batch's, so that scores of different batches keep
    one zero.

    Args:
        chosen: Scores r⁺, ``[pairs]``.
        rejected: Scores r⁻, ``[pairs]``.
        margin: Least difference wanted, ``[pairs]``.
        centring: The form of the centring term.
    """
    chosen, rejected = chosen.float(), rejected.float()
    loss = -functional.logsigmoid(chosen - rejected - margin).mean()
    total = chosen + rejected
    if centring == "paper":
        return loss + 1e-3 * total.mean().abs()
    return loss + 0.01 * total.square().mean()


def value_loss(logits: Tensor, returns: Tensor) -> Tensor:
    """Return the mean cross-entropy between σ(logits) and Monte-Carlo returns.

    Args:
        logits: Value logits, ``[rows]``.
        returns: Share of K continuations that succeeded, 0 to 1, ``[rows]``; soft targets.
    """
    if not len(returns):
        return torch.zeros(())
    return functional.binary_cross_entropy_with_logits(logits.float(), returns)
