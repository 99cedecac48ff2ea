"""What an evaluation found, as JSON: one entry per planner, and the planners compared in pairs.

A planner's score on a task is the true score of the trajectory that it answered with; for
`sampling`, which chooses nothing, it is the mean over its candidates. A run that failed counts 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TypedDict

import numpy as np

from armap_agents.evaluation.intervals import Interval, bootstrap_ratio, ratio, sums_by, wilson
from armap_agents.evaluation.quality import CandidateQuality, candidate_quality
from armap_agents.evaluation.results import Candidate, Key, Result
from armap_agents.evaluation.selectors import Draw, Floats, selector_values
from armap_agents.evaluation.spec import RunSpec
from armap_agents.trajectory import Status
from armap_agents.usage import Usage

SAMPLING = "sampling"
BEST_OF_N = "best_of_n"


class PlannerSummary(TypedDict):
    """One planner over all tasks and seeds; costs are totals.

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
    n: int
    seeds: list[int]
    planners: dict[str, PlannerSummary | BestOfNSummary]
    comparisons: list[Comparison]


Scores = Mapping[Key, Sequence[float | None]]
"""Values that a rescored selector gave a run's candidates."""


def summarise(
    spec: RunSpec, results: Mapping[Key, Result], rescored: Mapping[str, Scores] | None = None
) -> Summary:
    """Return the summary of what is finished.

    Args:
        spec: What was asked for.
        results: By key; those of tasks, planners and seeds outside `spec` are ignored.
        rescored: Further selectors' values by selector name and run; a selector that does not
            cover every run is left out.
    """
    scores: dict[str, dict[tuple[str, int], float]] = {}
    planners: dict[str, PlannerSummary | BestOfNSummary] = {}
    for planner in spec.planners:
        runs = [
            results[task, planner, seed]
            for task in spec.tasks
            for seed in spec.seeds
            if (task, planner, seed) in results
        ]
        if not runs:
            continue
        scores[planner] = {(run.task, run.seed): planner_score(run) for run in runs}
        planners[planner] = _planner(runs)
        if planner == BEST_OF_N:
            quality = _quality(spec.environment, runs, rescored or {})
            planners[planner] = BestOfNSummary(**planners[planner], **quality)
    return {
        "environment": spec.environment,
        "split": spec.split,
        "n": spec.n,
        "seeds": list(spec.seeds),
        "planners": planners,
        "comparisons": [_compare(b, a, scores) for a, b in combinations(scores, 2)],
    }


def planner_score(run: Result) -> float:
    """Return the true score of what was chosen; sampling: candidates' mean; 0 for an error."""
    if run.error is not None:
        return 0.0
    if run.planner == SAMPLING:
        return float(np.mean([candidate.true_score for candidate in run.candidates]))
    return run.true_score


def _planner(runs: Sequence[Result]) -> PlannerSummary:
    scores = [planner_score(run) for run in runs]
    tasks = [run.task for run in runs]
    one_seed = len({run.seed for run in runs}) == 1
    if one_seed and set(scores) <= {0.0, 1.0}:
        interval, name = wilson(int(sum(scores)), len(scores)), "wilson"
    else:
        interval = bootstrap_ratio(sums_by(tasks, scores), sums_by(tasks, np.ones(len(runs))))
        name = "bootstrap"
    usage = sum((run.usage for run in runs), Usage())
    return {
        "n_tasks": len(set(tasks)),
        "n_runs": len(runs),
        "score": float(np.mean(scores)),
        "ci95": interval,
        "interval": name,
        "policy_completions": usage.completions,
        "policy_tokens": usage.prompt_tokens + usage.completion_tokens,
        "policy_prompt_tokens": usage.prompt_tokens,
        "policy_completion_tokens": usage.completion_tokens,
        "environment_steps": usage.environment_steps,
        "scored": usage.scored,
        "seconds": sum(run.seconds for run in runs),
        "errors": sum(run.error is not None for run in runs),
    }


def _quality(
    environment: str, runs: Sequence[Result], rescored: Mapping[str, Scores]
) -> CandidateQuality:
    draws = [Draw(run.task, run.seed, run.instruction, _candidates(run)) for run in runs]
    values = selector_values(environment, draws)
    for name, scores in rescored.items():
        if all(run.key in scores or run.error is not None for run in runs):
            values[name] = [_rescored(run, scores) for run in runs]
    return candidate_quality(draws, [planner_score(run) for run in runs], values)


def _candidates(run: Result) -> tuple[Candidate, ...]:
    nothing = Candidate((), Status.FAILED, None, 0.0, run.error)
    return run.candidates if run.error is None else (nothing,)


def _rescored(run: Result, scores: Scores) -> Floats:
    if run.error is not None:
        return np.full(1, -np.inf)
    return np.array([-np.inf if score is None else score for score in scores[run.key]])


def _compare(a: str, b: str, scores: Mapping[str, Mapping[tuple[str, int], float]]) -> Comparison:
    both = [key for key in scores[a] if key in scores[b]]
    tasks = [task for task, _ in both]
    differences = sums_by(tasks, [scores[a][key] - scores[b][key] for key in both])
    runs = sums_by(tasks, np.ones(len(both)))
    return {
        "planners": (a, b),
        "difference": ratio(differences, runs) or 0.0,
        "ci95": bootstrap_ratio(differences, runs),
    }
