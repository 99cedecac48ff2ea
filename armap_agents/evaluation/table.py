"""A summary for a person: tables, and beneath them in plain words what the figures mean."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from armap_agents.errors import ConfigurationError
from armap_agents.evaluation.intervals import Interval
from armap_agents.evaluation.quality import CandidateQuality
from armap_agents.evaluation.selectors import RESCORED, REWARD
from armap_agents.evaluation.summary import Comparison, PlannerSummary, Summary

FEW = 3
"""So many planners are compared pair by pair in sentences; more stand in a table, against one."""

SELECTOR_NAMES = {
    REWARD: "reward model",
    "says_24": 'string check "= 24"',
    "surface_model": "logistic model, other tasks",
    "search_rank": "lowest search rank",
    "word_overlap": "word overlap with the task",
    "ended": "ended normally",
    "cosine": "untrained similarity",
    "judge": "judge prompt",
}


def selector_name(name: str) -> str:
    """Return a selector's name as people say it."""
    kind, _, own = name.partition(":")
    return f"reward model {own}" if kind == RESCORED and own else SELECTOR_NAMES.get(name, name)


def best_of_n(summary: Summary) -> tuple[str, CandidateQuality] | None:
    """Return label and candidates of the first planner whose candidates were judged, if any."""
    for label, planner in summary["planners"].items():
        if "selectors" in planner:
            return label, planner  # type: ignore[return-value]
    return None


def print_summary(
    summary: Summary, console: Console | None = None, reference: str | None = None
) -> None:
    """Print the tables and the words beneath them.

    Args:
        summary: What `evaluate` or `compare` returned.
        console: Where to; default: standard output.
        reference: Label of the planner that all others are compared with; default: every pair
            where there are few, else the first planner.

    Raises:
        ConfigurationError: No planner has the reference's label.
    """
    (console or Console()).print(summary_view(summary, reference))


def summary_view(summary: Summary, reference: str | None = None) -> RenderableType:
    """Return the tables and the words beneath them, for rich to print."""
    labels = {"".join(label.split()): label for label in summary["planners"]}
    first = next(iter(labels)) if reference is None else "".join(reference.split())
    if first not in labels:
        raise ConfigurationError(
            f"no planner is labelled {reference!r}: use {', '.join(labels.values())}"
        )
    parts: list[RenderableType] = [_planners(summary)]
    if reference is not None or len(labels) > FEW:
        parts += ["", _differences(summary, labels[first])]
    judged = best_of_n(summary)
    if judged is not None:
        parts += ["", _selectors(judged[1])]
    words = [Text(line) for line in plain_words(summary)]
    if words:
        parts += ["", *words]
    return Group(*parts)


