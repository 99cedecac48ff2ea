"""Searches that go on: after an outage, with another budget, from a fork; and what a replay of such
runs is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from maze import TASK, Maze, context, draw, events, opened, register_maze, search

from armap_agents import Observation, StepResult, Task, register_environment, resources
from armap_agents.cli.planning import recorded_run
from armap_agents.environment import Guide
from armap_agents.errors import ArmapError, PolicyError
from armap_agents.graphs import beam, best_of_n, mcts, reflexion, tree_search
from armap_agents.graphs.context import PlannerContext
from armap_agents.graphs.deciding import EVERYTHING_FAILS
from armap_agents.graphs.replay import begin_replay, same_outcome
from armap_agents.resources import Resources
from armap_agents.testing import Fault, ScriptedServer, scripted_policy
from armap_agents.trace import read_events

Out = dict[str, Any]

__all__ = ["opened"]  # a fixture


@pytest.fixture(autouse=True)
def _known() -> None:
    register_maze()


def down_from(first: int) -> Any:
    """Faults of a server that is down from its request of that number on."""
    return lambda number: Fault("status") if number >= first else None


async def replayed(opened: Resources, run: str, planner: Any = mcts) -> str:
    recorded: dict[str, Any] = PlannerContext(**context("http://127.0.0.1:9/v1")).model_dump()
    event = next(iter(read_events(opened.runs / run / "trace.jsonl")))
    again = await begin_replay(run, PlannerContext(**recorded | event["context"]))
    out = await planner.graph.ainvoke({"task": TASK}, context=again)
    return await same_outcome(run, out["run"])


# --- budgets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("completions", [17, 25, 40])
async def test_a_beam_ends_where_its_states_together_cost_more_than_is_left(
    opened: Resources, completions: int
) -> None:
    async with scripted_policy() as server, asyncio.timeout(30):
        out = await search(server.url, beam.graph, completions=completions, width=3, proposals=6)
    assert out["trajectory"]["status"] in ("ended", "limit")
    # The rollout that finishes the best state comes on top of what a beam spends.
    assert out["usage"]["completions"] < completions + 5


async def test_more_rollouts_than_before_lose_none_and_less_take_none_away(
    opened: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted_policy() as server:
        first = await search(server.url, rollouts=8, run="first")
        more = await search(server.url, rollouts=16, run="first")
        asked = len(server.requests)
        again = await search(server.url, rollouts=8, run="first")
        assert len(server.requests) == asked
    assert (first["usage"]["rollouts"], more["usage"]["rollouts"]) == (8, 16)
    assert again["tree"] == more["tree"]
    monkeypatch.setenv("ARMAP_RUNS", str(opened.runs))
    assert recorded_run("first")[2]["rollouts"] == 8
    assert [e["context"]["rollouts"] for e in events(opened, "first", "context")] == [16, 8]


async def test_time_in_which_nothing_ran_is_not_counted(
    opened: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint may be gone on with by another process, hours later."""
    graph = mcts.builder.compile(checkpointer=InMemorySaver(), interrupt_before=["backup"])
    config: Any = {"configurable": {"thread_id": "1"}}
    async with scripted_policy() as server:
        given = context(server.url, rollouts=None, seconds=1000.0)
        await graph.ainvoke({"task": TASK}, config, context=given)
        monkeypatch.setattr(tree_search, "_PROCESS", "another")
        monkeypatch.setattr(tree_search.time, "monotonic", lambda: 1e9)
        state = await graph.ainvoke(None, config, context=given)
    assert state["spent"]["seconds"] == 0.0


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
async def test_one_leaf_at_a_time_gets_over_one_failing_call_in_five(
    opened: Resources, seed: int
) -> None:
    fails = lambda number: Fault("status") if number and draw(seed, number) < 0.2 else None  # noqa: E731
    async with scripted_policy(faults=fails) as server:
        out = await search(
            server.url, rollouts=40, parallel=1, environment_options={"depth": 7, "exits": 0.0}
        )
    assert out["stopped"] == "rollouts spent"
    assert out["usage"]["failures"] > 5


