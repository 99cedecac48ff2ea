"""Game of 24: reach 24 from four numbers, each used once, by three arithmetic steps.

`arithmetic` holds the rules in exact rational arithmetic, `environment` the Environment and the
tasks, `tool` the LangChain tool. All three share the one implementation of the rules.
"""

from armap_agents.tools.game24.arithmetic import calculate, legal_steps, take_step
from armap_agents.tools.game24.environment import Game24

__all__ = ["Game24", "calculate", "legal_steps", "take_step"]
