"""The Environment protocol and the registry that makes environments by name.

An environment is asynchronous, holds one episode at a time and is cheap to construct: `tasks()` and
the constructor start no process, the first `reset` may. Whatever an environment can do beyond the
protocol it says by having it: `restore` (where it gets to any state at once; else reset and replay
serves, from the longest beginning that it has behind it), `true_score` (for
evaluation alone), `instruction` (where it is known only after reset), `guide` (what a policy is
told), `pool_size` (how many may be alive side by side), `alive` (whether its process still is). One
whose process dies in the middle raises `EnvironmentDied`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from armap_agents.errors import ConfigurationError, EnvironmentFailure
from armap_agents.trajectory import Observation, Task, Trajectory


@dataclass(frozen=True)
class StepResult:
    """What `Environment.step` returns.

    Attributes:
        observation: What the agent sees after the action.
        done: Whether the episode is over.
    """

    observation: Observation
    done: bool = False


@dataclass(frozen=True)
class Guide:
    """What a policy is told about an environment before it acts.

    Attributes:
        text: The rules and how an action is written.
        examples: Worked episodes on tasks outside every evaluation split, shown in this order.
    """

    text: str
    examples: tuple[Trajectory, ...] = ()


@runtime_checkable
class Environment(Protocol):
    """A world that an agent acts in, one episode at a time.

    Optional members, used where present: ``async restore(task, actions) -> Observation`` (gets
    anywhere at once; default: reset and replay), ``async replay(task, actions) -> Observation``
    (acts again like the default, but spares what only the last observation needs), ``true_score()
    -> float`` (0 to 1, or an awaitable of it, for evaluation alone), ``instruction: str`` (after
    reset, where `Task.instruction` is None), ``guide: Guide``, ``group(task) -> str`` (tasks of one
    group are no independent evidence: evaluation draws them together in its intervals),
    ``selectors: Mapping[str, Callable[[Trajectory], float]]`` (trivial rules of the environment's
    own that a reward model has to beat), ``pool_size: int`` (default 8), ``alive: bool`` (default
    True; False once the process behind it is gone, so that nobody is lent it) and ``restorable:
    bool`` (default True; False where the same actions may lead elsewhere).
    """

    name: str

    def tasks(self, split: str) -> list[Task]:
        """List the tasks of a split; raises `ArmapError` for a split that does not exist."""
        ...

    async def reset(self, task: Task) -> Observation:
        """Begin an episode and return the opening observation."""
        ...

    async def step(self, action: str) -> StepResult:
        """Take an action; one that is not valid gets the environment's own answer in words."""
        ...

    async def close(self) -> None:
        """Let go of processes and connections; safe to call twice."""
        ...


EnvironmentFactory = Callable[..., Environment]

_factories: dict[str, EnvironmentFactory] = {}


def register_environment(name: str, factory: EnvironmentFactory) -> None:
    """Make `make_environment(name, **options)` call ``factory(**options)``.

    Packages can register with an entry point in the group ``armap_agents.environments`` instead.
    """
    _factories[name] = factory


def environment_names() -> list[str]:
    """Return every name that `make_environment` takes, sorted."""
    from importlib.metadata import entry_points  # 0.05 s that `import armap_agents` need not take

    found = {point.name for point in entry_points(group="armap_agents.environments")}
    return sorted(found | set(_factories))


def environment_factory(name: str) -> EnvironmentFactory:
    """Return the factory registered under `name`.

    Raises:
        ConfigurationError: Nothing is registered under that name.
    """
    from importlib.metadata import entry_points

    if name in _factories:
        return _factories[name]
    for point in entry_points(group="armap_agents.environments", name=name):
        factory: EnvironmentFactory = point.load()
        return factory
    raise ConfigurationError(
        f"no environment is called {name!r}: use one of {', '.join(environment_names())}, "
        "or register yours with register_environment(name, factory)"
    )


def make_environment(name: str, **options: Any) -> Environment:
    """Make an environment by its registered name.

    Args:
        name: A registered name, such as ``game24``.
        options: Passed to the factory.

    Raises:
        ConfigurationError: The name is unknown, or the factory does not take these options.
    """
    factory = environment_factory(name)
    try:
        return factory(**options)
    except TypeError as error:
        raise ConfigurationError(f"environment {name!r} does not take {options}: {error}") from None


def find_task(environment: Environment, task_id: str, splits: Sequence[str]) -> Task:
    """Return the task called `task_id` in the first of `splits` that has it.

    Raises:
        ConfigurationError: None of the splits has it.
    """
    for split in splits:
        for task in environment.tasks(split):
            if task.id == task_id:
                return task
    raise ConfigurationError(
        f"{environment.name} has no task {task_id!r} in {', '.join(splits)}: "
        f"list them with `armap tasks {environment.name} --split {splits[0]}`"
    )


async def restore(environment: Environment, task: Task, actions: Sequence[str]) -> Observation:
    """Bring an environment to the state after `actions`, by its own means or by replay.

    Raises:
        ConfigurationError: The environment says that it cannot be restored.
        EnvironmentFailure: The episode ended before the last action.
    """
    if not getattr(environment, "restorable", True) and actions:
        raise ConfigurationError(
            f"environment {environment.name!r} cannot be restored: use a planner that never does "
            "(greedy, sampling, best_of_n)"
        )
    own = getattr(environment, "restore", None) or getattr(environment, "replay", None)
    if own is not None:
        observation: Observation = await own(task, list(actions))
        return observation
    observation = await environment.reset(task)
    done = False
    for k, action in enumerate(actions):
        if done:
            raise ended_early(task, k, len(actions))
        result = await environment.step(action)
        observation, done = result.observation, result.done
    return observation


def ended_early(task: Task, taken: int, wanted: int) -> EnvironmentFailure:
    """Return the error of an episode that was over before the last action of a replay."""
    return EnvironmentFailure(
        f"the episode of task {task.id} ended after {taken} of {wanted} actions"
    )
