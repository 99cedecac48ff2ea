"""Searches that are replayed without an endpoint, and that fork from their checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from maze import TASK, OneInFive, by_node, context, draw, events, opened, register_maze
from plan_command import Plan, asking, plan, served

from armap_agents import ArmapError
from armap_agents.graphs import mcts
from armap_agents.resources import Resources
from armap_agents.testing import Fault, scripted_policy
from armap_agents.trace import read_events

Out = dict[str, Any]

__all__ = ["opened", "plan"]  # fixtures


@pytest.fixture(autouse=True)
def _known() -> None:
    register_maze()


def liking(action: str) -> float:
    """A policy with tastes, so that its priors differ."""
    return 3 * draw("likes", action)


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
    monkeypatch: pytest.MonkeyPatch, plan: Plan, planner: str
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    faults = OneInFive()
    faults.KINDS = (Fault("status"), Fault("malformed"))
    failing = "policy_retries=0" in planner
    scripted = scripted_policy(
        score=liking, latency=0.01, faults=faults if failing else lambda _: None
    )
    with served(scripted) as server:
        faults.server = server
        chosen = ["--planner", planner, "--reward", "luck-and-value", "--run", "first"]
        status, _, shown = plan("maze", "0", *chosen, *asking(server))
        assert status == 0, shown
    assert bool(faults.failed) is failing
    status, _, shown = plan("--replay", "first")
    assert status == 0, shown
    assert "every decision is the recorded one" in shown


def test_a_resume_keeps_to_the_recorded_budgets(tmp_path: Path, plan: Plan) -> None:
    with served(scripted_policy(score=liking)) as server:
        lifted = "mcts[rollouts=null;environment_steps=130]"
        chosen = ["--planner", lifted, "--reward", "luck-and-value", "--run", "first"]
        assert plan("maze", "0", *chosen, *asking(server))[0] == 0
        path = tmp_path / "first" / "trace.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        answer = json.loads(lines[-1])
        assert answer["stopped"] == "environment steps spent"
        path.write_bytes(b"".join(lines[: len(lines) // 2]))
        assert plan("--resume", "first")[0] == 0
    again = list(read_events(path))[-1]
    for key in ("id", "trajectory", "objective", "stopped"):
        assert again[key] == answer[key]


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