@pytest.mark.parametrize("parallel", [1, 8])
async def test_a_search_that_an_outage_ended_goes_on_when_it_is_resumed(
    opened: Resources, parallel: int
) -> None:
    options = {"rollouts": 60, "parallel": parallel, "run": "first"}
    async with scripted_policy(faults=down_from(20)) as server:
        cut = await search(server.url, **options)
    assert cut["stopped"] == EVERYTHING_FAILS
    assert cut["usage"]["failures"] >= 24
    async with scripted_policy() as server:
        out = await search(server.url, **options)
        assert server.requests
    assert out["stopped"] == "rollouts spent"
    assert all(node["status"] != "failed" for node in out["tree"].values())
    rollouts = Counter(event["id"] for event in events(opened, "first", "rollout"))
    assert set(rollouts.values()) == {1}
    reopened = [e["reopened"] for e in events(opened, "first", "backup") if not e["evaluations"]]
    assert reopened.count(EVERYTHING_FAILS) == 1
    assert "every decision is the recorded one" in await replayed(opened, "first")


async def test_a_root_without_proposals_is_asked_for_them_again(opened: Resources) -> None:
    async with scripted_policy(faults=down_from(0)) as server:
        with pytest.raises(PolicyError, match="every rollout failed"):
            await search(server.url, run="first")
    async with scripted_policy() as server:
        out = await search(server.url, run="first")
    assert out["stopped"] == "rollouts spent"
    assert out["usage"]["rollouts"] == 24


class Moody(Maze):
    """Its rules name the task, and its second reset fails."""

    resets = 0

    async def reset(self, task: Task) -> Observation:
        Moody.resets += 1
        if Moody.resets == 2:
            raise RuntimeError("the browser died")
        self.guide = Guide(f"RULES OF TASK {task.id}.")
        return await super().reset(task)


@pytest.fixture
def moody() -> None:
    register_environment("moody", Moody)
    Moody.resets = 0


@pytest.mark.usefixtures("moody")
async def test_an_environment_that_fails_before_the_proposals_costs_no_search(
    opened: Resources,
) -> None:
    async with scripted_policy() as server:
        out = await search(server.url, task={"environment": "moody", "id": "A"})
    assert out["stopped"] == "rollouts spent"


@pytest.mark.usefixtures("moody")
async def test_proposals_are_told_the_rules_of_their_own_task(opened: Resources) -> None:
    Moody.resets = 2
    async with scripted_policy() as server:
        for task in ("A", "B"):
            start = len(server.requests)
            await search(server.url, task={"environment": "moody", "id": task}, rollouts=4)
            prompts = [request.prompt for request in server.requests[start:]]
            assert all(f"RULES OF TASK {task}" in prompt for prompt in prompts)


# --- forks and replays ----------------------------------------------------------------------------


async def forked(server: ScriptedServer, iteration: int, **changes: Any) -> tuple[Out, Out]:
    """Run a search, then go on from a checkpoint of it with changes."""
    graph = mcts.builder.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    out = await graph.ainvoke({"task": TASK}, config, context=context(server.url))
    history = [s async for s in graph.aget_state_history(config)]
    start = next(s for s in history if s.next == ("select",) and s.values["iteration"] == iteration)
    fork = await graph.ainvoke(None, start.config, context=context(server.url) | changes)
    return out, fork


async def test_a_fork_that_swaps_the_endpoint_asks_the_other_one(opened: Resources) -> None:
    async with scripted_policy() as server, scripted_policy(score=lambda a: draw(a)) as other:
        out, fork = await forked(server, 2, policy_url=other.url)
        assert other.requests
        url = other.url
    assert fork["run"] != out["run"]
    [run] = events(opened, fork["run"], "run")
    assert run["parent"] == {"run": out["run"], "event": "backup/1"}
    assert run["context"]["policy_url"] == url


@pytest.mark.parametrize("changes", [{"parallel": 2}, {"exploration": 9.0}, {"seed": 3}])
async def test_a_fork_is_replayed_from_where_it_parted(
    opened: Resources, changes: dict[str, Any]
) -> None:
    async with scripted_policy() as server:
        _, fork = await forked(server, 2, **changes)
    assert "every decision is the recorded one" in await replayed(opened, fork["run"])


