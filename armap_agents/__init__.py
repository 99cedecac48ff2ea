"""Automatic reward modelling and planning for LLM agents whose weights stay frozen.

The vocabulary (`Task`, `Observation`, `Step`, `Trajectory`), the `Environment` and `RewardModel`
protocols with their registries, and `resources`, which holds what is alive in one event loop. The
planners are in `armap_agents.graphs`, the trained scorers in `armap_agents.reward`.
"""

from armap_agents.environment import (
    Environment,
    Guide,
    StepResult,
    make_environment,
    register_environment,
)
from armap_agents.errors import ArmapError
from armap_agents.resources import resources
from armap_agents.reward_model import FunctionReward, RewardModel, register_reward
from armap_agents.trajectory import Image, Observation, Status, Step, Task, Trajectory
from armap_agents.usage import Usage

__all__ = [
    "ArmapError",
    "Environment",
    "FunctionReward",
    "Guide",
    "Image",
    "Observation",
    "RewardModel",
    "Status",
    "Step",
    "StepResult",
    "Task",
    "Trajectory",
    "Usage",
    "make_environment",
    "register_environment",
    "register_reward",
    "resources",
]
