"""`armap reward`: judge a reward model, take over a released one, hand one to other servers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from armap_agents.cli import label, reward_report
from armap_agents.errors import ConfigurationError

app = typer.Typer(no_args_is_help=True)
app.command("report")(reward_report.report)
app.command("recalibrate")(label.recalibrate)


def require_reward_packages() -> None:
    """Raise `ConfigurationError` where what reward models are loaded and served with is missing."""
    missing = [name for name in ("torch", "fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"{', '.join(missing)} missing: install with `pip install 'armap-agents[reward]'`"
        )


@app.command()
def export(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Folder that `armap train` wrote.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; a new one, or an earlier export.")],
) -> None:
    """Write a text model as a Hugging Face sequence classifier, which vLLM serves."""
    require_reward_packages()
    from armap_agents.reward.export import export as write

    write(model, out)
    Console(soft_wrap=True).print(
        f"Wrote {out}. Serve it with `vllm serve {out} --runner pooling --convert classify` and "
        "give planners the server's address as --reward.",
        highlight=False,
    )


@app.command("import")
def import_(
    released: Annotated[
        Path,
        typer.Argument(metavar="RELEASED", help="Folder of a released LoRA adapter and its head."),
    ],
    weights: Annotated[Path, typer.Option(help="Folder of the VILA1.5 checkpoint beneath.")],
    out: Annotated[Path, typer.Option(help="New model folder.")],
    environment: Annotated[
        str, typer.Option(help="Registered name of the environment that it was trained on.")
    ] = "webshop",
) -> None:
    """Make a model folder of the paper's released reward model; safetensors alone are read."""
    require_reward_packages()
    from armap_agents.reward.backbones.vila.released import import_released

    import_released(released, str(weights), out, environment)
    Console(soft_wrap=True).print(
        f"Wrote {out}. Its scores have no calibration, its prefix values are all one half, and it "
        "reads this project's prompt, not the one it was trained with: judge it first with "
        f"`armap reward report {out} DATA`.",
        highlight=False,
    )
