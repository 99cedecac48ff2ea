"""What evaluations found, as JSON: one entry per planner, and the planners compared in pairs.

`summarise` is for one evaluation; `compare` puts several side by side that ran the same tasks and
seeds, with another policy or reward model. A planner's score on a task is the true score of the
trajectory that it answered with; for `sampling`, which chooses nothing, it is the mean over its
candidates. A run that failed counts 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TypedDict

import numpy as np

from armap_agents.errors import ConfigurationError
from armap_agents.evaluation.intervals import Interval, bootstrap_ratio, ratio, sums_by, wilson
from armap_agents.evaluation.quality import CandidateQuality, candidate_quality
from armap_agents.evaluation.results import Candidate, Key, Result, read_results
from armap_agents.evaluation.selectors import Draw, Floats, selector_values
from armap_agents.evaluation.spec import RunSpec, planner_of, read_spec, task_groups
from armap_agents.trajectory import Status
from armap_agents.usage import Usage

SAMPLING = "sampling"
BEST_OF_N = "best_of_n"

PAIRED = ("environment", "environment_options", "split", "seeds")
"""Fields of a spec that evaluations must share for their runs to be paired."""


class Cost(TypedDict):
    """What one run cost in the mean; `seconds` from its start to its answer."""

    policy_completions: float
    policy_tokens: float
    environment_steps: float
    scored: float
    seconds: float


class PlannerSummary(TypedDict):
    """One planner over all tasks and seeds; costs are totals, but for `cost_per_run`.

    Attributes:
        n_tasks: Tasks with a result.
        n_runs: Tasks × seeds.
        score: Mean true score, 0 to 1.
        ci95: Its interval.
        interval: Which one: Wilson's for one seed's success rate, else the bootstrap's.
        errors: Runs that failed and count 0.
    """

    n_tasks: int
    n_runs: int
    score: float
    ci95: Interval | None
    interval: str
    policy_completions: int
    policy_tokens: int
    policy_prompt_tokens: int
    policy_completion_tokens: int
    environment_steps: int
    scored: int
    seconds: float
    errors: int
    cost_per_run: Cost


class BestOfNSummary(PlannerSummary, CandidateQuality):
    """Best-of-N: what any planner has, and what its candidates and selectors are worth."""


class Comparison(TypedDict):
    """Paired difference of two planners' scores, first minus second, on the same runs."""

    planners: tuple[str, str]
    difference: float
    ci95: Interval | None


class Summary(TypedDict):
    """All of it."""

    environment: str
    split: str
    policy: str | None
    seeds: list[int]
    planners: dict[str, PlannerSummary | BestOfNSummary]
    comparisons: list[Comparison]


Scores = Mapping[Key, Sequence[float | None]]
"""Values that a rescored selector gave a run's candidates."""


def summarise(
    spec: RunSpec,
    results: Mapping[Key, Result],
    rescored: Mapping[str, Scores] | None = None,
    groups: Mapping[str, str] | None = None,
) -> Summary:
    """Return the summary of what is finished.

    Args:
        spec: What was asked for.
        results: By key; those of tasks, planners and seeds outside `spec` are ignored.
        rescored: Further selectors' values by selector name and run; a selector that does not
            cover every run is left out.
        groups: Group of a task that is not drawn by itself, see `spec.task_groups`.
    """
    runs = _runs(spec, results)
    summary = _overview(spec, spec.policy_model, runs, groups or {})
    for label, own in runs.items():
        if planner_of(label) == BEST_OF_N:
            quality = _quality(spec.environment, own, rescored or {}, groups or {})
            summary["planners"][label] = BestOfNSummary(**summary["planners"][label], **quality)
    return summary


def compare(folders: Sequence[Path]) -> Summary:
    """Return the planners of several finished evaluations as if they were of one.

    Each planner's label is preceded by its folder's name. What is paired is the task and the seed;
    policies, reward models and versions may differ: the differences show what they bring.

    Args:
        folders: At least one; that alone leaves its labels as they are. Where their tasks differ,
            those count that all of them have.

    Raises:
        ConfigurationError: A folder holds no evaluation or an unfinished one, or they differ in
            environment or seeds, or have no task in common.
    """
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    specs = [read_spec(folder) for folder in folders]
    for folder, spec in zip(folders, specs, strict=True):
        for field in PAIRED:
            if getattr(spec, field) != getattr(specs[0], field):
                raise ConfigurationError(
                    f"{folder} cannot be compared with {folders[0]}: their {field} differ"
                )
    common = [task for task in specs[0].tasks if all(task in spec.tasks for spec in specs)]
    if not common:
        raise ConfigurationError(f"{', '.join(names)} have no task in common")
    runs: dict[str, list[Result]] = {}
    for name, folder, spec in zip(names, folders, specs, strict=True):
        shared = spec.model_copy(update={"tasks": tuple(common)})
        found = _runs(shared, read_results(folder))
        if sum(map(len, found.values())) < len(common) * len(spec.seeds) * len(spec.planners):
            raise ConfigurationError(f"{folder} is not finished: start its command again")
        for label, own in found.items():
            runs[f"{name}: {label}" if len(folders) > 1 else label] = own
    policies = dict.fromkeys(spec.policy_model for spec in specs if spec.policy_model)
    groups = task_groups(specs[0])
    return _overview(specs[0], ", ".join(policies) or None, runs, groups)