def _table(title: str, caption: str) -> Table:
    return Table(
        title=Text(title),  # labels have brackets, which rich takes for markup in a str
        caption=Text(caption),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def _planners(summary: Summary) -> Table:
    planners = summary["planners"].values()
    seeds = len(summary["seeds"])
    policy = "" if summary["policy"] is None else f", policy {summary['policy']}"
    table = _table(
        f"{summary['environment']}, {max(p['n_tasks'] for p in planners)} {summary['split']} "
        f"tasks, {seeds} seed{'s' if seeds > 1 else ''}{policy}",
        "sampling scores the mean of its tries, every other planner what it answered with. Costs "
        "are means of a run: completions asked of the policy, its tokens, steps in the "
        "environment, states scored by the reward model, seconds until the answer.",
    )
    solved = any(planner["interval"] == "wilson" for planner in planners)
    table.add_column("planner", overflow="fold")
    table.add_column("true score (95 %)", no_wrap=True)
    for column in (["solved"] if solved else []) + ["calls", "tokens", "steps", "scored", "sec"]:
        table.add_column(column, justify="right", no_wrap=True)
    for label, planner in summary["planners"].items():
        cost = planner["cost_per_run"]
        table.add_row(
            _label(label),
            percent(planner["score"], planner["ci95"]),
            *([_solved(planner)] if solved else []),
            _count(cost["policy_completions"]),
            _count(cost["policy_tokens"]),
            _count(cost["environment_steps"]),
            _count(cost["scored"]),
            f"{cost['seconds']:,.1f}",
        )
    return table


def _label(label: str) -> Text:
    """Return a planner's label so that a narrow column breaks it between its options."""
    return Text(label.replace("[", " [").replace(";", "; "))


def _count(value: float) -> str:
    return f"{value / 1000:,.0f}k" if value >= 10_000 else f"{value:,.0f}"


def _solved(planner: PlannerSummary) -> str:
    """Count successes, where every run is one or none."""
    if planner["interval"] != "wilson":
        return ""
    return f"{round(planner['score'] * planner['n_runs'])}/{planner['n_runs']}"


def _differences(summary: Summary, reference: str) -> Table:
    table = _table(
        f"Compared with {reference}, on the same tasks and seeds",
        "Clear: the 95 % interval of this paired difference, taken alone, leaves out 0.",
    )
    table.add_column("planner", overflow="fold")
    table.add_column("points more (95 %)", no_wrap=True)
    table.add_column("")
    for comparison in summary["comparisons"]:
        if reference not in comparison["planners"]:
            continue
        label, points, interval = _against(comparison, reference)
        ends = "" if interval is None else f" ({_ends(interval)})"
        verdict = "clear" if _is_clear(interval) else ""
        table.add_row(_label(label), f"{100 * points:+.1f}{ends}", verdict)
    return table


def _against(comparison: Comparison, reference: str) -> tuple[str, float, Interval | None]:
    """Return the other planner, and by how much it scores higher than the reference."""
    first, second = comparison["planners"]
    difference, interval = comparison["difference"], comparison["ci95"]
    if second == reference:
        return first, difference, interval
    return second, -difference, None if interval is None else (-interval[1], -interval[0])


def _selectors(quality: CandidateQuality) -> Table:
    table = _table(
        f"Who picks best among the same {quality['candidates']} candidates?",
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
    yield from failures(summary)
    for comparison in summary["comparisons"] if len(planners) <= FEW else ():
        first, second = comparison["planners"]
        interval = comparison["ci95"]
        difference = f"{100 * comparison['difference']:+.1f} points"
        if interval is None:
            yield f"{first} minus {second}: {difference}."
            continue
        yield (
            f"{first} minus {second}, on the same tasks: {difference} "
            f"({_points(interval)}): {'a' if _is_clear(interval) else 'no'} clear difference."
        )
    judged = best_of_n(summary)
    if judged is not None:
        yield from _about_candidates(*judged)


def _about_candidates(label: str, quality: CandidateQuality) -> Iterator[str]:
    n = quality["candidates"]
    yield (
        f"One of the {n} candidates, drawn at random, scores {percent(quality['mean'])}; the best "
        f"of them {percent(quality['oracle'])}: nobody who only picks can get more. "
        f"{quality['distinct_candidates']:.1f} of the {n} differ."
    )
    if quality["gap_closed"] is None:
        yield f"The share of this gain that {label} gets is {quality['gap_closed_reason']}."
    else:
        gained = percent(quality["gap_closed"], quality["gap_closed_ci95"])
        yield f"{label} gets {gained} of the gain that picking can give."
    for reward, claim in quality["claims"].items():
        if claim["difference"] is None:
            continue
        rival = selector_name(claim["best_trivial"])
        points = "" if claim["ci95"] is None else f" ({_points(claim['ci95'])})"
        verdict = "beats" if claim["holds"] else "is not shown to beat"
        yield (
            f"The {selector_name(reward)} {verdict} the best simple rule ({rival}): "
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


def failures(summary: Summary) -> Iterator[str]:
    """Say how much failed and counts as 0, if anything did."""
    planners = summary["planners"].values()
    failed = sum(planner["errors"] for planner in planners)
    if failed:
        yield f"{_failed(failed, 'run')} as 0: the same command tries what failed again."
    # A run that failed is one failed candidate as well.
    lost = sum(
        planner["failed_candidates"] - planner["errors"]  # type: ignore[typeddict-item]
        for planner in planners
        if "failed_candidates" in planner
    )
    if lost:
        yield f"{_failed(lost, 'candidate')} as 0: results.jsonl says why."


def _failed(failed: int, noun: str) -> str:
    return f"1 {noun} failed and counts" if failed == 1 else f"{failed} {noun}s failed and count"


def _points(interval: Interval) -> str:
    return f"95 % interval {_ends(interval)}"


def _ends(interval: Interval) -> str:
    return f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"


def _is_clear(interval: Interval | None) -> bool:
    """Whether the interval leaves out 0."""
    return interval is not None and (interval[0] > 0 or interval[1] < 0)
