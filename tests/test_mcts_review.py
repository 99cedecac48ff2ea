"""A search shows its answer to a person, who approves it, edits it or asks for more."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from maze import TASK, Maze, actions, context, draw, events, opened, register_maze

from armap_agents.graphs import mcts
from armap_agents.resources import Resources
from armap_agents.testing import Fault, scripted_policy

Out = dict[str, Any]

__all__ = ["opened"]  # a fixture


@pytest.fixture(autouse=True)
def _known() -> None:
    register_maze()


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
