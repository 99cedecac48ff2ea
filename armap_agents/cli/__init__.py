"""The `armap` command: the one place where everything is put together.

Each file holds one group of commands. An `ArmapError` anywhere below is printed as its one line
and ends the command with status 1; anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.markup import escape

from armap_agents.cli import (
    demo,
    doctor,
    evaluate,
    generate,
    label,
    models,
    plan,
    reward,
    serve,
    tasks,
    trace,
    train,
)
from armap_agents.errors import ArmapError

app = typer.Typer(
    help="Explore, learn a reward model, and plan with it: a frozen LLM agent made better.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("tasks")(tasks.tasks)
app.command("plan")(plan.plan)
app.command("trace")(trace.trace)
app.command("generate")(generate.generate)
app.command("label")(label.label)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("doctor")(doctor.doctor)
app.add_typer(models.app, name="models", help="Get the models that run without any account.")
app.add_typer(
    reward.app, name="reward", help="Judge, recalibrate, import and export reward models."
)
app.add_typer(serve.app, name="serve", help="Serve models on this machine.")


def main() -> None:
    """Run the command line; the entry point of the `armap` script."""
    try:
        app()
    except ArmapError as error:
        # One line that can be copied as it is: a terminal wraps it where it likes.
        line = f"[bold red]error:[/] {escape(str(error))}"
        Console(stderr=True).print(line, highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
