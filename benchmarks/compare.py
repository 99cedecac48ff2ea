"""Finished evaluations of the same tasks and seeds side by side, with paired differences.

What a policy adds, or another reward model: run `armap evaluate` once with each, then

    python benchmarks/compare.py runs/results/search/policy runs/results/search/uniform

prints their planners in one table, and what each scores more or less than one of them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from armap_agents.errors import ArmapError
from armap_agents.evaluation import compare
from armap_agents.evaluation.table import print_summary


def main(
    folders: Annotated[list[Path], typer.Argument(help="Folders of finished evaluations.")],
    reference: Annotated[
        str | None,
        typer.Option(help="Planner that the others are compared with, as the table names it."),
    ] = None,
) -> None:
    """Print evaluations of the same tasks and seeds side by side."""
    try:
        print_summary(compare(folders), reference=reference)
    except ArmapError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    typer.run(main)
