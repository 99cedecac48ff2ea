"""Monte-Carlo tree search as a graph: what its options promise."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from maze import TASK, register_maze

from armap_agents import resources
from armap_agents.errors import ConfigurationError
from armap_agents.graphs import mcts
from armap_agents.testing import scripted_policy
from armap_agents.trace import read_events


@pytest.fixture(autouse=True)
async def runs(tmp_path: Path) -> AsyncIterator[Path]:
    register_maze()
    async with resources(tmp_path):
        yield tmp_path


async def search(url: str, **options: Any) -> dict[str, Any]:
    shared = {"policy_url": url, "policy_model": "scripted", "reward": "luck-and-value"}
    out: dict[str, Any] = await mcts.graph.ainvoke({"task": TASK}, context=shared | options)
    return out


async def test_looking_at_finished_episodes_again_and_again_ends() -> None:
    """The paper's rule never closes them, and they cost nothing that a budget could see."""
    async with scripted_policy() as server:
        out = await search(
            server.url,
            selection="armap",
            normalisation="none",
            value_weight=0,
            parallel=1,
            proposals=5,
            rollouts=None,
            completions=1000,
            environment_options={"depth": 1},
        )
    assert out["stopped"] == "nothing new in 100 iterations"
    assert len(out["candidates"]) == 5
    assert out["usage"]["completions"] == 5
    assert out["usage"]["environment_steps"] == 5


async def test_with_a_budget_of_rollouts_the_paper_s_rule_is_kept_to_the_end() -> None:
    async with scripted_policy() as server:
        out = await search(
            server.url,
            selection="armap",
            normalisation="none",
            value_weight=0,
            parallel=1,
            rollouts=150,
            environment_options={"depth": 1},
        )
    assert out["stopped"] == "rollouts spent"
    assert out["tree"]["0"]["n"] == out["usage"]["rollouts"] == 150


@pytest.mark.parametrize("parallel", [1, 4])
async def test_values_alone_roll_nothing_out_and_judge_all_proposals(
    parallel: int, runs: Path
) -> None:
    async with scripted_policy() as server:
        out = await search(server.url, value_weight=1, proposals=5, parallel=parallel, rollouts=50)
    events = list(read_events(runs / out["run"] / "trace.jsonl"))
    rollouts = [event for event in events if event["kind"] == "rollout"]
    depths = {e["id"].count(".") for e in rollouts if e["id"].startswith("rollout/")}
    assert depths == {1, 2, 3, 4}
    assert all(
        len(e["trajectory"]["steps"]) == e["id"].count(".")
        for e in rollouts
        if e["id"].startswith("rollout/")
    )
    first = next(event for event in events if event["kind"] == "backup")
    assert [e["node"] for e in first["evaluations"]] == [f"0.{k}" for k in range(5)]
    assert out["usage"]["rollouts"] <= 50 + 1  # one more finishes an episode where none was
    assert out["trajectory"]["status"] in ("ended", "limit")


async def test_without_any_budget_it_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="without a budget a search may never end"):
        await search("http://127.0.0.1:9/v1", rollouts=None)
