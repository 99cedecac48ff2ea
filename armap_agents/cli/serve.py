"""`armap serve`: run the policy, a reward model or the shop until the command is stopped."""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from armap_agents.cli.processes import run_to_end
from armap_agents.cli.reward import require_reward_packages
from armap_agents.errors import ArmapError
from armap_agents.serving.policy_server import DEFAULT_MODEL, policy_server
from armap_agents.serving.progress import progress_line

app = typer.Typer(no_args_is_help=True)


@app.callback()
def serve() -> None:
    """Serve models and worlds on this machine."""


@app.command()
def policy(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND…]",
            help="Run this beside the server, with ARMAP_POLICY_URL and ARMAP_POLICY_MODEL set; "
            "the server stops with it.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="A pulled model's name, or a folder.")] = DEFAULT_MODEL,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    max_model_len: Annotated[
        int, typer.Option(min=16, help="Longest prompt and completion together, in tokens.")
    ] = 2048,
    max_num_seqs: Annotated[int, typer.Option(min=1, help="Sequences decoded together.")] = 128,
) -> None:
    """Serve the policy with vLLM, until Ctrl-C; a running server of the model is left alone."""
    try:
        status = asyncio.run(_serve(command or [], model, host, port, max_model_len, max_num_seqs))
    except ArmapError as error:
        for note in getattr(error, "__notes__", []):
            typer.echo(note, err=True)
        raise
    raise typer.Exit(status)


@app.command()
def reward(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Folder that `armap train` wrote.")
    ],
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; one that the network reaches needs a key."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8100,
    api_key_env: Annotated[
        str | None,
        typer.Option(
            help="NAME of the environment variable that holds the key that clients must send. They "
            "name theirs in ARMAP_REWARD_API_KEY_ENV.",
            show_default=False,
        ),
    ] = None,
    max_trajectories: Annotated[
        int, typer.Option(min=1, help="Trajectories in a request, at most.")
    ] = 256,
    max_body: Annotated[int, typer.Option(min=1, help="MiB of a request, at most.")] = 64,
    max_image: Annotated[int, typer.Option(min=1, help="MiB of a picture, at most.")] = 8,
    max_waiting: Annotated[
        int,
        typer.Option(min=1, help="Trajectories that may wait; beyond, clients try again later."),
    ] = 4096,
) -> None:
    """Serve a reward model, until Ctrl-C; give planners its address as --reward."""
    require_reward_packages()
    from armap_agents.reward.server import serve as serve_reward
    from armap_agents.reward.wire import MIB, Limits

    def say(origin: str) -> None:
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"Serving {model} at {origin}; Ctrl-C stops it.", highlight=False)

    limits = Limits(max_body * MIB, max_trajectories, max_image * MIB, max_waiting)
    serve_reward(model, host, port, api_key_env=api_key_env, limits=limits, started=say)


@app.command()
def shop(
    data: Annotated[
        str | None, typer.Option(help="Folder of WebShop's files; default: the embedded shop.")
    ] = None,
    goals: Annotated[str, typer.Option(help="synthetic or human.")] = "synthetic",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 3000,
    score: Annotated[
        bool, typer.Option(help="Show what a purchase scores: not to agents that are judged by it.")
    ] = False,
) -> None:
    """Serve WebShop's pages, for people to look at and for agents elsewhere, until Ctrl-C."""
    from armap_agents.tools.webshop.environment import require_packages

    require_packages(site=True)
    from armap_agents.tools.webshop.shop import open_shop
    from armap_agents.tools.webshop.site.serve import serve_site

    opened = open_shop(data, goals)  # type: ignore[arg-type]  # which refuses what is no kind

    def say(origin: str) -> None:
        Console(stderr=True).print(f"Open {origin} in a browser; Ctrl-C stops it.")

    serve_site(opened, host, port, official_done=score, started=say)


async def _serve(
    command: list[str], model: str, host: str, port: int, max_model_len: int, max_num_seqs: int
) -> int:
    console = Console(stderr=True)
    serving = asyncio.current_task()
    assert serving is not None
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_number, serving.cancel)
    with suppress(asyncio.CancelledError), ExitStack() as progress:
        report = progress.enter_context(progress_line(console))
        async with policy_server(
            model,
            host=host,
            port=port,
            max_model_len=max_model_len,
            max_num_seqs=max_num_seqs,
            report=report,
        ) as server:
            progress.close()
            if command:
                return await run_to_end(
                    command, {"ARMAP_POLICY_URL": server.url, "ARMAP_POLICY_MODEL": server.model}
                )
            if server.reused:
                console.print(f"{server.model} is already served at {server.url}.")
                return 0
            console.print(f"Serving {server.model} at {server.url}; Ctrl-C stops it.")
            console.print(f"Log: {server.log}")
            await server.wait()
    # Ctrl-C is how serving ends, and cuts a command short.
    return 130 if command else 0
