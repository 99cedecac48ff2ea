"""Evaluation as a whole: Game of 24 played at random, for real, into a folder."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from armap_agents.environment import register_environment
from armap_agents.errors import ArmapError, ConfigurationError, EnvironmentFailure
from armap_agents.evaluation import RunSpec, evaluate, rescore
from armap_agents.reward_model import FunctionReward
from armap_agents.tools.game24 import Game24
from armap_agents.trajectory import Status, Step, Task, Trajectory
from armap_agents.usage import Usage


def spec(**changes: Any) -> RunSpec:
    fields: dict[str, Any] = {
        "environment": "game24",
        "tasks": [str(rank) for rank in range(901, 911)],
        "planners": ["sampling", "best_of_n"],
        "n": 16,
    }
    return RunSpec.from_dict(fields | changes)


def closeness(trajectory: Trajectory) -> float:
    """A scorer that reads the final number: 24 is best, the further off the worse."""
    left = trajectory.last.text.split(":")[-1].split()
    if len(left) != 1:
        return -1000.0
    top, _, bottom = left[0].partition("/")
    return -abs(int(top) / int(bottom or 1) - 24)


async def episode(task: Task, *seed: Any) -> Trajectory:
    """One episode of uniform legal steps."""
    environment, rng = Game24(), random.Random(repr((task.id, *seed)))
    trajectory = Trajectory(task, task.instruction or "", await environment.reset(task))
    while not trajectory.done:
        action = rng.choice(trajectory.last.actions or ())
        result = await environment.step(action)
        trajectory = trajectory.extended(Step(action, result.observation, result.done))
    return trajectory


async def play(spec: RunSpec, task: Task, seed: int, planner: str) -> dict[str, Any]:
    """A uniform policy as a planner; both planners see the same candidates."""
    episodes = [await episode(task, seed, k) for k in range(spec.n)]
    scored = planner == "best_of_n"
    scores = [closeness(item) if scored else None for item in episodes]
    best = max(range(spec.n), key=lambda k: scores[k] or 0.0) if scored else 0
    steps = sum(map(len, episodes))
    return {
        "trajectory": episodes[best].to_dict(),
        "score": scores[best],
        "candidates": [
            {"trajectory": item.to_dict(), "score": score, "error": None}
            for item, score in zip(episodes, scores, strict=True)
        ],
        "usage": Usage(environment_steps=steps, scored=spec.n if scored else 0).to_dict(),
        "run": f"{task.id}-{seed}",
        "seconds": 0.01,
    }


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def keys(out: Path) -> list[tuple[str, str, int]]:
    return [(line["task"], line["planner"], line["seed"]) for line in lines(out)]


async def test_scores_are_the_environments(tmp_path: Path) -> None:
    asked = spec(tasks=[str(rank) for rank in range(901, 961)], n=32)
    summary = await evaluate(asked, tmp_path, play)
    for line in lines(tmp_path):
        for candidate in line["candidates"]:
            says = candidate["actions"][-1].endswith("= 24")
            assert candidate["true_score"] == float(says)
    best, sampling = summary["planners"]["best_of_n"], summary["planners"]["sampling"]
    assert best["n_tasks"] == 60
    assert sampling["score"] == pytest.approx(best["mean"])
    assert 0 < sampling["score"] < best["oracle"] <= 1
    # The scorer reads the result, so it finds 24 wherever a candidate has it.
    assert best["score"] == pytest.approx(best["oracle"])
    assert best["gap_closed"] == pytest.approx(1.0)
    assert best["selectors"]["says_24"]["gap_closed"] == pytest.approx(1.0)
    assert best["selectors"]["random"]["gap_closed"] == pytest.approx(0.0)
    assert best["claims"]["reward_model"]["best_trivial"] == "says_24"
    assert best["claims"]["reward_model"]["holds"] is False
    assert best["selectors"]["cosine"]["score"] is None
    assert "not run" in best["selectors"]["cosine"]["reason"]
    assert json.loads((tmp_path / "summary.json").read_text()) == json.loads(json.dumps(summary))


async def test_finished_runs_are_not_repeated(tmp_path: Path) -> None:
    await evaluate(spec(), tmp_path, play)
    before = (tmp_path / "results.jsonl").read_bytes()

    async def never(*_: Any) -> dict[str, Any]:
        raise AssertionError("asked again")

    told: list[tuple[int, int, int]] = []
    await evaluate(spec(), tmp_path, never, progress=lambda *counts: told.append(counts))
    assert (tmp_path / "results.jsonl").read_bytes() == before
    assert told == [(20, 20, 0)]


async def test_the_planners_of_a_task_run_in_order(tmp_path: Path) -> None:
    running: set[tuple[str, int]] = set()
    together = 0

    async def watched(spec: RunSpec, task: Task, seed: int, planner: str) -> dict[str, Any]:
        nonlocal together
        assert (task.id, seed) not in running
        running.add((task.id, seed))
        await asyncio.sleep(0)
        together = max(together, len(running))
        running.remove((task.id, seed))
        return await play(spec, task, seed, planner)

    await evaluate(spec(seeds=[0, 1], n=2), tmp_path, watched, concurrency=4)
    assert together == 4
    for task in spec().tasks:
        for seed in (0, 1):
            order = [key[1] for key in keys(tmp_path) if (key[0], key[2]) == (task, seed)]
            assert order == ["sampling", "best_of_n"]


async def test_another_configuration_is_refused_with_the_difference(tmp_path: Path) -> None:
    await evaluate(spec(), tmp_path, play, identity={"reward_fingerprint": "abc"})
    with pytest.raises(ConfigurationError) as refusal:
        await evaluate(
            spec(n=32, temperature=1.0), tmp_path, play, identity={"reward_fingerprint": "def"}
        )
    text = str(refusal.value)
    assert "n: 16 there, 32 asked for" in text
    assert "temperature: 0.7 there, 1.0 asked for" in text
    assert 'identity.reward_fingerprint: "abc" there, "def" asked for' in text
    assert len(text.splitlines()) == 4
    with pytest.raises(ConfigurationError, match=r"tasks: 10 from 901 to 910 there"):
        await evaluate(spec(tasks=["901"]), tmp_path, play)


async def test_where_a_policy_is_served_may_change(tmp_path: Path) -> None:
    known = {"reward_fingerprint": "abc"}
    there = spec(policy_url="http://127.0.0.1:1/v1", reward="a", tasks=["901"])
    here = spec(policy_url="http://127.0.0.1:2/v1", reward="b", tasks=["901"])
    await evaluate(there, tmp_path, play, identity=known)
    await evaluate(here, tmp_path, play, identity=known)
    with pytest.raises(ConfigurationError, match="policy_model"):
        await evaluate(here.model_copy(update={"policy_model": "x"}), tmp_path, play)


@pytest.mark.parametrize("torn", [b'{"task": "901", "planner": "sam', b"\xc3"])
async def test_a_torn_last_line_is_lost_alone(tmp_path: Path, torn: bytes) -> None:
    await evaluate(spec(), tmp_path, play)
    path = tmp_path / "results.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:-1]) + torn)
    await evaluate(spec(), tmp_path, play)
    assert sorted(path.read_bytes().splitlines()) == sorted(line.rstrip() for line in whole)


async def test_a_damaged_line_in_the_middle_is_reported(tmp_path: Path) -> None:
    await evaluate(spec(), tmp_path, play)
    path = tmp_path / "results.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([whole[0], b"{}}\n", *whole[1:]]))
    with pytest.raises(ConfigurationError, match="line 2 is damaged"):
        await evaluate(spec(), tmp_path, play)


async def test_failed_runs_count_zero_and_alone_are_tried_again(tmp_path: Path) -> None:
    asked: list[str] = []

    async def flaky(spec: RunSpec, task: Task, seed: int, planner: str) -> dict[str, Any]:
        asked.append(task.id)
        if task.id == "903":
            raise EnvironmentFailure("the environment died:\nstart it again")
        if task.id == "905":
            raise KeyError("a bug")
        return await play(spec, task, seed, planner)

    summary = await evaluate(spec(), tmp_path, flaky)
    failed = {(x["task"], x["error"]) for x in lines(tmp_path) if x["status"] == "error"}
    assert failed == {
        ("903", "the environment died: start it again"),
        ("905", "KeyError: 'a bug'"),
    }
    assert summary["planners"]["sampling"]["errors"] == 2
    assert summary["planners"]["sampling"]["n_runs"] == 10
    asked.clear()
    healed = await evaluate(spec(), tmp_path, play)
    assert healed["planners"]["sampling"]["errors"] == 0
    await evaluate(spec(), tmp_path, flaky)
    assert asked == []
    assert len(lines(tmp_path)) == 24


async def test_one_error_everywhere_ends_the_evaluation_early(tmp_path: Path) -> None:
    calls = 0

    async def dead(*_: Any) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        raise ArmapError("no policy at http://127.0.0.1:9/v1: start one with `armap serve policy`")

    many = spec(tasks=[str(rank) for rank in range(901, 1001)])
    with pytest.raises(ArmapError, match=r"^no policy at"):
        await evaluate(many, tmp_path, dead, concurrency=4)
    assert 10 <= calls < 20
    summary = await evaluate(many, tmp_path, play)
    assert summary["planners"]["best_of_n"]["errors"] == 0


async def test_a_run_whose_every_rollout_failed_is_an_error(tmp_path: Path) -> None:
    async def failing(spec: RunSpec, task: Task, seed: int, planner: str) -> dict[str, Any]:
        result = await play(spec, task, seed, planner)
        hit = task.id == "902"
        for item in [result, *(result["candidates"] if hit else result["candidates"][:1])]:
            if hit or item is not result:
                item["trajectory"]["status"] = Status.FAILED.value
                item["trajectory"]["error"] = "the policy did not answer"
        return result

    summary = await evaluate(spec(), tmp_path, failing)
    assert summary["planners"]["best_of_n"]["errors"] == 1
    error = next(line for line in lines(tmp_path) if line["task"] == "902")
    assert error["error"] == "the policy did not answer"
    first = next(line for line in lines(tmp_path) if line["task"] == "901")["candidates"][0]
    assert (first["true_score"], first["status"]) == (0.0, "failed")
    assert summary["planners"]["best_of_n"]["failed_candidates"] == 9 + 1


async def test_a_candidate_that_restores_elsewhere_is_marked(tmp_path: Path) -> None:
    async def lying(spec: RunSpec, task: Task, seed: int, planner: str) -> dict[str, Any]:
        result = await play(spec, task, seed, planner)
        candidate = result["candidates"][3]
        candidate["trajectory"]["steps"][-1]["observation"]["text"] = "Numbers left: 24"
        return result

    await evaluate(spec(tasks=["901"]), tmp_path, lying)
    for line in lines(tmp_path):
        assert "ends elsewhere than recorded" in line["candidates"][3]["error"]
        assert line["status"] == "ok"


async def test_equal_candidates_are_restored_once(tmp_path: Path) -> None:
    restored: list[tuple[str, ...]] = []

    class Counting(Game24):
        async def restore(self, task: Task, actions: Any) -> Any:
            if actions:
                restored.append(tuple(actions))
            return await super().restore(task, actions)

    register_environment("counting24", Counting)

    async def twins(spec: RunSpec, task: Task, seed: int, planner: str) -> dict[str, Any]:
        result = await play(spec, task, seed, planner)
        result["candidates"] = [result["candidates"][0]] * 5 + result["candidates"][1:2]
        return result

    await evaluate(
        spec(environment="counting24", tasks=["901"], planners=["sampling"]), tmp_path, twins
    )
    assert len(restored) == len(set(restored)) == 2


async def test_an_environment_without_true_scores_is_refused(tmp_path: Path) -> None:
    class Silent:
        name = "silent"

        def tasks(self, split: str) -> list[Task]:
            return [Task("901", "silent")]

    register_environment("silent", Silent)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="give it true_score"):
        await evaluate(spec(environment="silent"), tmp_path / "out", play)
    assert not (tmp_path / "out").exists()


async def test_unknown_tasks_and_bad_specs_name_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no task '7' in split 'test'"):
        await evaluate(spec(tasks=["7"]), tmp_path, play)
    with pytest.raises(ConfigurationError, match="run spec, n: "):
        spec(n=0)
    with pytest.raises(ConfigurationError, match="run spec, colour: "):
        spec(colour="red")
    with pytest.raises(ConfigurationError, match="seeds names one twice"):
        spec(seeds=[1, 1])
    asked = spec(seeds=[3], limits={"max_steps": 4})
    assert RunSpec.from_dict(json.loads(json.dumps(asked.to_dict()))) == asked


async def test_stored_candidates_are_scored_again_without_rollouts(tmp_path: Path) -> None:
    tasks = [str(rank) for rank in range(901, 951)]
    await evaluate(spec(tasks=tasks, n=32), tmp_path, play)
    scored: list[Trajectory] = []

    def contrary(trajectory: Trajectory) -> float:
        scored.append(trajectory)
        return -closeness(trajectory)

    summary: Any = await rescore(tmp_path, {"contrary": FunctionReward(contrary, "v1")})
    assert len(scored) == 50 * 32
    assert all(item.status is Status.ENDED and len(item) == 3 for item in scored)
    found = summary["planners"]["best_of_n"]["selectors"]["reward:contrary"]
    assert found["concordance"] == 0.0
    assert found["gap_closed"] < 0
    scored.clear()
    models = {"contrary": FunctionReward(contrary, "v1"), "judge": FunctionReward(closeness, "v1")}
    again: Any = await rescore(tmp_path, models)
    assert scored == []
    assert again["planners"]["best_of_n"]["selectors"]["judge"]["gap_closed"] == pytest.approx(1)
    with pytest.raises(ConfigurationError, match="is taken"):
        await rescore(tmp_path, {"shortest": FunctionReward(closeness, "v1")})
    with pytest.raises(ConfigurationError, match="holds no evaluation"):
        await rescore(tmp_path / "elsewhere", {"x": FunctionReward(closeness, "v1")})


def test_killed_at_random_moments_nothing_is_lost_or_repeated(tmp_path: Path) -> None:
    rng, kills = random.Random(0), 0
    started = tmp_path / "started"
    while True:
        process = subprocess.Popen([sys.executable, __file__, str(tmp_path)])
        while not started.exists() and process.poll() is None:
            time.sleep(0.01)
        try:
            code = process.wait(timeout=rng.uniform(0.02, 0.25) if kills < 10 else None)
            assert code == 0
            break
        except subprocess.TimeoutExpired:
            finished = whole_keys(tmp_path)
            process.send_signal(signal.SIGKILL)
            process.wait()
            started.unlink(missing_ok=True)
            kills += 1
            assert set(finished) <= set(whole_keys(tmp_path))
    assert kills >= 2  # 120 runs, 4 side by side, sleep longer than two of the waits
    done = keys(tmp_path)
    assert len(done) == len(set(done)) == 120
    assert (tmp_path / "summary.json").exists()
    calls = (tmp_path / "calls").read_text().splitlines()
    # What was in flight when the process was killed may be asked again, nothing else.
    assert 120 <= len(calls) <= 120 + 4 * kills


def whole_keys(out: Path) -> list[tuple[str, str, int]]:
    path = out / "results.jsonl"
    whole = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [(line["task"], line["planner"], line["seed"]) for line in map(json.loads, whole)]


def test_two_processes_do_not_write_one_folder(tmp_path: Path) -> None:
    environment = os.environ | {"SLOW": "1"}
    process = subprocess.Popen([sys.executable, __file__, str(tmp_path)], env=environment)
    try:
        while not (tmp_path / "started").exists():
            assert process.poll() is None
            time.sleep(0.01)
        with pytest.raises(ConfigurationError, match="being written by another process"):
            asyncio.run(evaluate(killed_spec(), tmp_path, play))
    finally:
        process.kill()
        process.wait()


def killed_spec() -> RunSpec:
    return spec(tasks=[str(rank) for rank in range(901, 931)], seeds=[0, 1], n=2)


async def slow_play(spec: RunSpec, task: Task, seed: int, planner: str) -> dict[str, Any]:
    out = Path(sys.argv[1])
    (out / "started").touch()
    with (out / "calls").open("a") as file:
        file.write(f"{task.id} {planner} {seed}\n")
    await asyncio.sleep(60 if "SLOW" in os.environ else 0.02)
    return await play(spec, task, seed, planner)


if __name__ == "__main__":
    asyncio.run(evaluate(killed_spec(), Path(sys.argv[1]), slow_play, concurrency=4))
