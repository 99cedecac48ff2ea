import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from maze import actions
from pydantic import ValidationError

from armap_agents import (
    ArmapError,
    FunctionReward,
    StepResult,
    Trajectory,
    register_environment,
    register_reward,
    resources,
)
from armap_agents.errors import EnvironmentDied
from armap_agents.graphs import best_of_n, greedy, sampling
from armap_agents.testing import scripted_policy
from armap_agents.tools.game24 import Game24
from armap_agents.tools.game24.environment import puzzle_task
from armap_agents.trace import read_events

TASK = puzzle_task([4, 9, 10, 13]).to_dict()


def small_end(trajectory: Trajectory) -> float:
    """Prefers small last numbers: a score that a test can compute by itself."""
    return -abs(eval_number(trajectory.last.text.split(": ")[1].split()[-1]))


def eval_number(text: str) -> float:
    above, _, below = text.partition("/")
    return int(above) / int(below or 1)


@pytest.fixture(autouse=True)
def _small_end() -> None:
    register_reward("small-end", lambda: FunctionReward(small_end, "small-end-1"))


def context(url: str, **options: Any) -> dict[str, Any]:
    return {"policy_url": url, "policy_model": "scripted", "reward": "small-end", "n": 8} | options


async def test_best_of_n_picks_the_best_of_independent_rollouts(tmp_path: Path) -> None:
    async with scripted_policy() as server, resources(tmp_path):
        out = await best_of_n.graph.ainvoke({"task": TASK}, context=context(server.url))
    candidates = out["candidates"]
    assert [c["index"] for c in candidates] == list(range(8))
    scores = [small_end(Trajectory.from_dict(c["trajectory"])) for c in candidates]
    assert [c["score"] for c in candidates] == scores
    assert len({tuple(actions(c)) for c in candidates}) > 1
    assert out["score"] == max(scores)
    assert out["trajectory"] == candidates[scores.index(max(scores))]["trajectory"]
    assert out["usage"]["completions"] == out["usage"]["environment_steps"] == 24
    assert out["usage"]["scored"] == 8
    json.dumps(out)
    events = list(read_events(tmp_path / out["run"] / "trace.jsonl"))
    kinds = [event["kind"] for event in events]
    assert (kinds.count("policy"), kinds.count("rollout"), kinds.count("score")) == (24, 8, 1)


async def test_an_environment_and_an_id_are_task_enough(tmp_path: Path) -> None:
    task = {"environment": "game24", "id": "901"}
    async with scripted_policy() as server, resources(tmp_path):
        out = await sampling.graph.ainvoke({"task": task}, context=context(server.url, n=1))
    assert out["trajectory"]["instruction"].startswith("Use the numbers 4 5 6 10,")
    assert out["trajectory"]["status"] == "ended"


async def test_tasks_of_one_loop_share_the_resources_until_the_last_leaves(tmp_path: Path) -> None:
    async def request(wait: float) -> int:
        async with resources(tmp_path):
            await asyncio.sleep(wait)
            out = await sampling.graph.ainvoke({"task": TASK}, context=context(server.url, n=2))
        return len(out["candidates"])

    async with scripted_policy() as server:
        assert await asyncio.gather(request(0.0), request(0.5), request(0.1)) == [2, 2, 2]
    async with resources(tmp_path):
        with pytest.raises(ArmapError, match="this event loop's runs go to"):
            async with resources(tmp_path / "other"):
                pass


async def test_a_missing_reward_model_costs_no_rollout(tmp_path: Path) -> None:
    async with scripted_policy() as server, resources(tmp_path):
        with pytest.raises(ArmapError, match="armap train"):
            await best_of_n.graph.ainvoke(
                {"task": TASK}, context=context(server.url, reward=str(tmp_path / "none"))
            )
        assert not server.requests


async def test_no_password_in_a_reward_servers_address_is_written(tmp_path: Path) -> None:
    async with scripted_policy() as server, resources(tmp_path):
        with pytest.raises(ArmapError, match="holds no password"):
            await best_of_n.graph.ainvoke(
                {"task": TASK}, context=context(server.url, reward="http://user:secret@host:1")
            )
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("secret" in text for text in written)


async def test_same_seed_gives_the_same_and_another_seed_does_not(tmp_path: Path) -> None:
    async with scripted_policy() as server, resources(tmp_path):
        runs = [
            await best_of_n.graph.ainvoke({"task": TASK}, context=context(server.url, seed=seed))
            for seed in (0, 0, 1)
        ]
    drawn = [[actions(c) for c in run["candidates"]] for run in runs]
    assert drawn[0] == drawn[1] != drawn[2]


