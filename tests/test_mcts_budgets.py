"""Searches stop when a budget is spent, and say which."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from maze import events, opened, register_maze, search

from armap_agents.resources import Resources
from armap_agents.testing import scripted_policy
from armap_agents.usage import Usage

__all__ = ["opened"]  # a fixture


@pytest.fixture(autouse=True)
def _known() -> None:
    register_maze()


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
