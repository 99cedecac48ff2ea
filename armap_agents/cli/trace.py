"""`armap trace`: what a run did, in the terminal or as one page for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from armap_agents.errors import ConfigurationError
from armap_agents.resources import runs_folder


def trace(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Name of a run, or the path of its folder.")
    ],
    html: Annotated[
        Path | None,
        typer.Option(help="Write one page that needs no network here instead.", dir_okay=False),
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=0, help="Deepest level of the tree to print.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--all", help="Print every node, not the most visited alone.")
    ] = False,
) -> None:
    """Show what a run did: the tree, the answer, the costs."""
    from armap_agents.viewer import find_run, print_trace, read_document

    folder = find_run(run, runs_folder())
    document = read_document(folder)
    if html is None:
        print_trace(Console(), document, depth, whole)
        return
    from armap_agents.viewer.page import embedded, render_page

    page = render_page(document, embedded(folder)).encode()
    try:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_bytes(page)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {html}: {error.strerror}; name another file with --html"
        ) from None
    typer.echo(f"{html}: {len(page) / 1e6:.1f} MB, opens in any browser")
