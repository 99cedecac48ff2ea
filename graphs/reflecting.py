"""Reflection: the policy reads what it did and notes in a line what to do differently."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from armap_agents.graphs.context import PlannerContext
from armap_agents.graphs.nodes import guide_of, open_policy
from armap_agents.graphs.rollout import derive_seed, one_line
from armap_agents.policy import PolicyFailure, prompts
from armap_agents.trajectory import Trajectory
from armap_agents.usage import Usage

NOTE_TOKENS = 96
"""Tokens written for a note at most: what `prompts.note` keeps, and hardly more."""

_log = logging.getLogger(__name__)


async def write_note(
    attempt: Trajectory, index: int, memory: Sequence[str], context: PlannerContext
) -> dict[str, Any]:
    """Have the policy write a note on an attempt.

    Args:
        attempt: What it did, to the end or to where it failed.
        index: The attempt's number; the draw's seed depends on it.
        memory: The notes that the attempt was shown.
        context: The planner's.

    Returns:
        ``{"text": …, "usage": …}`` as pure JSON; where something went wrong the text is empty and
        ``"error"`` says what.
    """
    started, task = time.monotonic(), attempt.task
    text, usage, error = "", Usage(), None
    try:
        # Leasing the environment resets it, not in vain: the next attempt finds it so.
        prompt = prompts.reflection(attempt, await guide_of(task, context), memory)
        policy = await open_policy(context)
        text, usage = await policy.write(
            prompt,
            temperature=context.temperature,
            max_tokens=NOTE_TOKENS,
            seed=derive_seed(context.seed, task.environment, task.id, "reflection", index),
        )
        text = prompts.note(text)
        if not text:
            usage, error = usage + Usage(failures=1), "the policy wrote nothing"
    except Exception as failure:
        _log.debug("the reflection on attempt %d failed", index, exc_info=True)
        usage = failure.usage if isinstance(failure, PolicyFailure) else Usage(failures=1)
        error = one_line(failure, context.rollout_seconds)
    usage = replace(usage, seconds=round(time.monotonic() - started, 4))
    note = {"text": text, "usage": usage.to_dict()}
    return note if error is None else note | {"error": error}
