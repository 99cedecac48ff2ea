"""Running one planner from the command line: a bar, a checkpoint beside the journal, Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from armap_agents.cli.planners import planner_context, planner_graph
from armap_agents.errors import ArmapError, ConfigurationError
from armap_agents.locks import only_writer
from armap_agents.resources import current, resources, runs_folder
from armap_agents.trace import new_run_id, read_events, run_name

if TYPE_CHECKING:
    from armap_agents.graphs.context import PlannerContext

CHECKPOINTS = "checkpoints.sqlite"
"""In the run's folder: LangGraph's checkpoints, for its history and forks."""

OTHER_RUN = "use another run (--run) or folder (ARMAP_RUNS)"

STEPS = 10_000_000
"""LangGraph's bound on super-steps, out of the way: what ends a search is its budget."""


class Interrupted(ArmapError):
    """The user stopped a run; the message says how to go on with it."""


def recorded_run(run: str, *, resumes: bool = False) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return planner, task and newest context of a run, which may be about to go on.

    Nobody is there to review an answer, so that is left out of it, and so is an endpoint whose
    address was not written down, as it carries a password: the environment may name it.

    Raises:
        ConfigurationError: There is no such run, or it does not say.
    """
    from armap_agents.viewer.runs import list_runs

    path = runs_folder() / run / "trace.jsonl"
    if not path.exists():
        newest = [summary.name for summary in list_runs(runs_folder(), 3)[0]]
        known = f"the newest are {', '.join(newest)}" if newest else "it holds none"
        raise ConfigurationError(
            f"no run {run} in {runs_folder()} ({known}): give one that is there"
        )
    events = list(read_events(path))
    began = events[0] if events else {}
    if began.get("kind") != "run" or "context" not in began:
        raise ConfigurationError(f"run {run} does not say how it was started: start it anew")
    if resumes and any(event["kind"] == "told" for event in events):
        raise ConfigurationError(
            f"run {run} is a replay of {began['parent']['run']}: resume that one instead"
        )
    newest = [event["context"] for event in events if event["kind"] in ("run", "context")][-1]
    context = {**newest, "review": False}
    if context.get("policy_url") is None:
        context.pop("policy_url", None)
    return began["planner"], began["settings"]["task"], context


async def plan_task(planner: str, task: dict[str, Any], context: PlannerContext) -> dict[str, Any]:
    """Run a planner on a task behind a progress bar, or go on with the run that the context names.

    Raises:
        Interrupted: Ctrl-C; what is finished is kept.
        ArmapError: Something is wrong or missing.
    """
    from armap_agents.graphs.nodes import open_policy

    context = context.model_copy(update={"run": context.run or new_run_id()})
    async with resources():
        await (await open_policy(context)).check()
        return await _run(planner, task, context)


async def replay_run(run: str) -> tuple[dict[str, Any], str]:
    """Run a recorded run again from its answers; return the output and how the two compare.

    Raises:
        ArmapError: There is no such run, or it came out differently.
    """
    planner, task, recorded = recorded_run(run)
    url = recorded.get("policy_url") or "http://127.0.0.1/v1"  # nobody is asked there
    # Held too, since to open a journal is to cut off a line that is only half written.
    async with resources() as opened:
        with only_writer(opened.runs / run, OTHER_RUN):
            return await _replayed(run, planner, task, recorded | {"policy_url": url})


async def _replayed(
    run: str, planner: str, task: dict[str, Any], recorded: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    from armap_agents.graphs.replay import begin_replay, same_outcome

    context = await begin_replay(run, planner_context(recorded))
    out = await _run(planner, task, context)
    return out, await same_outcome(run, out["run"])


async def _run(planner: str, task: dict[str, Any], context: PlannerContext) -> dict[str, Any]:
    """Run a planner while no other process may write its run."""
    run = context.run
    assert run is not None
    if run_name(run) != run:  # before anything is made of it
        raise ConfigurationError(
            f"{run!r} is no name for a run: use letters, digits, '.', '_' and '-'"
        )
    with only_writer(current().runs / run, OTHER_RUN):
        return await _until_stopped(planner, task, context)


async def _until_stopped(
    planner: str, task: dict[str, Any], context: PlannerContext
) -> dict[str, Any]:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    from langgraph.errors import GraphDrained
    from langgraph.runtime import RunControl

    from armap_agents.graphs.runs import open_journal

    assert context.run is not None
    folder = (await open_journal(context.run)).folder
    control, loop = RunControl(), asyncio.get_running_loop()
    running = asyncio.current_task()
    assert running is not None

    def stop() -> None:
        if control.drain_requested:
            running.cancel()
        control.request_drain("Ctrl-C")

    loop.add_signal_handler(signal.SIGINT, stop)
    how = f"go on with `armap plan --resume {context.run}`"
    try:
        async with AsyncSqliteSaver.from_conn_string(str(folder / CHECKPOINTS)) as saver:
            graph = planner_graph(planner).copy(update={"checkpointer": saver})
            return await _watched(graph, planner, task, context, control)
    except GraphDrained:
        raise Interrupted(f"stopped after the step under way: {how}") from None
    except asyncio.CancelledError:
        raise Interrupted(f"stopped at once: {how}") from None
    finally:
        with suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)


async def _watched(
    graph: Any, planner: str, task: dict[str, Any], context: PlannerContext, control: Any
) -> dict[str, Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    state: dict[str, Any] = {}
    totals = {"greedy": 1, "sampling": context.n, "best_of_n": context.n, "beam": None}
    console = Console(stderr=True)
    # Where a bar cannot be redrawn nothing would be left of it but an empty line.
    hidden = not console.is_interactive
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        bar = progress.add_task("rollouts", total=totals.get(planner, context.rollouts))
        stream = graph.astream(
            {"task": task},
            {"configurable": {"thread_id": context.run}, "recursion_limit": STEPS},
            context=context,
            control=control,
            stream_mode=["updates", "values"],
        )
        async for mode, event in stream:
            if mode == "values":
                state = event
                spent = event.get("spent")
                if spent:
                    progress.update(bar, completed=spent["rollouts"])
            elif "rollout" in event and not state.get("spent"):
                progress.advance(bar)
    return state


def show(out: dict[str, Any]) -> None:
    """Print an answer: the trajectory, its score, what it cost, and where its trace is."""
    trajectory, usage = out["trajectory"], out["usage"]
    console = Console()
    console.print(f"[bold]{escape(trajectory['instruction'])}[/]")
    table = Table("step", "action", "observation")
    table.add_row("0", "", escape(trajectory["observation"]["text"]))
    for k, step in enumerate(trajectory["steps"], 1):
        table.add_row(str(k), escape(step["action"]), escape(step["observation"]["text"]))
    console.print(table)
    trajectories = [candidate["trajectory"] for candidate in out["candidates"]]
    different = {found["id"] for found in trajectories if found["status"] != "failed"}
    score = "" if out["score"] is None else f"reward {out['score']:.3f}, "
    stopped = f"; {out['stopped']}" if out.get("stopped") else ""
    console.print(
        f"{score}{_count(usage['rollouts'], 'rollout')} "
        f"({_count(usage['failures'], 'failure')}), "
        f"{_count(len(different), 'different candidate')}, "
        f"{_count(usage['completions'], 'completion')}, "
        f"{_count(usage['prompt_tokens'] + usage['completion_tokens'], 'token')}{escape(stopped)}",
        soft_wrap=True,
    )
    console.print(
        f"run {out['run']}: look into it with `armap trace {out['run']}`",
        highlight=False,
        soft_wrap=True,
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
