"""How an action is chosen from a list that is too long to be shown: its verb first, then the rest.

A household of a hundred things allows over a thousand actions: too many to stand in a prompt, and
slow to compile into a constraint. Such a list is narrowed in stages. Each stage offers the
beginnings by which the actions left differ next, in whole words, and goes on with those that have
the chosen one. What is offered where depends on the list alone, so that every planner and every
server is offered the same, and an action says by itself on which way it was chosen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from armap_agents.trajectory import Observation

NARROW_ABOVE = 64
"""Listed actions above which a list is narrowed; at most as many are offered in its last stage."""

_WORD = re.compile(r"\s*\S+")


def is_long(observation: Observation) -> bool:
    """Tell whether the actions at an observation are chosen in stages.

    Beside templates they are not: what fills a template has no place among beginnings.
    """
    actions = observation.actions or ()
    return len(actions) > NARROW_ABOVE and not observation.templates


@lru_cache(maxsize=4096)  # rollouts side by side stand in the same states
def offered(actions: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """Return what one stage offers: beginnings, each with the actions that it stands for.

    Up to `NARROW_ABOVE` actions are offered as they are. More are grouped by the first word in
    which they differ, and a group is offered as all that its members share, in whole words. It is
    narrowed in turn, so a stage offers more than `NARROW_ABOVE` beginnings only where so many
    words follow the same one.

    Args:
        actions: In the environment's order.
    """
    actions = tuple(dict.fromkeys(actions))
    if len(actions) <= NARROW_ABOVE:
        return MappingProxyType({action: (action,) for action in actions})
    words = {action: tuple(_WORD.findall(action)) for action in actions}
    known = _shared([words[action] for action in actions])
    groups: dict[str, list[str]] = {}
    for action in actions:
        ended = len(words[action]) == known
        key = action if ended else "".join(words[action][: known + 1])
        groups.setdefault(key, []).append(action)
    stage = {}
    for members in groups.values():
        shared = _shared([words[action] for action in members])
        beginning = "".join(words[members[0]][:shared])
        stage[beginning if len(members) > 1 else members[0]] = tuple(members)
    return MappingProxyType(stage)


def _shared(actions: Sequence[tuple[str, ...]]) -> int:
    """Return how many leading words all actions share."""
    # Of sorted actions the first and the last one part earliest.
    pairs = enumerate(zip(min(actions), max(actions), strict=False))
    shorter = min(map(len, actions))
    return next((k for k, (one, other) in pairs if one != other), shorter)


def stages(actions: tuple[str, ...]) -> int:
    """Return the most choices that lead to an action of a list."""
    groups = offered(actions).values()
    return 1 + max((stages(members) for members in groups if len(members) > 1), default=0)