async def test_best_of_n_chooses_among_the_rollouts_of_sampling(tmp_path: Path) -> None:
    async with scripted_policy() as server, resources(tmp_path):
        shared = context(server.url, run="shared")
        first = await sampling.graph.ainvoke({"task": TASK}, context=shared)
        asked = len(server.requests)
        second = await best_of_n.graph.ainvoke({"task": TASK}, context=shared)
        assert len(server.requests) == asked == 24
    assert first["trajectory"] == first["candidates"][0]["trajectory"]
    assert first["score"] is None
    assert [actions(c) for c in second["candidates"]] == [actions(c) for c in first["candidates"]]


async def test_greedy_is_one_rollout_at_temperature_zero(tmp_path: Path) -> None:
    async with scripted_policy() as server, resources(tmp_path):
        out = await greedy.graph.ainvoke({"task": TASK}, context=context(server.url))
        assert {request.body["temperature"] for request in server.requests} == {0.0}
    assert len(out["candidates"]) == 1
    assert out["trajectory"]["status"] == "ended"


def test_three_event_loops_in_one_process(tmp_path: Path) -> None:
    async def once() -> int:
        async with scripted_policy() as server, resources(tmp_path):
            out = await best_of_n.graph.ainvoke({"task": TASK}, context=context(server.url, n=2))
            return len(out["candidates"])

    assert [asyncio.run(once()) for _ in range(3)] == [2, 2, 2]


async def test_an_interrupted_run_repeats_no_answer(tmp_path: Path) -> None:
    async with scripted_policy(latency=0.02) as server:
        whole = context(server.url, n=6, run="killed")
        async with resources(tmp_path):
            running = asyncio.create_task(
                best_of_n.graph.ainvoke({"task": TASK}, context=whole | {"policy_concurrency": 1})
            )
            while len(server.requests) < 8:
                await asyncio.sleep(0.005)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        recorded = {e["id"] for e in read_events(tmp_path / "killed" / "trace.jsonl")}
        answered = {i for i in recorded if "/policy/" in i}
        assert 0 < len(answered) < 18
        before = len(server.requests)
        async with resources(tmp_path):
            out = await best_of_n.graph.ainvoke({"task": TASK}, context=whole)
        assert len(server.requests) - before == 18 - len(answered)
        async with resources(tmp_path):
            fresh = await best_of_n.graph.ainvoke(
                {"task": TASK}, context=whole | {"run": "undisturbed"}
            )
    assert [actions(c) for c in out["candidates"]] == [actions(c) for c in fresh["candidates"]]


async def test_a_run_is_held_to_its_settings(tmp_path: Path) -> None:
    async with scripted_policy() as server, resources(tmp_path):
        await sampling.graph.ainvoke({"task": TASK}, context=context(server.url, run="one", n=1))
        with pytest.raises(ArmapError, match="another seed, temperature"):
            await sampling.graph.ainvoke(
                {"task": TASK}, context=context(server.url, run="one", seed=5, temperature=1.0)
            )


class Fragile(Game24):
    """Dies on every step that multiplies."""

    name = "fragile"

    async def step(self, action: str) -> Any:
        if "*" in action:
            raise OSError("the world ended")
        return await super().step(action)

    def true_score(self) -> float:
        raise AssertionError("a planner asked for the true score")


async def test_one_failure_costs_one_rollout(tmp_path: Path) -> None:
    register_environment("fragile", Fragile)
    task = TASK | {"environment": "fragile"}
    async with scripted_policy() as server, resources(tmp_path):
        chosen = context(server.url, n=24, run="fragile")
        out = await best_of_n.graph.ainvoke({"task": task}, context=chosen)
        healthy = await sampling.graph.ainvoke(
            {"task": task | {"environment": "game24"}}, context=chosen | {"run": "healthy"}
        )
    failed = [c for c in out["candidates"] if c["trajectory"]["status"] == "failed"]
    assert 0 < len(failed) < 24
    assert out["usage"]["failures"] == len(failed)
    for c in failed:
        assert "the world ended" in c["trajectory"]["error"]
        assert c.get("score") is None
    assert out["trajectory"]["status"] == "ended"
    assert healthy["usage"]["failures"] == 0


class Mortal(Game24):
    """Its process dies in some steps, as often as the class still has lives to lose."""

    name = "mortal"
    lives = 0
    died = False

    @property
    def alive(self) -> bool:
        return not self.died

    async def step(self, action: str) -> StepResult:
        if Mortal.lives and "*" in action:
            Mortal.lives -= 1
            self.died = True
        if self.died:
            raise EnvironmentDied("the process is gone")
        return await super().step(action)


