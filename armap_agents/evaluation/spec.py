"""What one evaluation is: the RunSpec, and the configuration that its folder is held to.

A RunSpec is JSON, so that the same evaluation can be started from the command line, from Python or
on another machine. The configuration written to ``DIR/config.json`` is the spec with what it turned
out to mean on this machine (hashes of the tasks, the reward model's fingerprint, versions):
everything that could change a figure. Results of two configurations never share a folder.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence, Set
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from armap_agents.environment import Environment, make_environment
from armap_agents.errors import ConfigurationError
from armap_agents.trajectory import JSON, Task, content_hash

CONFIG = "config.json"

PACKAGES = ("armap-agents", "langgraph", "langchain-openai", "torch", "transformers", "peft")
"""Packages whose versions may move a figure."""

PLACES = frozenset({"spec.policy_url", "spec.policy_api_key_env"})
"""Fields that say where something is, not what it is: they may change between two starts."""


class RunSpec(BaseModel):
    """One evaluation, as JSON.

    Attributes:
        environment: Registered name.
        environment_options: Keywords of its factory.
        split: Split that the tasks are from.
        tasks: Task ids, in the order in which they are run.
        planners: Labels of planners: a name, or a variant with options of its own such as
            ``mcts[value_weight=0;completions=96]``. A label stands for its definition wherever
            results are named. For one task and seed they run in this order.
        seeds: Every task is run once per planner and seed.
        n: Rollouts per task for planners that draw several.
        temperature: Sampling temperature of the policy.
        policy_url: OpenAI-compatible endpoint; None for planners that need no policy.
        policy_model: The model's name there.
        policy_style: Chat or plain completion requests.
        policy_api_key_env: NAME of the variable that holds the key, never the key.
        reward: Folder, address or registered name of the reward model; ``{seed}`` in it stands for
            the seed, so that every seed has a model of its own.
        objective: Weights of the objective's penalties by name.
        limits: Further limits of the planner's context by name (step limit, deadlines, …).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str
    environment_options: dict[str, Any] = {}
    split: str = "test"
    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    planners: Annotated[tuple[str, ...], Field(min_length=1)]
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    n: Annotated[int, Field(ge=1)] = 16
    temperature: Annotated[float, Field(ge=0)] = 0.7
    policy_url: str | None = None
    policy_model: str | None = None
    policy_style: Literal["chat", "completion"] = "chat"
    policy_api_key_env: str | None = None
    reward: str | None = None
    objective: dict[str, float] = {}
    limits: dict[str, Any] = {}

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        for field in ("tasks", "planners", "seeds"):
            values = getattr(self, field)
            if len(set(values)) < len(values):
                raise ValueError(f"{field} names one twice")
        return self

    @classmethod
    def from_dict(cls, value: Mapping[str, JSON]) -> RunSpec:
        """Rebuild a spec from JSON.

        Raises:
            ConfigurationError: A field is missing, unknown or of the wrong kind.
        """
        try:
            return cls.model_validate(dict(value))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "spec"
            raise ConfigurationError(f"run spec, {where}: {first['msg']}") from None

    def to_dict(self) -> dict[str, JSON]:
        """Return the spec as pure JSON."""
        return self.model_dump(mode="json")


def read_config(out: Path) -> dict[str, Any]:
    """Return the configuration of an evaluation's folder.

    Raises:
        ConfigurationError: There is none, or it is damaged.
    """
    path = out / CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return config | {"spec": dict(config["spec"])}
    except FileNotFoundError:
        raise ConfigurationError(
            f"{out} holds no evaluation: give the --out folder of `armap evaluate`"
        ) from None
    except (ValueError, TypeError, KeyError):
        raise ConfigurationError(
            f"{path} is damaged: put a copy of it back, or evaluate into another folder"
        ) from None


def read_spec(out: Path) -> RunSpec:
    """Return the spec of an evaluation's folder.

    Raises:
        ConfigurationError: There is none, or it is damaged.
    """
    return RunSpec.from_dict(read_config(out)["spec"])


