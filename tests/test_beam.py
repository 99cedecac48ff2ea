"""The beam: the best states of each level, by their values alone."""

from __future__ import annotations

import pytest
from maze import actions, by_node, draw, events, opened, register_maze, search

from armap_agents.graphs import beam
from armap_agents.resources import Resources
from armap_agents.testing import scripted_policy

__all__ = ["opened"]  # a fixture


@pytest.fixture(autouse=True)
def _known() -> None:
    register_maze()


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
