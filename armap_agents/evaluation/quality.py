"""How good a selector is: the share of the oracle gap that it closes, and what belongs beside it.

Every selector chooses from the same stored candidates. With *mean* the true score of one candidate
drawn at random and *best* that of the best one, the share is (Σ chosen − Σ mean) / (Σ best − Σ
mean), sums over tasks: 0 is what chance gets, 1 what a judge who knew the true scores would get.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from armap_agents.evaluation.intervals import Interval, bootstrap_ratio, ratio, sums_by
from armap_agents.evaluation.selectors import UNTRAINED, Draw, expected_score, learned

Floats = NDArray[np.float64]

SUCCESS = 1.0
"""True score from which an episode counts as a success for the AUROC."""

EPISODES = 30
"""Fewest distinct episodes of either class for which an AUROC is given."""

NO_GAP = "undefined: the best candidates are no better than the average ones"
NO_INTERVAL = "no interval: fewer than two tasks, or too few of them have candidates that differ"


class Auroc(TypedDict):
    """Whether high values mean success over all tasks together; `value` None with a `reason`."""

    value: float | None
    threshold: float
    successes: int
    failures: int
    reason: str | None


class SelectorQuality(TypedDict):
    """One selector on the stored candidates; figures are None where `reason` says why."""

    score: float | None
    ci95: Interval | None
    gap_closed: float | None
    gap_closed_ci95: Interval | None
    regret: float | None
    concordance: float | None
    concordance_pairs: int
    auroc: Auroc | None
    reason: str | None


class Claim(TypedDict):
    """A reward model against the best trivial selector: difference of their shares of the gap."""

    best_trivial: str
    difference: float | None
    ci95: Interval | None
    holds: bool


class CandidateQuality(TypedDict):
    """What the candidates are worth and how well each selector chooses among them.

    `candidates` is how many a run had; where runs differ, the most.
    """

    candidates: int
    oracle: float
    oracle_ci95: Interval | None
    mean: float
    mean_ci95: Interval | None
    gap_closed: float | None
    gap_closed_ci95: Interval | None
    gap_closed_reason: str | None
    distinct_candidates: float
    failed_candidates: int
    selectors: dict[str, SelectorQuality]
    claims: dict[str, Claim]


class _Sums:
    """Sums per task (or group of tasks) over its seeds, of which every figure is a ratio."""

    def __init__(self, draws: Sequence[Draw]) -> None:
        self.units = [draw.unit for draw in draws]
        self.runs = sums_by(self.units, np.ones(len(draws)))
        self.mean = self.by_task([float(draw.true_scores.mean()) for draw in draws])
        self.best = self.by_task([float(draw.true_scores.max()) for draw in draws])
        self.gap = self.best - self.mean

    def by_task(self, values: Sequence[float]) -> Floats:
        return sums_by(self.units, values)


def candidate_quality(
    draws: Sequence[Draw],
    chosen: Sequence[float],
    values: Mapping[str, Sequence[Floats]],
) -> CandidateQuality:
    """Compare selectors on stored candidates.

    Args:
        draws: At least one; a run that gave nothing is a draw of one failed candidate.
        chosen: True score of what the planner itself answered, per draw.
        values: Every selector's value of every candidate, ``(candidates,)`` per draw.
    """
    sums = _Sums(draws)
    picked = {
        name: sums.by_task(
            [expected_score(v, d.true_scores) for v, d in zip(arrays, draws, strict=True)]
        )
        for name, arrays in values.items()
    }
    share, interval, reason = _share(sums.by_task(chosen), sums)
    selectors = {name: _selector(values[name], picked[name], draws, sums) for name in values}
    for name in UNTRAINED:
        selectors.setdefault(name, _not_run(name))
    distinct = [len(_distinct(draw)) for draw in draws]
    return {
        "candidates": max(len(draw.candidates) for draw in draws),
        "oracle": float(sums.best.sum() / sums.runs.sum()),
        "oracle_ci95": bootstrap_ratio(sums.best, sums.runs),
        "mean": float(sums.mean.sum() / sums.runs.sum()),
        "mean_ci95": bootstrap_ratio(sums.mean, sums.runs),
        "gap_closed": share,
        "gap_closed_ci95": interval,
        "gap_closed_reason": reason,
        "distinct_candidates": float(np.mean(distinct)),
        "failed_candidates": sum(c.failed for draw in draws for c in draw.candidates),
        "selectors": selectors,
        "claims": {name: _claim(name, picked, sums) for name in picked if learned(name)},
    }


def _share(picked: Floats, sums: _Sums) -> tuple[float | None, Interval | None, str | None]:
    share = ratio(picked - sums.mean, sums.gap)
    interval = bootstrap_ratio(picked - sums.mean, sums.gap)
    reason = NO_GAP if share is None else NO_INTERVAL if interval is None else None
    return share, interval, reason


def _selector(
    values: Sequence[Floats], picked: Floats, draws: Sequence[Draw], sums: _Sums
) -> SelectorQuality:
    share, interval, reason = _share(picked, sums)
    concordance, pairs = within_task_concordance(draws, values)
    return {
        "score": float(picked.sum() / sums.runs.sum()),
        "ci95": bootstrap_ratio(picked, sums.runs),
        "gap_closed": share,
        "gap_closed_ci95": interval,
        "regret": float((sums.best - picked).sum() / sums.runs.sum()),
        "concordance": concordance,
        "concordance_pairs": pairs,
        "auroc": auroc(draws, values),
        "reason": reason,
    }


def _not_run(name: str) -> SelectorQuality:
    return {
        "score": None,
        "ci95": None,
        "gap_closed": None,
        "gap_closed_ci95": None,
        "regret": None,
        "concordance": None,
        "concordance_pairs": 0,
        "auroc": None,
        "reason": "not run: needs a model, "
        f"armap_agents.evaluation.rescore(folder, {{{name!r}: …}})",
    }


def _claim(reward: str, picked: Mapping[str, Floats], sums: _Sums) -> Claim:
    rivals = [name for name in picked if not learned(name)]
    best = max(rivals, key=lambda name: float(picked[name].sum()))
    difference = picked[reward] - picked[best]
    interval = bootstrap_ratio(difference, sums.gap)
    return {
        "best_trivial": best,
        "difference": ratio(difference, sums.gap),
        "ci95": interval,
        "holds": interval is not None and interval[0] > 0,
    }


def _distinct(draw: Draw) -> dict[tuple[str, ...], int]:
    """First index of every distinct episode that did not fail."""
    first: dict[tuple[str, ...], int] = {}
    for k, candidate in enumerate(draw.candidates):
        if not candidate.failed:
            first.setdefault(candidate.actions, k)
    return first


def within_task_concordance(
    draws: Sequence[Draw], values: Sequence[Floats]
) -> tuple[float | None, int]:
    """Return how often the better of two candidates of a task has the higher value.

    (concordant) / (concordant + discordant) over all pairs of distinct candidates of one run, ties
    in value or true score dropped: (γ + 1) / 2 of Goodman & Kruskal, "Measures of association for
    cross classifications", JASA 49 (1954).

    Returns:
        The rate, None where no pair is left; and the number of pairs.
    """
    concordant = pairs = 0
    for draw, value in zip(draws, values, strict=True):
        kept = list(_distinct(draw).values())
        truth, guess = draw.true_scores[kept], value[kept]
        agree = np.sign(truth[:, None] - truth) * np.sign(guess[:, None] - guess)
        concordant += int((agree > 0).sum()) // 2
        pairs += int((agree != 0).sum()) // 2
    return (concordant / pairs if pairs else None), pairs


def auroc(draws: Sequence[Draw], values: Sequence[Floats]) -> Auroc:
    """Return the chance that a random success has a higher value than a random failure.

    Over the distinct episodes of each task and seed, since every seed may have a model of its own;
    ties count half. An episode that several seeds have is no further evidence: `successes` and
    `failures` count it once, and it is not estimable with fewer than 30 of either.
    """
    seen: dict[tuple[str, int, tuple[str, ...]], tuple[float, bool]] = {}
    for draw, value in zip(draws, values, strict=True):
        for actions, k in _distinct(draw).items():
            success = draw.candidates[k].true_score >= SUCCESS
            seen.setdefault((draw.task, draw.seed, actions), (float(value[k]), success))
    good = np.array([value for value, success in seen.values() if success])
    bad = np.array([value for value, success in seen.values() if not success])
    found = {(task, actions, success) for (task, _, actions), (_, success) in seen.items()}
    successes = sum(success for *_, success in found)
    failures = len(found) - successes
    enough = min(successes, failures) >= EPISODES
    return {
        "value": mann_whitney(good, bad) if enough else None,
        "threshold": SUCCESS,
        "successes": successes,
        "failures": failures,
        "reason": None if enough else f"not estimable, n = {min(successes, failures)}",
    }


def mann_whitney(good: Floats, bad: Floats) -> float:
    """Return the share of pairs in which the good one's value is higher, ties counting half.

    Mann–Whitney U divided by the number of pairs, the area under the ROC curve: Hanley & McNeil,
    Radiology 143 (1982).

    Args:
        good: Values of one class, at least one.
        bad: Values of the other, at least one.
    """
    ordered = np.sort(bad)
    below = np.searchsorted(ordered, good, side="left")
    not_above = np.searchsorted(ordered, good, side="right")
    return float((below + not_above).mean() / 2 / len(bad))
