"""The scorer: a trained reward model that maps trajectories to numbers.

`render` writes trajectories as text, `model` is the network, `scorer` serves it in batches,
`objectives` bends scores by penalties (`register_penalty` adds yours). This package imports no
torch until a model is loaded.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from armap_agents.errors import ConfigurationError
from armap_agents.reward.objectives import register_penalty

if TYPE_CHECKING:
    from armap_agents.reward.scorer import TrainedReward

__all__ = ["load_reward", "register_penalty"]


def load_reward(path: str | Path) -> TrainedReward:
    """Load a trained reward model.

    Args:
        path: The folder that `armap train` wrote.

    Raises:
        ConfigurationError: torch is not installed, or the folder is missing, damaged or not a
            reward model.
    """
    if find_spec("torch") is None:
        raise ConfigurationError(
            "trained reward models need torch: install it with `pip install 'armap-agents[reward]'`"
        )
    # Idle OpenMP threads that spin steal the cores from the policy server beside us.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from armap_agents.reward.scorer import load

    return load(path)
