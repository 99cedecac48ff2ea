"""Budgets of a search: which of the context's limits is spent.

A planner asks between its iterations, so an iteration under way is always finished and what it
spends may pass a limit by that much.
"""

from __future__ import annotations

from armap_agents.errors import ConfigurationError
from armap_agents.graphs.context import PlannerContext
from armap_agents.usage import Usage

BUDGETS = ("rollouts", "completions", "tokens", "environment_steps", "seconds")
"""The context's fields that bound a search, in the order in which they are looked at."""


def require_budget(context: PlannerContext, what: str) -> None:
    """Make sure that something will end `what`.

    Raises:
        ConfigurationError: Every budget is None.
    """
    if all(getattr(context, name) is None for name in BUDGETS):
        raise ConfigurationError(
            f"without a budget {what} may never end: set one of {', '.join(BUDGETS)}"
        )


def spent_budget(context: PlannerContext, spent: Usage) -> str | None:
    """Return the name of the first budget that is spent, None while all have something left.

    Args:
        context: Its `BUDGETS`; one that is None never stops.
        spent: What the search has cost so far. Tokens are those read and written; `seconds` is
            here the time since the search began, not the sum over concurrent parts.
    """
    used = spent.to_dict() | {"tokens": spent.prompt_tokens + spent.completion_tokens}
    for name in BUDGETS:
        limit = getattr(context, name)
        if limit is not None and used[name] >= limit:
            return name
    return None