async def test_a_run_with_more_rollouts_later_on_is_replayed(opened: Resources) -> None:
    async with scripted_policy() as server:
        await search(server.url, rollouts=9, run="first")
        await search(server.url, rollouts=18, completions=70, run="first")
    assert "every decision is the recorded one" in await replayed(opened, "first")


async def test_reflexion_that_ran_out_of_time_is_replayed(opened: Resources) -> None:
    async with scripted_policy(latency=0.05) as server:
        out = await search(
            server.url, reflexion.graph, rollouts=None, seconds=0.6, stop_objective=99, run="first"
        )
    assert out["stopped"] == "seconds spent"
    assert "every decision is the recorded one" in await replayed(opened, "first", reflexion)


@pytest.mark.parametrize("graph", [mcts.graph, beam.graph, reflexion.graph, best_of_n.graph])
@pytest.mark.parametrize("given", [{}, {"task": "901"}, {"task": {"environment": "maze"}}])
async def test_an_input_without_a_task_is_told_how_one_looks(
    opened: Resources, graph: Any, given: dict[str, Any]
) -> None:
    with pytest.raises(ArmapError, match="pass "):
        await graph.ainvoke(given, context=context("http://127.0.0.1:9/v1"))


# --- odd ways to go on ----------------------------------------------------------------------------


class Shaky(Maze):
    """Its first steps fail, as many as `Shaky.fails` says."""

    fails = 0

    async def step(self, action: str) -> StepResult:
        if Shaky.fails:
            Shaky.fails -= 1
            raise RuntimeError("the browser died")
        return await super().step(action)


@pytest.mark.parametrize("graph", [beam.graph, mcts.graph])
async def test_a_tree_of_which_everything_failed_at_first_grows_all_the_same(
    opened: Resources, graph: Any
) -> None:
    register_environment("shaky", Shaky)
    Shaky.fails = 5
    async with scripted_policy() as server:
        out = await search(server.url, graph, {"environment": "shaky", "id": "0"}, proposals=5)
    assert out["usage"]["failures"] == 5
    assert all(node["status"] != "failed" for node in out["tree"].values())
    assert out["trajectory"]["status"] in ("ended", "limit")


@pytest.mark.parametrize("first", [3, 4, 5])
async def test_a_beam_that_an_outage_ended_goes_on_when_it_is_resumed(
    opened: Resources, first: int
) -> None:
    options: dict[str, Any] = {"width": 2, "run": "first"}
    async with scripted_policy(faults=down_from(first)) as server:
        with suppress(PolicyError):
            await search(server.url, beam.graph, **options)
    async with scripted_policy() as server:
        out = await search(server.url, beam.graph, **options)
    assert all(node["status"] != "failed" for node in out["tree"].values())
    depths = {node["depth"] for node in out["tree"].values() if node["visits"]}
    assert depths == {0, 1, 2, 3, 4} - {0}


@pytest.mark.parametrize("more", [2, 7])
async def test_a_person_may_grant_a_beam_more(opened: Resources, more: int) -> None:
    graph = beam.builder.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    async with scripted_policy() as server:
        given = context(server.url, width=5, review=True, completions=10)
        out = await graph.ainvoke({"task": TASK}, config, context=given)
        before = out["spent"]["rollouts"]
        out = await graph.ainvoke(Command(resume={"rollouts": more}), config, context=given)
        assert "__interrupt__" in out
        assert out["spent"]["rollouts"] > before
        out = await graph.ainvoke(Command(resume={"approve": True}), config, context=given)
    assert out["trajectory"]["status"] in ("ended", "limit")


async def test_an_outage_of_two_wide_iterations_is_got_over_too(opened: Resources) -> None:
    options: dict[str, Any] = {"parallel": 16, "proposals": 32, "rollouts": 64, "run": "first"}
    async with scripted_policy(faults=down_from(1)) as server:
        with suppress(PolicyError):
            await search(server.url, value_weight=0.5, **options)
    async with scripted_policy() as server:
        out = await search(server.url, value_weight=0.5, **options)
    assert out["stopped"] == "rollouts spent"


