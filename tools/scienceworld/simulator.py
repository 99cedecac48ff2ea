"""ScienceWorld's bare simulator: what it is asked and what it answers, whatever process it is in.

The package's own wrapper lists all valid commands at every step, which takes most of a step's time;
here they are listed when someone asks, and asking changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What the bare simulator answers to a command.

    Attributes:
        text: Its words.
        score: 0 to 100; −100 after a wrong focus.
        completed: Whether it counts the task as done.
    """

    text: str
    score: int
    completed: bool


class Simulator:
    """The simulator's commands as Python calls; every one blocks.

    Args:
        gateway: py4j's gateway to the process.
    """

    def __init__(self, gateway: Any) -> None:
        java = gateway.jvm.java
        self._server = gateway.jvm.scienceworld.runtime.pythonapi.PythonInterface()
        self._join = java.lang.String.join
        # Scala's one source of chance: a public wrapper of a Java source that is swapped here.
        wrapper = java.lang.Class.forName("scala.util.Random$")
        self._chance = wrapper.getField("MODULE$").get(None)
        self._source = wrapper.getSuperclass().getDeclaredField("self")
        self._source.setAccessible(True)
        self._worlds = self._source.get(self._chance)
        self._listings = java.util.Random()

    def load(self, name: str, variation: int, simplification: str) -> str:
        """Set up a variation of a task without its gold path; return what the task asks."""
        self._server.load(name, variation, simplification, False)
        return str(self._server.getTaskDescription())

    def step(self, command: str) -> Outcome:
        """Carry out a command, without the listing of valid ones that makes a step slow."""
        text = str(self._server.step(command))
        score = round(100 * self._server.getScore())
        # Each question is a round trip, and only a full score can be that of a task that is done.
        return Outcome(text, score, score == 100 and bool(self._server.getCompleted()))

    def moves(self) -> int:
        """Return how many moves were made."""
        return int(self._server.getNumMoves())

    def valid(self) -> list[str]:
        """List the valid commands in alphabetical order; the world stays as if none had asked.

        The simulator draws which of its names an object is listed by, from the source that animals
        and plants draw from as well. Here listings draw from one of their own, which begins anew
        each time: what a state lists, and what comes after, depends on the actions alone.
        """
        self._listings.setSeed(0)
        self._source.set(self._chance, self._listings)
        try:
            # As one text: the elements of a Java list would cost a round trip each.
            listed = self._join("\n", self._server.getValidActionObjectCombinations())
        finally:
            self._source.set(self._chance, self._worlds)
        return str(listed).split("\n")
