"""What a finished training run says about itself: held-out accuracy, score scale, model card."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

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
