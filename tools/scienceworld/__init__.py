"""ScienceWorld: thirty school experiments in a house of ten rooms, told in words.

The world is the simulator of the package `scienceworld`, a Java program. `jvm` is its process,
`tasks` which tasks and splits there are, `environment` the Environment, `guide` what a policy is
told, `tool` the LangChain tool. Nothing here starts Java before the first reset.
"""

from armap_agents.tools.scienceworld.environment import ScienceWorld

__all__ = ["ScienceWorld"]