async def test_what_a_try_has_cost_is_counted_once(opened: Resources) -> None:
    """A rollout that fails at a later call keeps its earlier answers for the next try."""
    single: dict[str, Any] = {
        "parallel": 1,
        "proposals": 1,
        "value_weight": 0.0,
        "environment_options": {"depth": 5, "exits": 0.0},
    }
    async with scripted_policy() as server:
        clean = await search(server.url, rollouts=1, **single)
        asked = len(server.requests)
    fails = lambda number: Fault("status") if number == asked - 1 else None  # noqa: E731
    async with scripted_policy(faults=fails) as server:
        faulty = await search(server.url, rollouts=2, **single)
        assert len(server.requests) == asked + 1
    names = ("completions", "prompt_tokens", "completion_tokens")
    assert [faulty["usage"][name] for name in names] == [clean["usage"][name] for name in names]
    assert faulty["usage"]["failures"] == 1


def cut_after(opened: Resources, run: str, event_id: str) -> None:
    """Throw away what a run did after an event, as a kill would."""
    path = opened.runs / run / "trace.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    last = max(k for k, line in enumerate(lines) if f'"id": "{event_id}"'.encode() in line)
    path.write_bytes(b"".join(lines[: last + 1]))


@pytest.mark.parametrize(
    ("planner", "few", "many", "cut"),
    [(mcts, 8, 24, "backup/3"), (reflexion, 2, 6, "attempt/3"), (reflexion, 6, 2, None)],
)
async def test_a_run_that_went_on_after_its_answer_is_replayed(
    tmp_path: Path, planner: Any, few: int, many: int, cut: str | None
) -> None:
    async with scripted_policy() as server:
        for rollouts in (few, many):
            async with resources(tmp_path) as opened:
                await search(
                    server.url, planner.graph, rollouts=rollouts, stop_objective=99, run="first"
                )
    if cut is not None:
        cut_after(opened, "first", cut)
    async with resources(tmp_path) as opened:
        assert "every decision is the recorded one" in await replayed(opened, "first", planner)


async def test_a_last_attempt_that_is_made_again_is_answered_with(tmp_path: Path) -> None:
    options: dict[str, Any] = {"rollouts": 3, "stop_objective": 99, "reflections": 0}
    async with scripted_policy() as server, resources(tmp_path):
        clean = await search(server.url, reflexion.graph, **options)
        asked = len(server.requests)
    async with scripted_policy(faults=down_from(asked - 1)) as server, resources(tmp_path):
        cut = await search(server.url, reflexion.graph, **options, run="first")
    assert cut["candidates"][-1]["trajectory"]["status"] == "failed"
    async with scripted_policy() as server, resources(tmp_path) as opened:
        out = await search(server.url, reflexion.graph, **options, run="first")
    assert out["score"] == clean["score"]
    assert events(opened, "first", "answer")[-1]["score"] == clean["score"]
    async with resources(tmp_path) as opened:
        assert "every decision is the recorded one" in await replayed(opened, "first", reflexion)


async def test_a_replay_is_not_gone_on_with_and_its_fork_is_free(
    opened: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted_policy() as server:
        await search(server.url, rollouts=8, run="first")
        again = await begin_replay("first", PlannerContext(**context(server.url, rollouts=8)))
        graph = mcts.builder.compile(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        out = await graph.ainvoke({"task": TASK}, config, context=again)
        history = [s async for s in graph.aget_state_history(config)]
        start = next(s for s in history if s.next == ("select",) and s.values["iteration"] == 1)
        given = context(server.url, rollouts=16, parallel=2)
        fork = await graph.ainvoke(None, start.config, context=given)
    assert fork["usage"]["rollouts"] == 16
    monkeypatch.setenv("ARMAP_RUNS", str(opened.runs))
    with pytest.raises(ArmapError, match="replay of first"):
        recorded_run(out["run"], resumes=True)