async def test_a_rollout_goes_on_in_another_environment_where_the_first_died(
    tmp_path: Path,
) -> None:
    register_environment("mortal", Mortal)
    task = TASK | {"environment": "mortal"}
    async with scripted_policy() as server, resources(tmp_path):
        Mortal.lives = 1
        out = await best_of_n.graph.ainvoke(
            {"task": task}, context=context(server.url, n=24, run="mortal")
        )
        healthy = await best_of_n.graph.ainvoke(
            {"task": task}, context=context(server.url, n=24, run="healthy")
        )
    assert Mortal.lives == 0
    assert out["usage"]["failures"] == 0
    assert list(map(actions, out["candidates"])) == list(map(actions, healthy["candidates"]))
    # Nothing is asked of the policy twice: an answer is kept, whatever becomes of the step.
    assert out["usage"]["completions"] == healthy["usage"]["completions"]


async def test_a_second_death_and_one_without_a_way_back_cost_the_rollout(tmp_path: Path) -> None:
    class OneWay(Mortal):
        name = "one-way-mortal"
        restorable = False

    register_environment("mortal", Mortal)
    register_environment("one-way-mortal", OneWay)
    async with scripted_policy() as server, resources(tmp_path):
        for name in ("mortal", "one-way-mortal"):
            Mortal.lives = 1000
            out = await sampling.graph.ainvoke(
                {"task": TASK | {"environment": name}}, context=context(server.url, n=24, run=name)
            )
            failed = [c for c in out["candidates"] if c["trajectory"]["status"] == "failed"]
            assert 0 < len(failed) < 24
            assert {c["trajectory"]["error"] for c in failed} == {"the process is gone"}


async def test_when_every_rollout_fails_one_line_says_why(tmp_path: Path) -> None:
    async with resources(tmp_path):
        with pytest.raises(ArmapError, match="every rollout failed") as caught:
            await sampling.graph.ainvoke(
                {"task": TASK}, context=context("http://127.0.0.1:9/v1", n=2)
            )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward": "no/such/folder"}, "no/such/folder"),
        ({"objective": {"colour": 1.0}}, "no penalty is called colour"),
        ({"policy_url": ""}, "no policy_url"),
        ({"run": "../up"}, "no name for a run"),
    ],
)
async def test_bad_options_get_one_line(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    async with scripted_policy() as server, resources(tmp_path):
        with pytest.raises(ArmapError, match=message) as caught:
            await best_of_n.graph.ainvoke({"task": TASK}, context=context(server.url) | options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"unknown": 1}, {"n": 0}, {"temperature": -1.0}])
async def test_unknown_and_impossible_context_is_refused(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    async with resources(tmp_path):
        with pytest.raises(ValidationError, match=next(iter(options))):
            await best_of_n.graph.ainvoke({"task": TASK}, context=context("http://x/v1") | options)


async def test_without_resources_the_cure_is_named() -> None:
    with pytest.raises(ArmapError, match="async with armap_agents"):
        await greedy.graph.ainvoke({"task": TASK}, context=context("http://x/v1"))


async def test_the_objective_decides_and_the_score_stays(tmp_path: Path) -> None:
    async with scripted_policy() as server, resources(tmp_path):
        out = await best_of_n.graph.ainvoke(
            {"task": TASK}, context=context(server.url, objective={"length": 2.0})
        )
    for c in out["candidates"]:
        assert c["objective"] == pytest.approx(c["score"] - 2.0 * len(actions(c)) / 6)


def test_a_thread_that_is_used_again_starts_afresh(tmp_path: Path) -> None:
    from langgraph.checkpoint.memory import InMemorySaver

    async def twice() -> None:
        graph = best_of_n.builder.compile(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        async with scripted_policy() as server, resources(tmp_path):
            first = await graph.ainvoke({"task": TASK}, config, context=context(server.url, n=4))
            second = await graph.ainvoke({"task": TASK}, config, context=context(server.url, n=2))
        assert (len(first["candidates"]), len(second["candidates"])) == (4, 2)
        assert first["run"] != second["run"]

    asyncio.run(twice())


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        (
            "armap_agents",
            ["torch", "langgraph", "openai", "playwright", "httpx", "numpy", "pydantic"],
        ),
        ("armap_agents.graphs.best_of_n", ["torch", "transformers"]),
        ("armap_agents.reward", ["torch", "transformers"]),
        ("armap_agents.reward.objectives", ["torch", "transformers"]),
    ],
)
def test_imports_stay_light(module: str, heavy: list[str]) -> None:
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
