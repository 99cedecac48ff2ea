"""What a finished training run says about itself: held-out accuracy, score scale, model card."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from armap_agents.reward.model import RewardNetwork, Settings, pad
from armap_agents.training.batches import Examples
from armap_agents.training.checkpoint import Progress

HELD_OUT_PAIRS = 1500
"""Held-out pairs that are scored at the end of training, at most."""


def score_rows(
    network: RewardNetwork, kept: Examples, padding: int, *, bf16: bool
) -> dict[int, float]:
    """Return the scores of the rows of (at most `HELD_OUT_PAIRS`) held-out pairs."""
    stride = max(1, len(kept.pairs) // HELD_OUT_PAIRS)
    rows = sorted({row for pair in kept.pairs[::stride] for row in pair[:2]})
    scores: dict[int, float] = {}
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for start in range(0, len(rows), 256):
            batch = rows[start : start + 256]
            outputs = network(*pad([kept.rows[row] for row in batch], padding))
            scores.update(zip(batch, outputs[:, 0].tolist(), strict=True))
    return scores


def pair_accuracy(kept: Examples, scores: Mapping[int, float]) -> dict[str, float]:
    """Return the share of held-out pairs ordered rightly, by number of steps and in all."""
    right: defaultdict[str, list[bool]] = defaultdict(list)
    for chosen, rejected, steps, _ in kept.pairs:
        if chosen in scores and rejected in scores:
            for key in (str(steps), "all"):
                right[key].append(scores[chosen] > scores[rejected])
    return {key: round(sum(hits) / len(hits), 4) for key, hits in sorted(right.items())}


def normalisation(kept: Examples, scores: Mapping[int, float]) -> dict[str, float]:
    """Return mean and standard deviation of the scores at the greatest number of steps."""
    longest = max(pair[2] for pair in kept.pairs)
    rows = {row for pair in kept.pairs if pair[2] == longest for row in pair[:2]} & scores.keys()
    values = torch.tensor([scores[row] for row in sorted(rows)])
    std = float(values.std()) if len(values) > 1 else 1.0
    return {"mean": float(values.mean()), "std": max(std, 1e-6)}


def calibration(kept: Examples, scores: Mapping[int, float]) -> dict[str, float]:
    """Return Platt's sigmoid for the scores of whole trajectories, fitted on held-out pairs.

    P(success | score s) = 1/(1 + exp(−(slope·s + intercept))), by maximum likelihood with Platt's
    smoothed targets (Platt 1999, eq. 16 ff.), which stay finite where the classes are apart. The
    better side of a pair counts as a success and the worse one as none, so the base rate is 0.5 by
    construction: where successes are rare, what it says is too high by the log-odds of that.

    Args:
        kept: Held-out examples.
        scores: Score by row.
    """
    longest = max(pair[2] for pair in kept.pairs)
    pairs = [p for p in kept.pairs if p[2] == longest and {p[0], p[1]} <= scores.keys()]
    n = len(pairs)
    found = [scores[p[0]] for p in pairs] + [scores[p[1]] for p in pairs]
    s = torch.tensor(found, dtype=torch.float64)
    high, low = (n + 1) / (n + 2), 1 / (n + 2)
    targets = torch.tensor([high] * n + [low] * n).double()
    center, spread = s.mean(), s.std().clamp_min(1e-6)
    x = (s - center) / spread
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = weights[0] * x + weights[1]
        value = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    fitted = weights.detach()
    slope = float(fitted[0] / spread)
    intercept = float(fitted[1] - fitted[0] * center / spread)
    return {"slope": slope, "intercept": intercept, "base_rate": 0.5, "examples": 2.0 * n}


def model_card(
    settings: Settings, config: Mapping[str, Any], progress: Progress, pairs: int
) -> str:
    """Return the model card."""
    accuracy = [f"| {key} | {value:.3f} |" for key, value in settings.accuracy.items()]
    return "\n".join(
        [
            f"# Reward model for {', '.join(settings.normalisation)}",
            "",
            f"LoRA (rank {config['rank']}) on {Path(settings.backbone).name}, mean pooling, heads "
            f"for pairwise score and prefix value. Trained on {pairs} distinct pairs for "
            f"{progress.seconds:.0f} s wall, {progress.cpu_seconds:.0f} cpu-s: {progress.step} "
            f"steps, {progress.pairs} comparisons, {progress.rows} texts encoded; seed "
            f"{config['seed']}, {torch.get_num_threads()} threads.",
            "",
            "Accuracy on pairs of held-out tasks, labelled as the training pairs are:",
            "",
            "| steps | pair accuracy |",
            "|---|---|",
            *accuracy,
            "",
            f"Versions: armap-agents {version('armap-agents')}, torch {torch.__version__}, "
            f"python {platform.python_version()}.",
            "",
            "Load it with `armap_agents.reward.load_reward(folder)`.",
            "",
        ]
    )
