"""The scorer: a trained reward model that maps trajectories to numbers.

`render` writes trajectories, `backbones` turn them into vectors, `model` is the network, `scorer`
serves it in-process, `client` asks a server, `calibration` says what scores mean, `objectives`
bends scores by penalties (`register_penalty` adds yours). This package imports no torch until a
model is loaded.
"""

from __future__ import annotations

import os
from pathlib import Path

from armap_agents.reward.loaded import LoadedReward, require_torch
from armap_agents.reward.objectives import register_penalty
from armap_agents.reward.wire import is_address

__all__ = ["LoadedReward", "load_reward", "register_penalty"]


def load_reward(source: str | Path) -> LoadedReward:
    """Load a trained reward model.

    Args:
        source: The folder that `armap train` wrote, or the address of a server: `armap serve
            reward`'s, or that of a vLLM server that serves what `armap reward export` wrote.

    Raises:
        ConfigurationError: The folder is missing, damaged or not a reward model, or torch is not
            installed.
        ArmapError: No server answers there, or it serves no reward model.
    """
    if is_address(str(source)):
        from armap_agents.reward.client import open_client

        return open_client(str(source))
    require_torch()
    # Idle OpenMP threads that spin steal the cores from the policy server beside us.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from armap_agents.reward.scorer import TrainedReward

    return TrainedReward(Path(source).expanduser())
