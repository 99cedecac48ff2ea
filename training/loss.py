"""The training objectives, computed in float32."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from armap_agents.training.config import Centring


def pairwise_loss(
    chosen: Tensor,
    rejected: Tensor,
    label: Tensor,
    margin: Tensor,
    centring: Centring = "squared",
) -> Tensor:
    """Return the mean Bradley–Terry cross-entropy with centring.

    With d = r⁺ − r⁻ − margin a pair costs −p·log σ(d) − (1 − p)·log σ(−d), which for p = 1 and no
    margin is the loss of ARMAP (arXiv 2502.12130, section 3.3), as is centring ``paper``;
    ``squared`` holds each pair's mean near 0 instead of the batch's, so that scores of different
    batches keep one zero.

    Args:
        chosen: Scores r⁺, ``[pairs]``.
        rejected: Scores r⁻, ``[pairs]``.
        label: Chance p that the chosen one is better, ``[pairs]``.
        margin: Least difference wanted, ``[pairs]``.
        centring: The form of the centring term.
    """
    chosen, rejected = chosen.float(), rejected.float()
    difference = chosen - rejected - margin
    loss = functional.binary_cross_entropy_with_logits(difference, label)
    total = chosen + rejected
    if centring == "paper":
        return loss + 1e-3 * total.mean().abs()
    return loss + 0.01 * total.square().mean()


def binary_loss(chosen: Tensor, rejected: Tensor, label: Tensor) -> Tensor:
    """Return the mean cross-entropy of scores taken as logits of success.

    The alternative to the pairwise loss that ARMAP (arXiv 2502.12130) reports: each trajectory is
    classified by itself, the better one as p and the worse one as 1 − p.

    Args:
        chosen: Scores of the better trajectories, ``[pairs]``.
        rejected: Scores of the worse ones, ``[pairs]``.
        label: Chance p that the chosen one is better, ``[pairs]``.
    """
    good = functional.binary_cross_entropy_with_logits(chosen.float(), label)
    bad = functional.binary_cross_entropy_with_logits(rejected.float(), 1 - label)
    return (good + bad) / 2


def value_loss(logits: Tensor, returns: Tensor) -> Tensor:
    """Return the mean cross-entropy between σ(logits) and Monte-Carlo returns.

    Args:
        logits: Value logits, ``[prefixes]``.
        returns: Mean return of the executed continuations, 0 to 1, ``[prefixes]``; soft targets.
    """
    if not len(returns):
        return logits.float().sum()  # 0, on the device and in the graph that others are in
    return functional.binary_cross_entropy_with_logits(logits.float(), returns)
