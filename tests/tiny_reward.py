"""Reward models of a few thousand weights: random ones, and one made as a user would make it.

`GAME` is a trajectory to score; `GAME24` and `MAZE` are two environments that models may know.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tiny_backbone import save_tiny_backbone

from armap_agents.reward.calibration import Calibration
from armap_agents.reward.render import Rendering
from armap_agents.reward.settings import EnvironmentSettings
from armap_agents.tools.game24.environment import play, puzzle_task

GAME = play(puzzle_task([1, 4, 8, 8]), ("8 / 4 = 2", "2 + 1 = 3", "8 * 3 = 24"))
NEWEST = Rendering("newest", ((r"^(?s:.*)Numbers? left: ", ""), (r"^.*make (\S+)\.$", r"\1")))
CALIBRATION = Calibration(2.0, 1.5, -0.5, 0.1, 200)
GAME24 = EnvironmentSettings(NEWEST, 0.5, 2.0, CALIBRATION)
MAZE = EnvironmentSettings(Rendering(), -1.0, 3.0)


def trained_reward(folder: Path) -> Path:
    """Train a tiny reward model for a moment, as a user would."""
    armap = str(Path(sys.executable).parent / "armap")
    data, reward = str(folder / "data"), str(folder / "reward")
    backbone = str(save_tiny_backbone(folder / "backbone"))
    for command in (
        ["generate", "game24", "--out", data, "--pairs", "200"],
        ["train", data, "--out", reward, "--weights", backbone, "--steps", "3"],
    ):
        subprocess.run([armap, *command], check=True, capture_output=True)
    return Path(reward)


def random_network(backbone: Path, options: Mapping[str, Any] | None = None, seed: int = 1) -> Any:
    """Return a network all of whose trained weights are random, as if it had been trained."""
    import torch

    from armap_agents.reward.model import new_network

    network = new_network("minilm", str(backbone), options or {}, seed=seed).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape))
    return network


def save_random_reward(
    folder: Path,
    environments: Mapping[str, EnvironmentSettings],
    options: Mapping[str, Any] | None = None,
    seed: int = 1,
) -> Path:
    """Write the model folder of a random network and return it; its backbone lies beside it."""
    from armap_agents.reward.model import save_network
    from armap_agents.reward.settings import Settings

    backbone = save_tiny_backbone(folder.parent / "backbone")
    network = random_network(backbone, options, seed)
    save_network(network, Settings(asdict(network.backbone.spec), dict(environments)), folder)
    return folder
