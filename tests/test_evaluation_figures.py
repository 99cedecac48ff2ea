"""The figures: intervals, selectors, share of the oracle gap, against definitions written anew."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from armap_agents.evaluation.intervals import (
    bootstrap_ratio,
    ratio,
    sums_by,
    wilson,
)
from armap_agents.evaluation.picture import draw
from armap_agents.evaluation.quality import auroc, candidate_quality, within_task_concordance
from armap_agents.evaluation.results import Candidate, Result
from armap_agents.evaluation.selectors import (
    Cosine,
    Draw,
    expected_score,
    fit_logistic,
    selector_values,
)
from armap_agents.evaluation.spec import RunSpec
from armap_agents.evaluation.summary import summarise
from armap_agents.evaluation.table import failures, plain_words, print_summary
from armap_agents.trajectory import Observation, Status, Step, Task, Trajectory

SEEDS = st.integers(0, 2**32 - 1)


def candidate(
    true_score: float,
    score: float | None = None,
    actions: Sequence[str] = ("a",),
    status: Status = Status.ENDED,
) -> Candidate:
    error = "it failed" if status is Status.FAILED else None
    return Candidate(tuple(actions), status, score, true_score, error)


def draws_of(rng: random.Random, tasks: int = 12, seeds: int = 2, n: int = 6) -> list[Draw]:
    def one(k: int) -> Candidate:
        status = rng.choices([Status.ENDED, Status.LIMIT, Status.FAILED], [6, 2, 1])[0]
        actions = [rng.choice("xyz") for _ in range(rng.randint(1, 4))]
        true_score = 0.0 if status is Status.FAILED else rng.choice([0.0, 0.5, 1.0])
        score = None if status is Status.FAILED else round(rng.gauss(0, 1), 1)
        return candidate(true_score, score, [*actions, str(k)], status)

    return [
        Draw(str(task), seed, "do x and y", tuple(one(k) for k in range(n)))
        for task in range(tasks)
        for seed in range(seeds)
    ]


def gap(draws: Sequence[Draw]) -> float:
    return sum(d.true_scores.max() - d.true_scores.mean() for d in draws)


# Intervals


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_wilson_on_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_ends_solve_its_equation(case: tuple[int, int]) -> None:
    successes, n = case
    interval = wilson(successes, n)
    assert interval is not None
    for p in interval:
        # By definition the ends are the p with |p̂ − p| = z·√(p(1 − p)/n).
        distance = abs(successes / n - p)
        assert distance == pytest.approx(1.959964 * math.sqrt(p * (1 - p) / n), abs=1e-6)


def test_no_interval_without_two_tasks() -> None:
    assert bootstrap_ratio([1.0], [1.0]) is None
    assert wilson(0, 0) is None
    assert ratio([0.0, 0.0], [0.0, 0.0]) is None


def test_no_interval_where_most_resamples_have_no_gap() -> None:
    # One task of 20 has a gap: (19/20)^20 = 36 % of the resamples miss it.
    assert bootstrap_ratio([1.0] + [0.0] * 19, [1.0] + [0.0] * 19) is None
    assert bootstrap_ratio([1.0] * 10 + [0.0] * 10, [2.0] * 10 + [0.0] * 10) == (0.5, 0.5)


def test_the_bootstrap_draws_tasks_with_replacement() -> None:
    # Two tasks, 0 and 1: the mean is 0, 1/2, 1 with probability 1/4, 1/2, 1/4.
    assert bootstrap_ratio([0.0, 1.0], [1.0, 1.0]) == (0.0, 1.0)
    # By the plain definition, resample by resample.
    rng = np.random.default_rng(5)
    below = rng.integers(1, 4, 30).astype(float)
    above = rng.random(30) * below
    means = []
    for _ in range(10_000):
        picks = rng.integers(0, 30, 30)
        means.append(above[picks].sum() / below[picks].sum())
    expected = np.quantile(means, [0.025, 0.975])
    assert bootstrap_ratio(above, below) == pytest.approx(tuple(expected), abs=0.01)


def test_the_interval_covers() -> None:
    # 200 experiments of 60 tasks × 3 seeds whose true mean is 0.4; seeds of a task go together.
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(200):
        easy = rng.beta(0.8, 1.2, 60)
        solved = rng.binomial(3, easy).astype(float)
        interval = bootstrap_ratio(solved, np.full(60, 3.0), resamples=1000)
        assert interval is not None
        covered += interval[0] <= 0.4 <= interval[1]
    assert 0.89 <= covered / 200 <= 0.99


def test_seeds_of_a_task_do_not_narrow_the_interval() -> None:
    tasks = [str(k) for k in range(40)]
    solved = [float(k % 2) for k in range(40)]
    once = bootstrap_ratio(sums_by(tasks, solved), sums_by(tasks, np.ones(40)))
    thrice = bootstrap_ratio(sums_by(tasks * 3, solved * 3), sums_by(tasks * 3, np.ones(120)))
    assert once == pytest.approx(thrice)


# Selectors


def test_every_trivial_selector_by_hand() -> None:
    said = candidate(1.0, 0.1, ["13 - 9 = 4", "10 - 4 = 6", "4 * 6 = 24"])
    long = candidate(0.0, 0.9, ["make", "use", "the", "numbers"], Status.LIMIT)
    short = candidate(0.0, 0.5, ["24 - 1 = 23"])
    broken = candidate(0.0, None, ["4 * 6 = 24"], Status.FAILED)
    draw_ = Draw("1", 0, "Make 24!", (said, long, short, broken))
    values = {name: list(v[0]) for name, v in selector_values("game24", [draw_]).items()}
    inf = math.inf
    assert values["reward_model"] == [0.1, 0.9, 0.5, -inf]
    assert values["random"] == [0, 0, 0, 0]
    assert values["shortest"] == [-3, -4, -1, -inf]
    assert values["longest"] == [3, 4, 1, -inf]
    assert values["ended"] == [1, 0, 1, -inf]
    assert values["word_overlap"] == [0.5, 0.5, 0.5, -inf]
    assert values["says_24"] == [1, 0, 0, -inf]
    assert "says_24" not in selector_values("elsewhere", [draw_])


def test_ties_are_broken_in_expectation() -> None:
    true_scores = np.array([0.0, 1.0, 1.0, 0.5])
    assert expected_score(np.array([2.0, 2.0, 1.0, 2.0]), true_scores) == pytest.approx(0.5)
    assert expected_score(np.full(4, -np.inf), true_scores) == pytest.approx(0.625)


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_no_selector_but_the_surface_model_depends_on_true_scores(seed: int) -> None:
    rng = random.Random(seed)
    draws = draws_of(rng)
    shuffled = [d.candidates for d in draws]
    rng.shuffle(shuffled)
    permuted = [
        Draw(
            d.task,
            d.seed,
            d.instruction,
            tuple(
                Candidate(c.actions, c.status, c.score, other.true_score, c.error)
                for c, other in zip(d.candidates, others, strict=True)
            ),
        )
        for d, others in zip(draws, shuffled, strict=True)
    ]
    before, after = selector_values("game24", draws), selector_values("game24", permuted)
    for name in before.keys() - {"surface_model"}:
        for one, other in zip(before[name], after[name], strict=True):
            np.testing.assert_array_equal(one, other)


@given(SEEDS, st.integers(0, 11))
@settings(max_examples=25, deadline=None)
def test_the_surface_model_never_sees_the_task_it_values(seed: int, task: int) -> None:
    draws = draws_of(random.Random(seed))
    lies = [
        Draw(
            d.task,
            d.seed,
            d.instruction,
            tuple(
                Candidate(c.actions, c.status, c.score, 1.0 - c.true_score, c.error)
                for c in d.candidates
            ),
        )
        if d.task == str(task)
        else d
        for d in draws
    ]
    before = selector_values("game24", draws)["surface_model"]
    after = selector_values("game24", lies)["surface_model"]
    for d, one, other in zip(draws, before, after, strict=True):
        if d.task == str(task):
            np.testing.assert_array_equal(one, other)


def test_the_surface_model_learns_what_helps() -> None:
    draws = [
        Draw(str(k), 0, "x", (candidate(0.0, None, ["b"] * 2), candidate(1.0, None, ["b"] * 5)))
        for k in range(20)
    ]
    assert all(v[1] > v[0] for v in selector_values("elsewhere", draws)["surface_model"])


def test_logistic_weights_are_where_the_gradient_is_zero() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 3)), rng.random(200)
    weights = fit_logistic(x, y)

    def loss(w: Any, b: float) -> float:
        z = x @ w + b
        return float(np.sum(np.logaddexp(0, z) - y * z) + 0.5 * w @ w)

    biases = np.linspace(-1, 1, 4001)
    best = min(loss(weights, b) for b in biases)
    for k in range(3):
        for nudge in (-0.01, 0.01):
            moved = weights + nudge * np.eye(3)[k]
            assert min(loss(moved, b) for b in biases) > best


async def test_cosine_compares_instruction_and_episode() -> None:
    def encode(texts: list[str]) -> Any:
        return np.array([[text.count("x"), text.count("y")] for text in texts], float)

    def acted(action: str) -> Trajectory:
        task = Task("1", "elsewhere")
        return Trajectory(task, "xx", Observation(""), (Step(action, Observation("")),))

    scores = await Cosine(encode, "count").ascore([acted("x"), acted("y"), acted("xy"), acted("")])
    assert scores == pytest.approx([1.0, 0.0, math.sqrt(0.5), 0.0])


# Quality


def quality_of(draws: Sequence[Draw], **values: Any) -> Any:
    chosen = [0.0] * len(draws)
    return candidate_quality(draws, chosen, selector_values("elsewhere", draws) | values)


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_shares_by_their_definition(seed: int) -> None:
    draws = draws_of(random.Random(seed))
    oracle = [d.true_scores for d in draws]
    worst = [-d.true_scores for d in draws]
    found = quality_of(draws, oracle=oracle, worst=worst)["selectors"]
    assert found["oracle"]["gap_closed"] == pytest.approx(1.0)
    assert found["oracle"]["regret"] == pytest.approx(0.0)
    assert found["oracle"]["concordance"] == 1.0
    assert found["random"]["gap_closed"] == pytest.approx(0.0)
    assert found["worst"]["gap_closed"] < 0
    assert found["worst"]["concordance"] == 0.0
    chosen = mean = best = 0.0
    for d in draws:
        scores = [c.score for c in d.candidates if c.score is not None]
        top = [c.true_score for c in d.candidates if c.score == max(scores)]
        every = [c.true_score for c in d.candidates]
        chosen += sum(top) / len(top)
        mean += sum(every) / len(every)
        best += max(every)
    share = found["reward_model"]["gap_closed"]
    assert share == pytest.approx((chosen - mean) / (best - mean))
    assert found["reward_model"]["regret"] == pytest.approx((best - chosen) / len(draws))


def test_picking_at_random_closes_nothing_on_average() -> None:
    rng = random.Random(3)
    draws = draws_of(rng, tasks=100)
    shares = []
    for _ in range(100):
        noise = [np.array([rng.random() for _ in d.candidates]) for d in draws]
        picked = sum(expected_score(v, d.true_scores) for v, d in zip(noise, draws, strict=True))
        shares.append((picked - sum(d.true_scores.mean() for d in draws)) / gap(draws))
    assert abs(np.mean(shares)) < 0.05


def test_a_gap_of_nothing_is_said_not_computed() -> None:
    draws = [Draw(str(k), 0, "x", (candidate(0.1, 1.0), candidate(0.1, 0.0))) for k in range(5)]
    found = quality_of(draws)
    assert found["gap_closed"] is None
    assert "no better than the average" in found["gap_closed_reason"]
    assert found["selectors"]["reward_model"]["gap_closed"] is None
    assert found["claims"]["reward_model"] == {
        "best_trivial": found["claims"]["reward_model"]["best_trivial"],
        "difference": None,
        "ci95": None,
        "holds": False,
    }


def test_the_claim_is_the_paired_difference_to_the_best_rule() -> None:
    good = candidate(1.0, 1.0, ["a", "b"])
    bad = candidate(0.0, 0.0, ["a"])
    draws = [Draw(str(k), 0, "x", (good, bad) if k % 2 else (bad, good)) for k in range(30)]
    claim = quality_of(draws)["claims"]["reward_model"]
    assert (claim["best_trivial"], claim["difference"], claim["holds"]) == ("longest", 0.0, False)
    level = [
        Draw(
            d.task,
            0,
            "x",
            tuple(candidate(c.true_score, c.score, [str(c.true_score)]) for c in d.candidates),
        )
        for d in draws
    ]
    claim = quality_of(level)["claims"]["reward_model"]
    assert claim["difference"] == pytest.approx(1.0)
    assert claim["holds"] is True


def test_tasks_of_a_group_are_drawn_together() -> None:
    """Ten copies of a task are no more evidence than one."""
    good, bad = candidate(1.0, 1.0, ["a"]), candidate(0.0, 0.0, ["b", "c"])
    level = candidate(0.4, 0.0, ["d"])
    alone = [Draw("0", 0, "x", (good, bad)), Draw("1", 0, "x", (good, level))]
    alone += [Draw(str(k), 0, "x", (level, bad)) for k in range(2, 6)]
    copied = [
        Draw(f"{draw.task}-{copy}", 0, "x", draw.candidates, f"group {draw.task}")
        for draw in alone
        for copy in range(10)
    ]
    one, ten = quality_of(alone), quality_of(copied)
    assert ten["mean_ci95"] == pytest.approx(one["mean_ci95"])
    assert ten["selectors"]["longest"]["ci95"] == pytest.approx(one["selectors"]["longest"]["ci95"])


def test_concordance_drops_ties_and_repeats() -> None:
    same = candidate(1.0, 0.0, ["a"])
    cs = (
        same,
        same,
        candidate(0.0, 1.0, ["b"]),
        candidate(0.5, -1.0, ["c"]),
        candidate(0.5, 0.0, ["d"]),
    )
    values = np.array([c.score or 0.0 for c in cs])
    # Distinct: a b c d. Pairs: ab, bc and bd wrong, ac right, ad tied in value, cd in truth.
    assert within_task_concordance([Draw("1", 0, "x", cs)], [values]) == (0.25, 4)
    assert within_task_concordance([Draw("1", 0, "x", cs)], [np.zeros(5)]) == (None, 0)


def test_auroc_needs_thirty_of_both() -> None:
    rng = random.Random(1)

    def one(k: int, good: bool) -> tuple[Draw, Any]:
        value = float(rng.randint(0, 5)) + good
        return Draw(str(k), 0, "x", (candidate(float(good), value),)), np.array([value])

    pairs = [one(k, k < 30) for k in range(80)]
    draws, values = [p[0] for p in pairs], [p[1] for p in pairs]
    found = auroc(draws, values)
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a in (float(v[0]) for v in values[:30])
        for b in (float(v[0]) for v in values[30:])
    ]
    assert found["value"] == pytest.approx(sum(wins) / len(wins))
    fewer = auroc(draws[1:], values[1:])
    assert (fewer["value"], fewer["reason"]) == (None, "not estimable, n = 29")
    # The same episode drawn again is not another one.
    assert auroc(draws[1:] * 2, values[1:] * 2)["value"] is None


def test_auroc_counts_the_model_of_every_seed() -> None:
    draws = [Draw(str(k), 0, "x", (candidate(float(k < 30)),)) for k in range(60)]
    right = [np.array([float(k < 30)]) for k in range(60)]
    pooled = [*draws, *(replace(draw, seed=1) for draw in draws)]
    found = auroc(pooled, [*right, *(-value for value in right)])
    # Ties: successes have 1 and -1, failures 0 and 0.
    assert (found["value"], found["successes"], found["failures"]) == (0.5, 30, 30)
    # What several seeds have is no further evidence.
    fewer = auroc(pooled[1:60] + pooled[61:], [*right[1:], *right[1:]])
    assert (fewer["value"], fewer["reason"]) == (None, "not estimable, n = 29")


# Summary


def result(task: str, planner: str, seed: int, chosen: float, *true_scores: float) -> Result:
    cs = tuple(candidate(t, t, [str(k)]) for k, t in enumerate(true_scores))
    return Result(task, planner, seed, true_score=chosen, candidates=cs)


def summary_of(*results: Result, **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "environment": "elsewhere",
        "tasks": list(dict.fromkeys(r.task for r in results)),
        "planners": list(dict.fromkeys(r.planner for r in results)),
        "seeds": list(dict.fromkeys(r.seed for r in results)),
        "n": 2,
    }
    return summarise(RunSpec.from_dict(fields | changes), {r.key: r for r in results})


def test_sampling_is_the_mean_of_its_candidates() -> None:
    found = summary_of(
        result("1", "sampling", 0, 1.0, 1.0, 0.0), result("2", "sampling", 0, 0.0, 0.0, 0.0)
    )
    assert found["planners"]["sampling"]["score"] == 0.25
    assert found["planners"]["sampling"]["interval"] == "bootstrap"


def test_wilson_serves_one_seeds_success_rate_alone() -> None:
    one = [result(str(k), "greedy", 0, float(k < 3), float(k < 3)) for k in range(10)]
    found = summary_of(*one)["planners"]["greedy"]
    assert found["interval"] == "wilson"
    assert found["ci95"] == wilson(3, 10)
    more = [result(str(k), "greedy", 1, float(k < 3), float(k < 3)) for k in range(10)]
    assert summary_of(*one, *more)["planners"]["greedy"]["interval"] == "bootstrap"


def test_failed_runs_count_zero_everywhere() -> None:
    good = [result(str(k), "best_of_n", 0, 1.0, 1.0, 0.0) for k in range(3)]
    found = summary_of(*good, Result("9", "best_of_n", 0, error="it died"))["planners"]["best_of_n"]
    assert (found["score"], found["oracle"], found["mean"]) == (0.75, 0.75, 0.375)
    assert (found["errors"], found["n_tasks"], found["gap_closed"]) == (1, 4, 1.0)


def test_planners_are_compared_pairwise() -> None:
    runs = [
        result(str(k), planner, 0, score, score)
        for k in range(20)
        for planner, score in (("greedy", float(k % 2)), ("mcts", 0.25 + k % 2 / 2))
    ]
    (found,) = summary_of(*runs)["comparisons"]
    assert found["planners"] == ("mcts", "greedy")
    by_hand = [(0.25 + k % 2 / 2) - k % 2 for k in range(20)]
    assert found["difference"] == pytest.approx(np.mean(by_hand))
    assert found["ci95"][0] < 0 < found["ci95"][1]


@pytest.mark.parametrize("scores", [(1.0, 0.0), (0.0, 0.0)])
def test_table_words_and_picture(tmp_path: Path, scores: tuple[float, float]) -> None:
    runs = [
        result(str(k), planner, 0, scores[0] * (k % 2), *(s * (k % 2) for s in scores))
        for k in range(10)
        for planner in ("greedy", "sampling", "best_of_n")
    ]
    found = summary_of(*runs, Result("9", "greedy", 0, error="it died"))
    console = Console(width=120, record=True, file=(tmp_path / "out").open("w"))
    print_summary(found, console)
    text = console.export_text()
    words = "\n".join(plain_words(found))
    assert "1 run failed and counts as 0" in words
    if scores[0]:
        assert "50.0 %" in text
        assert "best_of_n minus sampling, on the same tasks: +25.0 points" in words
        assert "100.0 % (100.0 to 100.0) of the gain" in words
    else:
        assert "is undefined" in words
    draw(found, tmp_path / "summary.png")
    assert (tmp_path / "summary.png").read_bytes().startswith(b"\x89PNG")


def test_candidates_that_failed_are_told() -> None:
    lost = Candidate(("1",), Status.ENDED, None, 0.0, "it ends elsewhere than recorded")
    runs = [
        replace(result(str(k), "best_of_n", 0, 1.0, 1.0), candidates=(candidate(1.0, 1.0), lost))
        for k in range(3)
    ]
    assert list(failures(summary_of(*runs))) == [
        "3 candidates failed and count as 0: results.jsonl says why."
    ]
    (words, _) = failures(summary_of(*runs[:1], Result("9", "best_of_n", 0, error="it died")))
    assert words.startswith("1 run failed")
    assert not list(failures(summary_of(result("1", "best_of_n", 0, 1.0, 1.0))))


def test_every_pair_of_planners_is_compared() -> None:
    names = ["greedy", "sampling", "best_of_n"]
    runs = [result(str(k), name, 0, 1.0, 1.0) for k in range(3) for name in names]
    found = {frozenset(c["planners"]) for c in summary_of(*runs)["comparisons"]}
    assert found == {frozenset(pair) for pair in combinations(names, 2)}
