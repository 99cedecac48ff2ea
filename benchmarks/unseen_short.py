"""Prints tasks of ScienceWorld for `--tasks`: rows of `unseen` of the kinds that `seen-short` has.

Six of each kind, the first in ETO's order: tasks like those of `seen-short`, and more of them.
"""

from __future__ import annotations

from collections import Counter

from armap_agents.tools.scienceworld.tasks import rows

EACH = 6

if __name__ == "__main__":
    kinds = {name for name, _ in rows("seen-short")}
    taken = Counter[str]()
    for name, variation in rows("unseen"):
        if name in kinds and taken[name] < EACH:
            print("," if taken else "", f"{name}/{variation}", sep="", end="")
            taken[name] += 1
