"""`armap tasks`: what an environment has to offer."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from armap_agents.cli.options import EnvironmentName, EnvironmentOptions, parse_pairs
from armap_agents.environment import make_environment


def tasks(
    environment: EnvironmentName,
    split: Annotated[str, typer.Option(help="Split to list.")] = "test",
    limit: Annotated[int, typer.Option(min=1, help="Most tasks to show.")] = 20,
    e: EnvironmentOptions = [],  # noqa: B006 - typer copies defaults
) -> None:
    """List the tasks of an environment's split."""
    found = make_environment(environment, **parse_pairs(e)).tasks(split)
    table = Table("id", "instruction", title=f"{environment}, {split}: {len(found)} tasks")
    for task in found[:limit]:
        table.add_row(task.id, task.instruction or "(known after reset)")
    Console().print(table)