def _runs(spec: RunSpec, results: Mapping[Key, Result]) -> dict[str, list[Result]]:
    """Return the runs of each of the spec's planners that has any, by label."""
    keys = {
        label: [(task, label, seed) for task in spec.tasks for seed in spec.seeds]
        for label in spec.planners
    }
    runs = {label: [results[key] for key in own if key in results] for label, own in keys.items()}
    return {label: own for label, own in runs.items() if own}


def _overview(
    spec: RunSpec,
    policy: str | None,
    runs: Mapping[str, Sequence[Result]],
    groups: Mapping[str, str],
) -> Summary:
    scores = {
        label: {(run.task, run.seed): planner_score(run) for run in own}
        for label, own in runs.items()
    }
    return {
        "environment": spec.environment,
        "split": spec.split,
        "policy": policy,
        "seeds": list(spec.seeds),
        "planners": {label: _planner(own, groups) for label, own in runs.items()},
        "comparisons": [_difference(b, a, scores, groups) for a, b in combinations(scores, 2)],
    }


def planner_score(run: Result) -> float:
    """Return the true score of what was chosen; sampling: candidates' mean; 0 for an error."""
    if run.error is not None:
        return 0.0
    if planner_of(run.planner) == SAMPLING:
        return float(np.mean([candidate.true_score for candidate in run.candidates]))
    return run.true_score


def _planner(runs: Sequence[Result], groups: Mapping[str, str]) -> PlannerSummary:
    scores = [planner_score(run) for run in runs]
    tasks = [run.task for run in runs]
    units = [groups.get(task, task) for task in tasks]
    if len(set(units)) == len(runs) and set(scores) <= {0.0, 1.0}:
        interval, name = wilson(int(sum(scores)), len(scores)), "wilson"
    else:
        interval = bootstrap_ratio(sums_by(units, scores), sums_by(units, np.ones(len(runs))))
        name = "bootstrap"
    usage = sum((run.usage for run in runs), Usage())
    tokens = usage.prompt_tokens + usage.completion_tokens
    seconds = sum(run.seconds for run in runs)
    return {
        "n_tasks": len(set(tasks)),
        "n_runs": len(runs),
        "score": float(np.mean(scores)),
        "ci95": interval,
        "interval": name,
        "policy_completions": usage.completions,
        "policy_tokens": tokens,
        "policy_prompt_tokens": usage.prompt_tokens,
        "policy_completion_tokens": usage.completion_tokens,
        "environment_steps": usage.environment_steps,
        "scored": usage.scored,
        "seconds": seconds,
        "errors": sum(run.error is not None for run in runs),
        "cost_per_run": {
            "policy_completions": usage.completions / len(runs),
            "policy_tokens": tokens / len(runs),
            "environment_steps": usage.environment_steps / len(runs),
            "scored": usage.scored / len(runs),
            "seconds": seconds / len(runs),
        },
    }


def _quality(
    environment: str,
    runs: Sequence[Result],
    rescored: Mapping[str, Scores],
    groups: Mapping[str, str],
) -> CandidateQuality:
    draws, values = draws_of(environment, runs, rescored, groups)
    return candidate_quality(draws, [planner_score(run) for run in runs], values)


def draws_of(
    environment: str,
    runs: Sequence[Result],
    rescored: Mapping[str, Scores],
    groups: Mapping[str, str],
) -> tuple[list[Draw], dict[str, list[Floats]]]:
    """Return what runs chose from, and every selector's value of every candidate.

    Args:
        environment: Registered name.
        runs: A failed one is a draw of one failed candidate.
        rescored: As for `summarise`.
        groups: As for `summarise`.
    """
    draws = [
        Draw(run.task, run.seed, run.instruction, _candidates(run), groups.get(run.task, ""))
        for run in runs
    ]
    found = {
        name: [_rescored(run, scores) for run in runs]
        for name, scores in rescored.items()
        if all(run.key in scores or run.error is not None for run in runs)
    }
    return draws, selector_values(environment, draws, found)


def _candidates(run: Result) -> tuple[Candidate, ...]:
    nothing = Candidate((), Status.FAILED, None, 0.0, run.error)
    return run.candidates if run.error is None else (nothing,)


def _rescored(run: Result, scores: Scores) -> Floats:
    if run.error is not None:
        return np.full(1, -np.inf)
    return np.array([-np.inf if score is None else score for score in scores[run.key]])


def _difference(
    a: str,
    b: str,
    scores: Mapping[str, Mapping[tuple[str, int], float]],
    groups: Mapping[str, str],
) -> Comparison:
    both = [key for key in scores[a] if key in scores[b]]
    units = [groups.get(task, task) for task, _ in both]
    differences = sums_by(units, [scores[a][key] - scores[b][key] for key in both])
    runs = sums_by(units, np.ones(len(both)))
    return {
        "planners": (a, b),
        "difference": ratio(differences, runs) or 0.0,
        "ci95": bootstrap_ratio(differences, runs),
    }