def planner_of(label: str) -> str:
    """Return the name in a planner's label: ``mcts`` of ``mcts[value_weight=0]``."""
    return label.partition("[")[0]


def find_tasks(environment: Environment, split: str, ids: Sequence[str]) -> list[Task]:
    """Return the split's tasks with these ids, in the order of `ids`.

    Raises:
        ConfigurationError: The split lacks one of them.
    """
    known = {task.id: task for task in environment.tasks(split)}
    unknown = [task_id for task_id in ids if task_id not in known]
    if unknown:
        raise ConfigurationError(
            f"{environment.name} has no task {unknown[0]!r} in split {split!r}: "
            f"list them with `armap tasks {environment.name} --split {split}`"
        )
    return [known[task_id] for task_id in ids]


def spec_environment(spec: RunSpec) -> Environment:
    """Make the spec's environment and check that evaluation can use it.

    Raises:
        ConfigurationError: It is unknown, has no `true_score`, or cannot be restored.
    """
    environment = make_environment(spec.environment, **spec.environment_options)
    if not hasattr(environment, "true_score"):
        raise ConfigurationError(
            f"environment {spec.environment!r} cannot be evaluated: "
            "give it true_score() -> float from 0 to 1"
        )
    if not getattr(environment, "restorable", True):
        raise ConfigurationError(
            f"environment {spec.environment!r} cannot be evaluated: its episodes cannot be "
            "restored, so nobody can ask for their true scores afterwards"
        )
    return environment


def task_groups(spec: RunSpec) -> dict[str, str]:
    """Return the group of each of the spec's tasks, where the environment groups its tasks.

    Raises:
        ConfigurationError: The environment cannot be made, or lacks one of the tasks.
    """
    environment = spec_environment(spec)
    group = getattr(environment, "group", None)
    if group is None:
        return {}
    tasks = find_tasks(environment, spec.split, spec.tasks)
    return {task.id: str(group(task)) for task in tasks}


def configuration(
    spec: RunSpec, tasks: Sequence[Task], identity: Mapping[str, JSON]
) -> dict[str, JSON]:
    """Return everything that could change a figure, as JSON.

    Args:
        spec: What is asked for.
        tasks: Its tasks, as the environment lists them.
        identity: What the caller knows besides. With ``reward_fingerprint`` in it the reward model
            is known by that, and its folder may move.
    """
    versions: dict[str, str] = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "spec": spec.to_dict(),
        "identity": dict(identity),
        "data": {"tasks": content_hash([task.to_dict() for task in tasks])},
        "versions": versions,
    }


def hold_to(out: Path, config: Mapping[str, JSON]) -> None:
    """Write `config` into an evaluation's folder, or check that it is what already stands there.

    Raises:
        ConfigurationError: Another configuration stands there (the message lists the differences),
            or a damaged one.
    """
    path = out / CONFIG
    if path.exists():
        known = config["identity"].get("reward_fingerprint")
        places = PLACES | ({"spec.reward"} if known else set())
        differences = list(_differences("", read_config(out), config, places))
        if differences:
            raise ConfigurationError(
                f"{out} holds the results of another configuration: "
                "use another folder, or the same options\n  " + "\n  ".join(differences)
            )
        return
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    draft = path.with_suffix(".draft")
    draft.write_text(text, "utf-8")
    draft.replace(path)


def _differences(name: str, there: JSON, asked: JSON, skip: Set[str]) -> Iterator[str]:
    if isinstance(there, Mapping) and isinstance(asked, Mapping):
        for key in sorted(there.keys() | asked.keys()):
            dotted = f"{name}.{key}" if name else key
            if dotted in skip:
                continue
            yield from _differences(dotted, there.get(key), asked.get(key), skip)
    elif there != asked:
        yield f"{name.removeprefix('spec.')}: {_short(there)} there, {_short(asked)} asked for"


def _short(value: JSON) -> str:
    if isinstance(value, list) and len(value) > 6:
        return f"{len(value)} from {value[0]} to {value[-1]}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
