"""The LangChain tool for agents that act in ScienceWorld by tool calls: ``act(command)``."""

from __future__ import annotations

from langchain_core.tools import BaseTool, tool

from armap_agents.tools.scienceworld.environment import ScienceWorld

ENDED = "The experiment is over."
"""What the tool answers once it is."""


def scienceworld_tool(environment: ScienceWorld) -> BaseTool:
    """Return the tool that acts in an environment, which has to be reset to a task first.

    Args:
        environment: Its episode is the one that the tool acts in, across new resets too.
    """

    @tool
    async def act(command: str) -> str:
        """Do something in the house, e.g. `look around`, `open cupboard` or `focus on apple`."""
        if environment.done:
            return ENDED
        result = await environment.step(command)
        return f"{result.observation.text}\n{ENDED}" if result.done else result.observation.text

    return act
