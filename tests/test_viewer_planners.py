"""Documents of runs that the planners themselves wrote."""

import hashlib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from armap_agents import Trajectory, make_environment, register_reward, resources
from armap_agents.testing import scripted_policy
from armap_agents.viewer import read_document, render_page
from armap_agents.viewer.terminal import final_rows

pytestmark = pytest.mark.slow


class Chance:
    """Scores and values that depend on the actions alone."""

    fingerprint = "chance-1"

    async def ascore(self, trajectories: Sequence[Trajectory]) -> list[float]:
        return [
            int(hashlib.sha256(repr(t.actions).encode()).hexdigest()[:6], 16) / 0xFFFFFF
            for t in trajectories
        ]

    avalue = ascore


async def run(planner: str, runs: Path, **options: Any) -> dict[str, Any]:
    register_reward("chance", Chance)
    task = make_environment("game24").tasks("test")[3]
    graph = import_module(f"armap_agents.graphs.{planner}").graph
    async with scripted_policy() as server, resources(runs):
        context = {"policy_url": server.url, "policy_model": "scripted", "reward": "chance"}
        out: dict[str, Any] = await graph.ainvoke(
            {"task": task.to_dict()}, context=context | {"run": "r"} | options
        )
    return out


@pytest.mark.parametrize(
    ("planner", "options"),
    [
        ("mcts", {"rollouts": 24, "parallel": 4}),
        ("mcts", {"rollouts": 16, "selection": "armap", "value_weight": 0.0}),
        ("beam", {}),
    ],
)
async def test_the_document_of_a_search_is_its_tree(
    tmp_path: Path, planner: str, options: dict[str, Any]
) -> None:
    out = await run(planner, tmp_path, **options)
    document = read_document(tmp_path / "r")
    rows = final_rows(document)
    shown = {node["id"]: row for node, row in zip(document["nodes"], rows, strict=True)}
    assert {name: (document["statuses"][row[1]], *row[2:]) for name, row in shown.items()} == {
        name: (n["status"], n["n"], n["q"], n["value"], n["result"], n["visits"], n["closed"])
        for name, n in out["tree"].items()
    }
    answer = document["answer"]
    steps = out["trajectory"]["steps"]
    assert [action for action, _, _ in answer["steps"]] == [step["action"] for step in steps]
    assert (answer["score"], answer["objective"]) == (
        out["best"]["score"],
        out["best"]["objective"],
    )
    assert document["nodes"][answer["node"]]["id"] == out["best"]["node"]
    assert document["frames"][-1]["spent"]["rollouts"] == out["usage"]["rollouts"]
    assert document["state"] == "finished"
    for node, detail in zip(document["nodes"], document["details"], strict=True):
        tried = out["tree"][node["id"]]["status"] != "proposed"
        assert ("observation" in detail) == tried
    assert render_page(document, lambda _: None)


async def test_the_document_of_reflexion_has_its_attempts_and_notes(tmp_path: Path) -> None:
    out = await run("reflexion", tmp_path, rollouts=4, stop_objective=2.0)
    document = read_document(tmp_path / "r")
    objectives = [row[3] for row in final_rows(document)[1:]]
    assert objectives == [candidate["objective"] for candidate in out["candidates"]]
    assert document["value_name"] == "objective"
    notes = [detail.get("reflections") for detail in document["details"][1:]]
    assert notes[:-1] == [[note["text"]] for note in out["reflections"]]
    assert document["answer"]["objective"] == max(objectives)
