"""A reward model of a few thousand weights, made with the commands that a user would type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tiny_backbone import save_tiny_backbone


def trained_reward(folder: Path) -> Path:
    """Train a tiny reward model for a moment, as a user would."""
    armap = str(Path(sys.executable).parent / "armap")
    data, reward = str(folder / "data"), str(folder / "reward")
    backbone = str(save_tiny_backbone(folder / "backbone"))
    for command in (
        ["generate", "game24", "--out", data, "--trajectories", "200"],
        ["train", data, "--out", reward, "--backbone", backbone, "--steps", "3"],
    ):
        subprocess.run([armap, *command], check=True, capture_output=True)
    return Path(reward)
