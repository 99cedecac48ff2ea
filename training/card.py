"""The model card: what a reward model was trained on, how, and how well it does."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

import torch

from armap_agents.reward.settings import EnvironmentSettings, Settings
from armap_agents.training.config import TrainConfig

WARNING = (
    "> **Labels from the environment.** Some of the training pairs were labelled by the "
    "environment's own scores. This model is an upper bound: its figures say nothing about what "
    "is learned without them."
)


def model_card(
    settings: Settings, config: TrainConfig, data: Sequence[tuple[str, str]], picture: str
) -> str:
    """Return the model card.

    Args:
        settings: Of the finished model.
        config: How it was trained.
        data: Name and digest of each data folder.
        picture: A line of Markdown that shows the training, or says why nothing does.
    """
    environments = ", ".join(sorted(settings.environments))
    sections = [
        f"# Reward model for {environments}",
        _warning(settings),
        _made(settings, config, data),
        _table(("label source", "pairs"), settings.sources.items()),
        "## Held-out tasks",
        "Accuracy on pairs of tasks that were not trained on, labelled as the training pairs are:",
        _table(("steps", "pair accuracy"), _rounded(settings.accuracy).items()),
        _environments(settings.environments),
        "## Training",
        picture,
        f"Versions: {_versions()}.",
        "## Use",
        f"```python\nfrom armap_agents.reward import load_reward\n\n{_use(settings)}\n```",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _warning(settings: Settings) -> str:
    return WARNING if any("environment" in source for source in settings.sources) else ""


def _made(settings: Settings, config: TrainConfig, data: Sequence[tuple[str, str]]) -> str:
    spent, backbone = settings.training, settings.backbone
    folders = ", ".join(f"`{name}` (sha256 {digest[:12]})" for name, digest in data)
    loss = f"{config.loss} loss"
    if config.loss == "pairwise":
        loss += f", centring `{config.centring}`"
    return (
        f"LoRA (rank {backbone['options'].get('rank')}) on `{backbone['weights']}` as "
        f"`{backbone['kind']}`, with heads for score and prefix value; {loss}. Made from "
        f"{folders}, {config.fraction:.0%} of the training tasks, in {spent['step']:.0f} steps: "
        f"{spent['seconds']:.0f} s wall, {spent['cpu_seconds']:.0f} cpu-s, "
        f"{spent['pairs']:.0f} comparisons, {spent['parts']:.0f} parts encoded; seed "
        f"{config.seed}, {torch.get_num_threads()} threads."
    )


def _environments(environments: Mapping[str, EnvironmentSettings]) -> str:
    rows = []
    for name, known in sorted(environments.items()):
        row = [
            name,
            f"{known.mean:.3f}",
            f"{known.std:.3f}",
            "yes" if known.rendering.images else "no",
        ]
        fitted = known.calibration
        if fitted is None:
            row += ["none", "none"]
        else:
            row.append(f"temperature {fitted.temperature:.2f}")
            row.append(
                "none"
                if fitted.base_rate is None
                else f"{fitted.examples} trajectories ({fitted.source}), base rate "
                f"{fitted.base_rate:.2f}"
            )
        rows.append(row)
    heads = ("environment", "mean score", "sd", "images", "`preference`", "`probability`")
    return _table(heads, rows)


def _rounded(accuracy: Mapping[str, float]) -> dict[str, str]:
    return {key: f"{value:.3f}" for key, value in accuracy.items()}


def _use(settings: Settings) -> str:
    lines = ['model = load_reward("this folder")', "scores = model.score(trajectories)"]
    calibrated = [
        name
        for name, known in settings.environments.items()
        if known.calibration and known.calibration.slope is not None
    ]
    if calibrated:
        several = len(settings.environments) > 1
        model = f'model.of("{min(calibrated)}")' if several else "model"
        lines.append(f"chances = {model}.probability(scores)")
    return "\n".join(lines)


def _versions() -> str:
    named = [f"{name} {version(name)}" for name in ("armap-agents", "transformers", "peft")]
    return ", ".join([*named, f"torch {torch.__version__}", f"python {platform.python_version()}"])


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines: list[Sequence[object]] = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
