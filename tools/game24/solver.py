"""Exhaustive search of Game of 24, for evaluation alone.

Nothing that generates data, trains or plans may import this: training labels are self-made.
"""

from __future__ import annotations

from functools import cache

from armap_agents.tools.game24.arithmetic import TARGET, Numbers, legal_steps


@cache
def solvable(numbers: Numbers) -> bool:
    """Whether some sequence of legal steps leads from these numbers to 24 alone."""
    if len(numbers) == 1:
        return numbers[0] == TARGET
    return any(solvable(left) for _, left in legal_steps(numbers))
