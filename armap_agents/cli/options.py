"""Options that several commands share, so that they are spelled the same everywhere."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from armap_agents.errors import ConfigurationError

EnvironmentName = Annotated[
    str, typer.Argument(metavar="ENV", help="Registered environment, such as game24.")
]
EnvironmentOptions = Annotated[
    list[str],
    typer.Option("-E", metavar="KEY=VALUE", help="Option of the environment; may be repeated."),
]
PolicyUrl = Annotated[
    str | None,
    typer.Option(envvar="ARMAP_POLICY_URL", help="OpenAI-compatible endpoint of the policy."),
]
PolicyModel = Annotated[
    str | None,
    typer.Option(envvar="ARMAP_POLICY_MODEL", help="Name under which it serves the policy."),
]
PolicyApiKeyEnv = Annotated[
    str | None,
    typer.Option(
        envvar="ARMAP_POLICY_API_KEY_ENV",
        help="NAME of the environment variable that holds the endpoint's key.",
    ),
]
PolicyTimeout = Annotated[
    float, typer.Option(min=0.001, help="Seconds that an endpoint may take for a request.")
]
PolicyConcurrency = Annotated[int, typer.Option(min=1, help="Most requests in flight at once.")]
PolicyStyle = Annotated[str, typer.Option(help="chat, or completion for base models.")]
Reward = Annotated[
    str | None,
    typer.Option(
        envvar="ARMAP_REWARD",
        help="Folder that `armap train` wrote, or address of a reward server or vLLM.",
    ),
]
Objective = Annotated[
    list[str],
    typer.Option(metavar="NAME=WEIGHT", help="Penalty off the reward, such as length=0.3."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every draw.")]


def on_command_line(context: typer.Context) -> dict[str, str]:
    """Return the parameters that stand on the command line itself, by name, as help writes them.

    Those that environment variables or defaults gave are not among them.
    """
    given = {}
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        # By name: typer has a click of its own in some versions.
        if source is not None and source.name == "COMMANDLINE":
            option = parameter.opts[0].startswith("-")
            given[name] = parameter.opts[0] if option else getattr(parameter, "metavar", name)
    return given


def parse_pairs(pairs: list[str]) -> dict[str, Any]:
    """Parse ``key=value`` options; a value that is JSON is taken as JSON, else as text.

    Raises:
        ConfigurationError: A pair has no ``=``.
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise ConfigurationError(f"{pair!r} is not KEY=VALUE: write e.g. length=0.3")
        try:
            parsed[key] = json.loads(value)
        except ValueError:
            parsed[key] = value
    return parsed


def parse_weights(pairs: list[str]) -> dict[str, float]:
    """Parse ``name=weight`` options.

    Raises:
        ConfigurationError: A weight is not a number.
    """
    weights = parse_pairs(pairs)
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ConfigurationError(f"the weight of {name!r} must be a number, not {weight!r}")
    return {name: float(weight) for name, weight in weights.items()}
