"""Searches whose policy fails, whose budget ends, that fork, and that ask a person."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from maze import ACTIONS, TASK, Maze, context, draw, events, opened, register_maze, search
from pydantic import ValidationError

from armap_agents import ArmapError, Trajectory
from armap_agents.cli import main
from armap_agents.errors import PolicyError
from armap_agents.graphs import beam, best_of_n, mcts
from armap_agents.graphs.context import PlannerContext
from armap_agents.policy import Answer, Proposal, Proposals
from armap_agents.resources import Resources
from armap_agents.testing import Fault, ScriptedRequest, ScriptedServer, scripted_policy
from armap_agents.trace import read_events
from armap_agents.usage import Usage

Out = dict[str, Any]

__all__ = ["opened"]  # a fixture


@pytest.fixture(autouse=True)
def _known() -> None:
    register_maze()


def actions(candidate: dict[str, Any]) -> list[str]:
    return [step["action"] for step in candidate["trajectory"]["steps"]]


def by_node(out: Out) -> dict[str, dict[str, Any]]:
    return {c["node"]: c for c in out["candidates"]}


def identity(request: ScriptedRequest) -> tuple[Any, ...]:
    return (request.prompt, request.seed, tuple(request.choices or ()), request.body.get("n"))


def liking(action: str) -> float:
    """A policy with tastes, so that its priors differ."""
    return 3 * draw("likes", action)


class OneInFive:
    """Faults for one in five requests, chosen by what is asked and not by when."""

    KINDS = (Fault("status"), Fault("hang"), Fault("malformed"))

    def __init__(self, spared: str = "You are in room entrance.") -> None:
        self.server: ScriptedServer | None = None
        self.spared = spared
        self.failed = Counter[str]()

    def __call__(self, number: int) -> Fault | None:
        assert self.server is not None
        request = self.server.requests[number]
        if request.prompt.endswith(self.spared) or draw(0, "fault", *identity(request)) >= 0.2:
            return None
        fault = self.KINDS[int(draw(0, "kind", *identity(request)) * len(self.KINDS))]
        self.failed[fault.kind] += 1
        return fault


# --- faults -------------------------------------------------------------------------------------


async def test_one_in_five_calls_failing_leaves_the_other_rollouts_as_they_are(
    opened: Resources,
) -> None:
    faults = OneInFive()
    async with scripted_policy() as server:
        clean = await search(server.url, rollouts=40, parallel=8, run="clean")
    async with scripted_policy(faults=faults) as server:
        faults.server = server
        faulty = await search(server.url, rollouts=40, parallel=8, run="faulty", policy_timeout=1.5)
    assert set(faults.failed) == {"status", "hang", "malformed"}
    assert clean["usage"]["failures"] == 0 < faulty["usage"]["failures"]
    assert faulty["stopped"] == clean["stopped"] == "rollouts spent"
    assert faulty["trajectory"]["status"] in ("ended", "limit")

    was, now = by_node(clean), by_node(faulty)
    failed = {node for node, c in now.items() if c["trajectory"]["status"] == "failed"}
    shared = set(was) & set(now) - failed
    assert failed
    assert len(shared) >= 4
    for node in shared:
        assert now[node]["trajectory"] == was[node]["trajectory"]
        assert now[node]["score"] == was[node]["score"]
    for node in failed:
        assert now[node]["trajectory"]["error"]
        assert now[node]["score"] is None
        assert faulty["tree"][node]["status"] == "failed"
        assert faulty["tree"][node]["n"] == 0
    evaluations = [e for b in events(opened, "faulty", "backup") for e in b["evaluations"]]
    lines = [e["error"] for e in evaluations if e["status"] == "failed"]
    assert lines
    assert all(line and "\n" not in line for line in lines)
    statuses = Counter(node["status"] for node in faulty["tree"].values())
    assert statuses["failed"] == len({e["node"] for e in evaluations if e["status"] == "failed"})


async def test_best_of_n_under_the_same_faults(opened: Resources) -> None:
    faults = OneInFive()
    async with scripted_policy() as server:
        clean = await search(server.url, best_of_n.graph, n=24)
    async with scripted_policy(faults=faults) as server:
        faults.server = server
        faulty = await search(server.url, best_of_n.graph, n=24, policy_timeout=1.5)
    failed = [c for c in faulty["candidates"] if c["trajectory"]["status"] == "failed"]
    assert 0 < len(failed) < 24
    assert faulty["usage"]["failures"] == len(failed)
    for was, now in zip(clean["candidates"], faulty["candidates"], strict=True):
        if now["trajectory"]["status"] == "failed":
            done = len(actions(now))
            assert actions(now) == actions(was)[:done] != actions(was)
        else:
            assert now["trajectory"] == was["trajectory"]
            assert (now["score"], now["objective"]) == (was["score"], was["objective"])


async def test_a_search_survives_its_first_request_failing(opened: Resources) -> None:
    def first(number: int) -> Fault | None:
        return Fault("status") if number == 0 else None

    async with scripted_policy(faults=first) as server:
        out = await search(server.url)
    assert out["usage"]["failures"] == 1
    assert out["usage"]["rollouts"] == 24
    assert out["trajectory"]["status"] in ("ended", "limit")


async def test_when_everything_fails_one_line_says_why(opened: Resources) -> None:
    async with scripted_policy(faults=lambda _: Fault("status")) as server:
        with pytest.raises(PolicyError, match=r"every rollout failed: .*answered 500") as caught:
            await search(server.url)
        assert "\n" not in str(caught.value)
        assert len(server.requests) < 24

    def all_but_the_first(number: int) -> Fault | None:
        return Fault("malformed") if number else None

    async with scripted_policy(faults=all_but_the_first) as server:
        with pytest.raises(PolicyError, match="every rollout failed") as caught:
            await search(server.url, environment_options={"exits": 0.0})
    assert "\n" not in str(caught.value)


# --- budgets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "stopped"),
    [
        ({"rollouts": 10}, "rollouts spent"),
        ({"rollouts": None, "completions": 60}, "completions spent"),
        ({"rollouts": None, "tokens": 4000}, "tokens spent"),
        ({"rollouts": None, "environment_steps": 40}, "environment steps spent"),
        ({"rollouts": None, "seconds": 0.5}, "seconds spent"),
    ],
)
async def test_each_budget_stops_and_is_named(
    opened: Resources, budget: dict[str, Any], stopped: str
) -> None:
    async with scripted_policy(latency=0.01) as server:
        out = await search(server.url, parallel=1, environment_options={"depth": 5}, **budget)
    assert out["stopped"] == stopped
    assert out["trajectory"]["status"] in ("ended", "limit")
    answer = events(opened, out["run"], "answer")[-1]
    assert answer["stopped"] == stopped
    assert answer["usage"] == out["usage"]
    spent = out["usage"] | {
        "tokens": out["usage"]["prompt_tokens"] + out["usage"]["completion_tokens"]
    }
    name = next(name for name in reversed(budget))
    *earlier, _ = events(opened, out["run"], "backup")
    before = earlier[-1]["spent"] if earlier else Usage().to_dict()
    tokens = before["prompt_tokens"] + before["completion_tokens"]
    # It was not spent one iteration earlier: nothing is left unused either.
    if name != "completions":
        assert (before | {"tokens": tokens})[name] < budget[name] <= spent[name]


@pytest.mark.parametrize("completions", [20, 33, 61, 100])
async def test_completions_are_exceeded_by_a_rollout_at_most(
    opened: Resources, completions: int
) -> None:
    depth = 5
    async with scripted_policy() as server:
        out = await search(
            server.url,
            parallel=1,
            rollouts=None,
            completions=completions,
            environment_options={"depth": depth},
        )
    assert out["stopped"] == "completions spent"
    assert out["usage"]["completions"] < completions + depth


async def test_a_good_objective_stops(opened: Resources) -> None:
    async with scripted_policy() as server:
        out = await search(server.url, stop_objective=0.8, rollouts=200)
    assert out["stopped"].startswith("objective 0.")
    objectives = [c["objective"] for c in out["candidates"]]
    assert max(objectives) >= 0.8
    backups = events(opened, out["run"], "backup")
    assert backups[-1]["best"]["objective"] >= 0.8 > backups[-2]["best"]["objective"]


async def test_a_world_without_anything_left_stops(opened: Resources) -> None:
    async with scripted_policy() as server:
        out = await search(
            server.url,
            rollouts=1000,
            parallel=8,
            proposals=5,
            environment_options={"depth": 2, "exits": 0.0},
        )
    assert out["stopped"] == "nothing is left to evaluate"
    assert len(out["tree"]) == 1 + 5 + 25
    assert out["usage"]["rollouts"] == 30


async def test_finished_leaves_alone_are_no_search(opened: Resources) -> None:
    # The paper's rule closes nothing, and to select a finished leaf again costs nothing.
    paper = {"selection": "armap", "parallel": 1, "value_weight": 0.0, "normalisation": "none"}
    async with scripted_policy() as server:
        async with asyncio.timeout(60):
            out = await search(
                server.url,
                rollouts=None,
                completions=1000,
                environment_options={"depth": 2, "exits": 0.0},
                **paper,
            )
    assert out["stopped"].startswith("nothing ")
    assert len({node for node in out["tree"] if out["tree"][node]["visits"]}) == 4 + 16


# --- what costs nothing --------------------------------------------------------------------------


async def test_terminal_nodes_cost_no_policy_call(opened: Resources) -> None:
    async with scripted_policy() as server:
        out = await search(server.url, environment_options={"depth": 2, "exits": 0.0}, rollouts=20)
        requests = Counter(map(identity, server.requests))
    assert max(requests.values()) == 1
    terminal = [node for node in out["tree"] if node.count(".") == 2]
    visited = [node for node in terminal if out["tree"][node]["visits"]]
    assert len(visited) > 5
    asked = {e["id"].split("/")[1] for e in events(opened, out["run"], "policy")}
    assert asked
    assert not asked & set(terminal)
    for node in visited:
        assert out["tree"][node]["status"] == "ended"
        assert by_node(out).get(node, {"usage": {"completions": 0}})["usage"]["completions"] == 0


class Stutters:
    """A policy inside the process that proposes everything twice."""

    async def act(self, trajectory: Trajectory, **_: Any) -> Answer:
        return Answer(ACTIONS[0], ACTIONS[0], Usage(completions=1), True)

    async def propose(self, trajectory: Trajectory, k: int, **_: Any) -> Proposals:
        twice = [Proposal(action, 0.1) for action in ACTIONS] * 2
        return Proposals(tuple(twice), Usage(completions=k))


async def test_equal_proposals_are_one_node_with_the_sum_of_their_priors(
    opened: Resources,
) -> None:
    chosen = PlannerContext(**context("http://127.0.0.1:9/v1"))

    async def stutters() -> Stutters:
        return Stutters()

    await opened.get(("policy", chosen.policy()), stutters)
    out = await mcts.graph.ainvoke({"task": TASK}, context=chosen)
    for event in events(opened, out["run"], "proposals"):
        assert [item["action"] for item in event["items"]] == list(ACTIONS)
        assert [item["prior"] for item in event["items"]] == pytest.approx([0.2] * 5)
    assert out["tree"]["0"]["children"] == 5


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", [mcts.graph, beam.graph])
async def test_an_environment_that_cannot_be_restored_is_refused(
    opened: Resources, graph: Any
) -> None:
    async with scripted_policy() as server:
        with pytest.raises(ArmapError, match=r"cannot: use greedy") as caught:
            await search(server.url, graph, TASK | {"environment": "one-way"})
        assert not server.requests
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"parallel": 0},
        {"rollouts": 0},
        {"rollouts": -1},
        {"completions": -5},
        {"tokens": 0},
        {"environment_steps": -1},
        {"seconds": -1.0},
        {"seconds": 0},
        {"width": 0},
        {"proposals": 0},
        {"value_weight": 1.5},
        {"selection": "best"},
        {"colour": "red"},
    ],
)
async def test_impossible_options_are_refused(opened: Resources, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        await search("http://127.0.0.1:9/v1", **options)


async def test_values_that_the_model_does_not_give_are_refused(opened: Resources) -> None:
    with pytest.raises(ArmapError, match="value_weight to 0") as caught:
        await search("http://127.0.0.1:9/v1", reward="luck", value_weight=0.5)
    assert "\n" not in str(caught.value)


POLICY = ["--policy-url", "http://127.0.0.1:9/v1", "--policy-model", "m", "--reward", "luck"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["maze", "0", "--planner", "magic", *POLICY], "no planner is called 'magic'"),
        (["maze", "0", "--planner", "mcts", "--parallel", "0", *POLICY], "parallel: "),
        (["maze", "0", "--planner", "mcts", "--rollouts", "-1", *POLICY], "rollouts: "),
        (["maze", "0", "--planner", "mcts", "--seconds", "0", *POLICY], "seconds: "),
        (["maze", "0", "--planner", "mcts[colour=red]", *POLICY], "no option is called 'colour'"),
        (["maze", "0", "--planner", "mcts", *POLICY], "armap serve policy"),
        (["--resume", "nope"], "no run nope"),
        (["--replay", "nope"], "no run nope"),
        (["--resume", "../nope"], "no run ../nope"),
        ([], "say what to plan"),
    ],
)
def test_the_command_refuses_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.setenv("ARMAP_RUNS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setattr(sys, "argv", ["armap", "plan", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    shown = capsys.readouterr().err.strip()
    assert words in shown
    assert "\n" not in shown


# --- replays --------------------------------------------------------------------------------------


@contextmanager
def served(scripted: AbstractAsyncContextManager[ScriptedServer]) -> Iterator[ScriptedServer]:
    """Run a scripted server, which has a thread of its own, beside a command in this one."""
    with asyncio.Runner() as runner:
        server = runner.run(scripted.__aenter__())
        try:
            yield server
        finally:
            runner.run(scripted.__aexit__(None, None, None))


def plan(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["armap", "plan", *arguments])
    try:
        main()
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize(
    "planner",
    [
        "mcts[rollouts=null;seconds=1;parallel=2]",
        "mcts[rollouts=null;completions=60]",
        "mcts[stop_objective=0.7]",
        "mcts[selection=armap;parallel=1;value_weight=0;normalisation=none;rollouts=12]",
        "mcts[policy_retries=0;rollouts=12]",
        "beam[width=2]",
        "reflexion[rollouts=3]",
        "best_of_n[n=6]",
    ],
)
def test_a_replay_decides_the_same_without_the_endpoint(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    planner: str,
) -> None:
    monkeypatch.setenv("ARMAP_RUNS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "1000")
    faults = OneInFive()
    faults.KINDS = (Fault("status"), Fault("malformed"))
    failing = "policy_retries=0" in planner
    scripted = scripted_policy(
        score=liking, latency=0.01, faults=faults if failing else lambda _: None
    )
    with served(scripted) as server:
        faults.server = server
        policy = ["--policy-url", server.url, "--policy-model", "scripted"]
        chosen = ["--planner", planner, "--reward", "luck-and-value", "--run", "first", *policy]
        assert plan(monkeypatch, "maze", "0", *chosen) == 0, capsys.readouterr().err
    assert bool(faults.failed) is failing
    code = plan(monkeypatch, "--replay", "first")
    shown = capsys.readouterr().err
    assert code == 0, shown
    assert "every decision is the recorded one" in shown


def test_a_resume_keeps_to_the_recorded_budgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMAP_RUNS", str(tmp_path))
    with served(scripted_policy(score=liking)) as server:
        policy = ["--policy-url", server.url, "--policy-model", "scripted", "--run", "first"]
        lifted = "mcts[rollouts=null;environment_steps=130]"
        chosen = ["--planner", lifted, "--reward", "luck-and-value", *policy]
        assert plan(monkeypatch, "maze", "0", *chosen) == 0
        path = tmp_path / "first" / "trace.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        answer = json.loads(lines[-1])
        assert answer["stopped"] == "environment steps spent"
        path.write_bytes(b"".join(lines[: len(lines) // 2]))
        assert plan(monkeypatch, "--resume", "first") == 0
    again = list(read_events(path))[-1]
    for key in ("id", "trajectory", "objective", "stopped"):
        assert again[key] == answer[key]


# --- forks --------------------------------------------------------------------------------------


class Recorded:
    """A finished search with its history."""

    def __init__(self, graph: Any, out: Out, config: Any, history: list[Any]) -> None:
        self.graph, self.out, self.config, self.history = graph, out, config, history

    def before(self, node: str, iteration: int) -> Any:
        """Return the checkpoint from which `node` runs next in an iteration."""
        return next(
            s for s in self.history if node in s.next and s.values["iteration"] == iteration
        )

    def inside(self, node: str) -> Any:
        """Return the checkpoint in the middle of the search from which `node` runs next."""
        found = [s for s in self.history if node in s.next and s.values["iteration"] > 1]
        return found[-1]


async def recorded(url: str, graph: Any = mcts, **options: Any) -> Recorded:
    compiled = graph.builder.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    out = await compiled.ainvoke({"task": TASK}, config, context=context(url, **options))
    return Recorded(compiled, out, config, [s async for s in compiled.aget_state_history(config)])


@pytest.mark.parametrize(
    ("changed", "asks"),
    [({"exploration": 6.0}, True), ({"seed": 7}, True), ({"temperature": 2.0}, True)],
)
async def test_a_fork_with_another_context_is_a_new_run(
    opened: Resources, changed: dict[str, Any], asks: bool
) -> None:
    async with scripted_policy(score=liking) as server:
        first = await recorded(server.url)
        parent = events(opened, first.out["run"])
        asked = len(server.requests)
        start = first.before("select", 3)
        out = await first.graph.ainvoke(None, start.config, context=context(server.url) | changed)
        assert (len(server.requests) > asked) is asks
    assert out["run"] != first.out["run"]
    child = events(opened, out["run"])
    upto = next(k for k, e in enumerate(parent) if e["id"] == "backup/2")
    assert child[0]["kind"] == "run"
    assert child[0]["parent"] == {"run": first.out["run"], "event": "backup/2"}
    for name, value in changed.items():
        assert child[0]["settings"][name] == value
    assert child[1 : upto + 1] == parent[1 : upto + 1]
    assert events(opened, first.out["run"]) == parent
    assert out["usage"]["rollouts"] == first.out["usage"]["rollouts"] == 24
    assert out["tree"] != first.out["tree"]
    kept = [node for node in start.values["tree"] if start.values["tree"][node]["visits"]]
    assert kept
    for node in kept:
        assert out["tree"][node]["result"] == first.out["tree"][node]["result"]


@pytest.mark.parametrize("node", ["select", "expand", "rollout", "score", "backup", "answer"])
async def test_a_fork_with_the_same_context_asks_nothing_again(
    opened: Resources, node: str
) -> None:
    async with scripted_policy(score=liking) as server:
        first = await recorded(server.url)
        parent = events(opened, first.out["run"])
        asked = len(server.requests)
        out = await first.graph.ainvoke(
            None, first.inside(node).config, context=context(server.url)
        )
        assert len(server.requests) == asked
    assert events(opened, first.out["run"]) == parent
    for key in ("run", "trajectory", "score", "tree", "candidates", "usage", "stopped", "best"):
        assert out[key] == first.out[key]


@pytest.mark.parametrize("node", ["expand", "rollout", "score", "backup"])
async def test_a_fork_in_the_middle_of_an_iteration_leaves_its_parent_alone(
    opened: Resources, node: str
) -> None:
    async with scripted_policy(score=liking) as server:
        first = await recorded(server.url)
        parent = events(opened, first.out["run"])
        changed = context(server.url) | {"seed": 7}
        start = first.inside(node)
        out = await first.graph.ainvoke(None, start.config, context=changed)
    child, iteration = events(opened, out["run"]), start.values["iteration"]
    assert child[0]["parent"]["run"] == first.out["run"]
    assert child[0]["parent"]["event"] in (f"backup/{iteration - 1}", f"backup/{iteration}")
    assert events(opened, first.out["run"]) == parent


async def test_a_fork_may_change_a_budget(opened: Resources) -> None:
    async with scripted_policy(score=liking) as server:
        first = await recorded(server.url)
        out = await first.graph.ainvoke(
            None, first.before("select", 3).config, context=context(server.url) | {"rollouts": 40}
        )
    assert out["usage"]["rollouts"] == 40
    for node, trajectory in by_node(first.out).items():
        assert by_node(out)[node]["trajectory"] == trajectory["trajectory"]


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"reward": "luck", "value_weight": 0.0}, "reward"),
        ({"objective": {"length": 0.5}}, "objective"),
        ({"selection": "uct"}, "selection"),
        ({"max_steps": 3}, "max_steps"),
    ],
)
async def test_a_fork_keeps_what_its_values_mean(
    opened: Resources, changed: dict[str, Any], word: str
) -> None:
    async with scripted_policy(score=liking) as server:
        first = await recorded(server.url)
        asked = len(server.requests)
        with pytest.raises(ArmapError, match=rf"has to keep its .*{word}") as caught:
            await first.graph.ainvoke(
                None, first.before("select", 3).config, context=context(server.url) | changed
            )
        assert len(server.requests) == asked
    assert "\n" not in str(caught.value)


# --- a person's word ------------------------------------------------------------------------------


async def asked(url: str, **options: Any) -> tuple[Any, Any, dict[str, Any], Out]:
    graph = mcts.builder.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    chosen = context(url, review=True, rollouts=8, **options)
    out = await graph.ainvoke({"task": TASK}, config, context=chosen)
    return graph, config, chosen, out


async def test_a_person_is_shown_the_answer_and_approves(opened: Resources) -> None:
    async with scripted_policy() as server:
        graph, config, chosen, out = await asked(server.url)
        assert "trajectory" not in out
        (shown,) = out["__interrupt__"]
        assert shown.value["instruction"] == Maze.instruction
        assert shown.value["stopped"] == "rollouts spent"
        assert shown.value["ending"].startswith("You are in room")
        assert '{"approve": true}' in shown.value["question"]
        before = len(server.requests)
        out = await graph.ainvoke(Command(resume={"approve": True}), config, context=chosen)
        assert len(server.requests) == before
    assert actions(out) == shown.value["actions"]
    assert out["score"] == shown.value["score"]
    assert len(out["candidates"]) == len({c["trajectory"]["id"] for c in out["candidates"]}) <= 8


async def test_a_person_asks_for_more(opened: Resources) -> None:
    async with scripted_policy() as server:
        graph, config, chosen, _ = await asked(server.url)
        out = await graph.ainvoke(Command(resume={"rollouts": 8}), config, context=chosen)
        assert out["spent"]["rollouts"] == 16
        assert out["__interrupt__"][0].value["stopped"] == "16 rollouts spent, as asked for"
        out = await graph.ainvoke(Command(resume={"approve": True}), config, context=chosen)
    assert out["usage"]["rollouts"] == 16
    backups = events(opened, out["run"], "backup")
    assert [len(b["evaluations"]) for b in backups] == [4, 4, 4, 4]
    assert out["best"] == backups[-1]["best"]


async def test_an_edit_that_fails_is_not_passed_off_as_one(opened: Resources) -> None:
    broken = False
    async with scripted_policy(faults=lambda _: Fault("status") if broken else None) as server:
        graph, config, chosen, shown = await asked(server.url, environment_options={"exits": 0.0})
        broken = True
        out = await graph.ainvoke(Command(resume={"actions": ["go e"]}), config, context=chosen)
    assert out["stopped"].startswith("rollouts spent; the edit failed: the policy at")
    assert actions(out) == shown["__interrupt__"][0].value["actions"]


async def test_a_person_edits_the_answer(opened: Resources) -> None:
    chosen_actions = ["go e", "go e", "go e", "go e"]
    async with scripted_policy() as server:
        graph, config, chosen, _ = await asked(server.url, environment_options={"exits": 0.0})
        reply = Command(resume={"actions": chosen_actions})
        out = await graph.ainvoke(reply, config, context=chosen)
    assert actions(out) == chosen_actions
    assert out["score"] == draw(*chosen_actions)
    assert out["stopped"] == "rollouts spent; the answer was edited"
    assert out["candidates"][-1]["trajectory"] == out["trajectory"]
    assert events(opened, out["run"], "answer")[-1]["trajectory"] == out["trajectory"]["id"]


@pytest.mark.parametrize(
    "reply",
    [
        "yes",
        {"approve": False},
        {"rollouts": 0},
        {"rollouts": -3},
        {"rollouts": True},
        {"actions": [1, 2]},
    ],
)
async def test_a_reply_that_says_nothing_is_asked_for_again(opened: Resources, reply: Any) -> None:
    async with scripted_policy() as server:
        graph, config, chosen, first = await asked(server.url)
        before = len(server.requests)
        out = await graph.ainvoke(Command(resume=reply), config, context=chosen)
        again = out["__interrupt__"][0].value
        assert repr(reply) in again["question"]
        assert again["actions"] == first["__interrupt__"][0].value["actions"]
        out = await graph.ainvoke(Command(resume={"approve": True}), config, context=chosen)
        assert len(server.requests) == before
    assert out["trajectory"]


# --- beam ---------------------------------------------------------------------------------------


async def test_a_beam_keeps_the_best_of_each_level_and_rolls_nothing_out(
    opened: Resources,
) -> None:
    async with scripted_policy() as server:
        out = await search(
            server.url,
            beam.graph,
            width=3,
            environment_options={"depth": 4, "exits": 0.15},
        )
    assert not events(opened, out["run"], "policy")
    assert out["stopped"] == "nothing is left to evaluate"
    tree = out["tree"]
    for event in events(opened, out["run"], "selection"):
        leaves = [pick["leaf"] for pick in event["picks"]]
        level = event["iteration"]
        assert len(leaves) <= 3
        assert {tree[leaf]["depth"] for leaf in leaves} == {level}
        rivals = [
            node for node in tree if tree[node]["depth"] == level and tree[node]["status"] == "open"
        ]
        ranked = sorted(rivals, key=lambda node: -(tree[node]["value"] or 0.0))
        assert set(leaves) == set(ranked[:3])
    finished = {node for node in tree if tree[node]["status"] == "ended"}
    assert {tree[node]["depth"] for node in finished} > {4}
    assert set(by_node(out)) == finished
    best = max(out["candidates"], key=lambda c: c["objective"])
    assert out["trajectory"] == best["trajectory"]


async def test_a_beam_whose_budget_ends_early_finishes_one_state(opened: Resources) -> None:
    async with scripted_policy() as server:
        out = await search(
            server.url,
            beam.graph,
            width=3,
            environment_steps=6,
            environment_options={"depth": 6, "exits": 0.0},
        )
    assert out["stopped"] == "environment steps spent"
    (candidate,) = out["candidates"]
    assert len(actions(candidate)) == 6
    assert out["trajectory"] == candidate["trajectory"]
    assert out["score"] == draw(*actions(candidate))
    tree = out["tree"]
    leaves = [n for n in tree if tree[n]["status"] == "open" and not tree[n]["children"]]
    top = max(leaves, key=lambda node: tree[node]["q"])
    prefix = []
    while tree[top]["parent"] is not None:
        prefix.insert(0, tree[top]["action"])
        top = tree[top]["parent"]
    assert actions(candidate)[: len(prefix)] == prefix
