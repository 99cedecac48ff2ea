"""`armap doctor`: what this machine has and lacks."""

from __future__ import annotations

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from armap_agents.cli.machine import State, checks

MARKS = {
    State.PRESENT: "[green]✓[/]",
    State.OPTIONAL: "[yellow]–[/]",
    State.MISSING: "[red]✗[/]",
}


def doctor() -> None:
    """Show what the machine has and lacks, each lack with its cure."""
    table = Table("", "what", box=box.SIMPLE)
    # A path or a cure is there to be copied: it is folded, never cut short.
    table.add_column("found", overflow="fold")
    table.add_column("cure", overflow="fold")
    lacking = []
    for check in checks():
        table.add_row(MARKS[check.state], check.name, check.found, check.cure)
        if check.state is State.MISSING:
            lacking.append(check.name)
    console = Console()
    console.print(table)
    if lacking:
        console.print(f"[red]`make run` cannot work yet:[/] see {', '.join(lacking)}.")
        raise typer.Exit(1)
    console.print("Everything that `make run` needs is here, or is fetched by it.")
