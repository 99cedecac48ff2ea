"""The simplest judgement of a purchase: how high the product stood among the search results.

The official search ranks by the words of the query, so a shopper who searches for what was asked
and takes the first hit is hard to beat; a reward model has to be compared with that.
"""

from __future__ import annotations

import re

from armap_agents.trajectory import Trajectory

PAGE_SIZE = 10

NOT_BOUGHT = -1000.0

_PAGE = re.compile(r"\bPage (\d+) \(Total results: \d+\)")
_BUTTONS = frozenset({"click[back to search]", "click[next >]", "click[< prev]"})


def search_rank(trajectory: Trajectory) -> float:
    """Return minus the place of the bought product in its search, 0 for the first hit.

    `NOT_BOUGHT` where nothing was bought.
    """
    if not trajectory.steps or trajectory.actions[-1].lower() != "click[buy now]":
        return NOT_BOUGHT
    pages = [trajectory.observation, *(step.observation for step in trajectory.steps)]
    for page, step in reversed(list(zip(pages, trajectory.steps, strict=False))):
        number = _PAGE.search(page.text)
        hits = [action for action in page.actions or () if action not in _BUTTONS]
        if number and step.action.lower() in hits:
            return -float(PAGE_SIZE * (int(number[1]) - 1) + hits.index(step.action.lower()))
    return NOT_BOUGHT
