"""What a caller asks for, checked before anything begins; what is wrong is said in one line.

The command line and the LangGraph server check here, so that both say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from armap_agents.errors import ConfigurationError
from armap_agents.graphs.context import PlannerContext
from armap_agents.trajectory import Task

EXAMPLE = '{"task": {"environment": "game24", "id": "901"}}'

_FIELDS: dict[str, tuple[type, ...]] = {
    "environment": (str,),
    "id": (str, int),
    "split": (str,),
    "instruction": (str, type(None)),
    "max_steps": (int, type(None)),
    "data": (Mapping, type(None)),
}


def checked_context(options: Mapping[str, Any]) -> PlannerContext:
    """Return the context of these options; a None is meant, and lifts a budget with a default.

    Raises:
        ConfigurationError: An option is unknown or out of bounds; one line says which.
    """
    try:
        return PlannerContext(**options)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = ", ".join(PlannerContext.model_fields)
            raise ConfigurationError(f"no option is called {name!r}: use {known}") from None
        raise ConfigurationError(f"{name}: {first['msg']}, not {first['input']!r}") from None


def checked_task(given: Any) -> Task:
    """Return the task of a planner's input.

    Raises:
        ArmapError: There is none, or it is malformed; one line says what to pass.
    """
    task = given.get("task") if isinstance(given, Mapping) else None
    if not isinstance(task, Mapping):
        raise ConfigurationError(f"the input names no task: pass {EXAMPLE}")
    for name, kinds in _FIELDS.items():
        if name in task and not isinstance(task[name], kinds):
            raise ConfigurationError(f"a task's {name} cannot be {task[name]!r}: pass {EXAMPLE}")
    return Task.from_dict(task)
