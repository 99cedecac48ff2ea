"""A summary for a person: two tables, and beneath them in plain words what the figures mean."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from armap_agents.evaluation.intervals import Interval
from armap_agents.evaluation.quality import CandidateQuality
from armap_agents.evaluation.selectors import REWARD
from armap_agents.evaluation.summary import BEST_OF_N, PlannerSummary, Summary

SELECTOR_NAMES = {
    REWARD: "reward model",
    "says_24": 'string check "= 24"',
    "surface_model": "logistic model, other tasks",
    "word_overlap": "word overlap with the task",
    "ended": "ended normally",
    "cosine": "untrained similarity",
    "judge": "judge prompt",
}


def selector_name(name: str) -> str:
    """Return a selector's name as people say it."""
    return SELECTOR_NAMES.get(name, name)


def print_summary(summary: Summary, console: Console | None = None) -> None:
    """Print the tables and the words beneath them."""
    (console or Console()).print(summary_view(summary))


def summary_view(summary: Summary) -> RenderableType:
    """Return the tables and the words beneath them, for rich to print."""
    parts: list[RenderableType] = [_planners(summary)]
    quality = summary["planners"].get(BEST_OF_N)
    if quality is not None:
        parts += ["", _selectors(quality, summary["n"])]  # type: ignore[arg-type]
    parts += ["", *(Text(line) for line in plain_words(summary))]
    return Group(*parts)


def _table(title: str, caption: str) -> Table:
    return Table(
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )


def _planners(summary: Summary) -> Table:
    first = next(iter(summary["planners"].values()))
    seeds, n = len(summary["seeds"]), summary["n"]
    table = _table(
        f"{summary['environment']}, {first['n_tasks']} {summary['split']} tasks, "
        f"{seeds} seed{'s' if seeds > 1 else ''}",
        f"sampling: the average of {n} tries; best_of_n: the one of {n} that the reward model "
        "picks. Costs per task: completions asked of the policy, its tokens, steps in the "
        "environment, seconds summed over rollouts.",
    )
    table.add_column("planner", no_wrap=True)
    table.add_column("true score (95 %)", no_wrap=True)
    for column in ("solved", "calls", "tokens", "steps", "sec"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, planner in summary["planners"].items():
        runs = planner["n_runs"]
        table.add_row(
            name,
            percent(planner["score"], planner["ci95"]),
            _solved(planner),
            f"{planner['policy_completions'] / runs:,.0f}",
            f"{planner['policy_tokens'] / runs:,.0f}",
            f"{planner['environment_steps'] / runs:,.0f}",
            f"{planner['seconds'] / runs:,.1f}",
        )
    return table


def _solved(planner: PlannerSummary) -> str:
    """Count successes, where every run is one or none."""
    if planner["interval"] != "wilson":
        return ""
    return f"{round(planner['score'] * planner['n_runs'])}/{planner['n_runs']}"


def _selectors(quality: CandidateQuality, n: int) -> Table:
    table = _table(
        f"Who picks best among the same {n} candidates?",
        "Gain: 0 % is a pick by chance, 100 % by one who knows the true scores. Pairs: how often "
        "the better of two candidates of a task is ranked higher.",
    )
    table.add_column("picked by")
    table.add_column("true score (95 %)", no_wrap=True)
    table.add_column("share of the gain", no_wrap=True)
    table.add_column("pairs", justify="right")
    table.add_row("one who knows", percent(quality["oracle"], quality["oracle_ci95"]), "100 %")
    ranked = sorted(quality["selectors"].items(), key=lambda item: -(item[1]["score"] or -1.0))
    for name, selector in ranked:
        if selector["score"] is None:
            table.add_row(selector_name(name), "not run", "", "", style="dim")
            continue
        right = selector["concordance"]
        table.add_row(
            selector_name(name),
            percent(selector["score"], selector["ci95"]),
            percent(selector["gap_closed"], selector["gap_closed_ci95"]),
            "–" if right is None else f"{right:.2f}",
            style="bold" if name == REWARD else None,
        )
    return table


def plain_words(summary: Summary) -> Iterator[str]:
    """Say what the figures mean, one sentence or two a line."""
    planners = summary["planners"]
    failed = sum(planner["errors"] for planner in planners.values())
    if failed:
        runs = "1 run failed and counts" if failed == 1 else f"{failed} runs failed and count"
        yield f"{runs} as 0: the same command tries what failed again."
    for comparison in summary["comparisons"]:
        first, second = comparison["planners"]
        interval = comparison["ci95"]
        difference = f"{100 * comparison['difference']:+.1f} points"
        if interval is None:
            yield f"{first} minus {second}: {difference}."
            continue
        clear = interval[0] > 0 or interval[1] < 0
        yield (
            f"{first} minus {second}, on the same tasks: {difference} "
            f"({_points(interval)}): {'a clear difference' if clear else 'no clear difference'}."
        )
    best = planners.get(BEST_OF_N)
    if best is not None:
        yield from _about_candidates(best, summary["n"])  # type: ignore[arg-type]


def _about_candidates(quality: CandidateQuality, n: int) -> Iterator[str]:
    yield (
        f"One of the {n} candidates, drawn at random, scores {percent(quality['mean'])}; the best "
        f"of them {percent(quality['oracle'])}: nobody who only picks can get more. "
        f"{quality['distinct_candidates']:.1f} of the {n} differ."
    )
    if quality["gap_closed"] is None:
        yield f"The share of this gain that best_of_n gets is {quality['gap_closed_reason']}."
    else:
        gained = percent(quality["gap_closed"], quality["gap_closed_ci95"])
        yield f"best_of_n gets {gained} of the gain that picking can give."
    claim = quality["claim"]
    if claim is None or claim["difference"] is None:
        return
    rival = selector_name(claim["best_trivial"])
    points = "" if claim["ci95"] is None else f" ({_points(claim['ci95'])})"
    verdict = "beats" if claim["holds"] else "is not shown to beat"
    yield (
        f"The reward model {verdict} the best simple rule ({rival}): "
        f"{100 * claim['difference']:+.1f} points of that share{points}."
    )


def percent(value: float | None, interval: Interval | None = None) -> str:
    """Write a share as ``12.3 % (8.0 to 17.1)``."""
    if value is None:
        return "undefined"
    text = f"{100 * value:.1f} %"
    if interval is None:
        return text
    return f"{text} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def _points(interval: Interval) -> str:
    return f"95 % interval {100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"
