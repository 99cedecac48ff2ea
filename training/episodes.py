"""Episodes that labels beyond the self-made ones are given to, and what they are truly worth.

They come from a data folder (explored, without a goal, and acted out anew under the task's own) or
from the runs of searches. Training tasks alone count: whatever an evaluation uses is passed over.
True scores are asked for by `armap_agents.evaluation.truth`, in environments that nothing else
uses.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from armap_agents.environment import Environment
from armap_agents.errors import ConfigurationError, EnvironmentFailure
from armap_agents.evaluation.truth import Environments, judged
from armap_agents.trace import Journal, read_events
from armap_agents.training.domain import domain, has_domain
from armap_agents.training.explore import extend, opening
from armap_agents.training.records import TRAJECTORIES, Dataset, load_dataset
from armap_agents.trajectory import Status, Task, Trajectory

JOURNAL = "trace.jsonl"

FINISHED = frozenset({Status.ENDED, Status.LIMIT})

NOT_TRAINING = "left out: not a training task"
FOREIGN = "left out: another environment"
NO_EPISODE = "left out: not repeatable"


@dataclass(frozen=True)
class Found:
    """Where the finished episodes of one task are.

    Attributes:
        task: The task.
        explored: Actions of episodes of a data folder.
        runs: Folders of runs.
    """

    task: Task
    explored: tuple[tuple[str, ...], ...] = ()
    runs: tuple[Path, ...] = ()


def training_tasks(environment: Environment) -> dict[str, Task]:
    """Return the tasks that training may use, by id.

    They are those that data is generated from, which leave out whatever an evaluation may ask for;
    for an environment without a generator, the split ``train``.
    """
    if has_domain(environment.name):
        tasks = domain(environment.name).tasks(environment)
    else:
        tasks = environment.tasks("train")
    return {task.id: task for task in tasks}


def find_episodes(
    source: Path, environment: Environment, counts: Counter[str]
) -> tuple[list[Found], bool]:
    """Return where a folder's episodes are, by training task, and whether they are of searches.

    Args:
        source: A data folder, a run's folder, or a folder that has runs in it or in its ``runs``.
        environment: Lists the training tasks.
        counts: Counts what is left out.

    Raises:
        ConfigurationError: There are none, or none of a training task.
    """
    allowed = training_tasks(environment)
    searched = not (source / TRAJECTORIES).is_file()
    if searched:
        found = _searched(source, environment.name, allowed, counts)
    else:
        found = _explored(load_dataset(source), environment.name, allowed, counts)
    if not found:
        left = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise ConfigurationError(
            f"{source} has no episodes of {environment.name}'s training tasks"
            f"{f' ({left})' if left else ''}: give a data folder of `armap generate`, or runs of "
            "searches on training tasks"
        )
    return sorted(found, key=lambda each: each.task.id), searched


def _explored(
    data: Dataset, name: str, allowed: Mapping[str, Task], counts: Counter[str]
) -> list[Found]:
    actions: defaultdict[str, dict[tuple[str, ...], None]] = defaultdict(dict)
    for trajectory in data.trajectories.values():
        if trajectory.task.environment != name:
            counts[FOREIGN] += 1
        elif trajectory.task.id not in allowed:
            counts[NOT_TRAINING] += 1
        elif trajectory.status in FINISHED:
            actions[trajectory.task.id][tuple(trajectory.actions)] = None
    return [Found(allowed[task], explored=tuple(each)) for task, each in actions.items()]


def _searched(
    source: Path, name: str, allowed: Mapping[str, Task], counts: Counter[str]
) -> list[Found]:
    runs: defaultdict[str, list[Path]] = defaultdict(list)
    for pattern in (JOURNAL, f"*/{JOURNAL}", f"runs/*/{JOURNAL}"):
        for path in sorted(source.glob(pattern)):
            try:
                task = Task.from_dict(next(read_events(path))["settings"]["task"])
            except (StopIteration, KeyError, TypeError):
                counts["left out: no run"] += 1
                continue
            if task.environment != name:
                counts[FOREIGN] += 1
            elif task.id not in allowed:
                counts[NOT_TRAINING] += 1
            else:
                runs[task.id].append(path.parent)
    return [Found(allowed[task], runs=tuple(each)) for task, each in runs.items()]


def recorded(found: Found) -> list[Trajectory]:
    """Return the distinct finished episodes of a task's runs, as they were recorded."""
    episodes: dict[tuple[str, ...], Trajectory] = {}
    for folder in found.runs:
        journal = Journal(folder.name, folder, {})
        for event in read_events(folder / JOURNAL):
            if event["kind"] == "rollout" and event["trajectory"]["status"] in FINISHED:
                trajectory = journal.load(event["trajectory"])
                episodes.setdefault(tuple(trajectory.actions), trajectory)
    return list(episodes.values())


async def acted_out(
    environments: Environments, found: Found, counts: Counter[str]
) -> list[Trajectory]:
    """Act explored episodes out anew, in the task as it is: its instruction, its pages, its ends.

    An episode that the environment ends early is as long as that.

    Args:
        environments: Evaluation's own.
        found: What was explored.
        counts: Counts the episodes that failed.
    """
    episodes: dict[tuple[str, ...], Trajectory] = {}
    for actions in found.explored:
        try:
            trajectory = await _act_out(environments, found.task, actions)
        except EnvironmentFailure:
            counts[NO_EPISODE] += 1
        else:
            episodes.setdefault(tuple(trajectory.actions), trajectory)
    return list(episodes.values())


async def _act_out(environments: Environments, task: Task, actions: Sequence[str]) -> Trajectory:
    async with environments.lease() as environment:
        trajectory = await opening(environment, task)
        for action in actions:
            trajectory = await extend(environment, trajectory, action)
            if trajectory.done:
                return trajectory
    return replace(trajectory, status=Status.LIMIT)


async def true_scores(
    environments: Environments, trajectories: Sequence[Trajectory], counts: Counter[str]
) -> list[tuple[Trajectory, float]]:
    """Return episodes of one task with their true scores, 0 to 1.

    Args:
        environments: Evaluation's own.
        trajectories: Finished ones, with all that was observed; at least one.
        counts: Counts those that end elsewhere when they are repeated.

    Raises:
        EnvironmentFailure: An environment died, or gave no true score from 0 to 1.
    """
    asked: list[dict[str, Any]] = [{"trajectory": t.to_dict()} for t in trajectories]
    candidates = await judged(environments, trajectories[0].task, asked)
    both = zip(trajectories, candidates, strict=True)
    kept = [(trajectory, c.true_score) for trajectory, c in both if not c.failed]
    counts[NO_EPISODE] += len(trajectories) - len(kept)
    return kept
