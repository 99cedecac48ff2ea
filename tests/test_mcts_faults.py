"""Searches whose policy fails, what costs them nothing, and what is refused."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from maze import (
    ACTIONS,
    TASK,
    OneInFive,
    actions,
    by_node,
    context,
    events,
    identity,
    opened,
    register_maze,
    search,
)
from pydantic import ValidationError

from armap_agents import ArmapError, Trajectory
from armap_agents.cli import main
from armap_agents.errors import PolicyError
from armap_agents.graphs import beam, best_of_n, mcts
from armap_agents.graphs.context import PlannerContext
from armap_agents.policy import Answer, Proposal, Proposals
from armap_agents.resources import Resources
from armap_agents.testing import Fault, scripted_policy
from armap_agents.usage import Usage

__all__ = ["opened"]  # a fixture


@pytest.fixture(autouse=True)
def _known() -> None:
    register_maze()


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
