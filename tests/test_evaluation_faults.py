"""What evaluation makes of damaged files, odd characters, cancellation and changed models."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from test_evaluation import closeness, keys, lines, play, spec

from armap_agents.environment import register_environment
from armap_agents.errors import ConfigurationError
from armap_agents.evaluation import RunSpec, evaluate, read_spec, rescore
from armap_agents.evaluation.results import read_scores
from armap_agents.evaluation.truth import Environments
from armap_agents.reward_model import FunctionReward
from armap_agents.tools.game24 import Game24
from armap_agents.trajectory import Task, Trajectory

FEW: dict[str, Any] = {"tasks": ["901", "902", "903"], "planners": ["best_of_n"], "n": 4}


async def test_a_name_has_the_scores_of_its_last_model(tmp_path: Path) -> None:
    await evaluate(spec(**FEW), tmp_path, play)
    right = {"m": FunctionReward(closeness, "right")}
    wrong = {"m": FunctionReward(lambda trajectory: -closeness(trajectory), "wrong")}
    scores = []
    for models in (right, wrong, right):
        await rescore(tmp_path, models)
        scores.append(read_scores(tmp_path)["reward:m"])
    assert scores[0] == scores[2] != scores[1]


async def test_two_models_never_mix_under_one_name(tmp_path: Path) -> None:
    await evaluate(spec(**FEW), tmp_path, play)
    await rescore(tmp_path, {"m": FunctionReward(closeness, "first")})
    calls = 0

    def dies(trajectory: Trajectory) -> float:
        nonlocal calls
        calls += 1
        if calls > 4:
            raise RuntimeError("killed")
        return 7.0

    with pytest.raises(RuntimeError, match="killed"):
        await rescore(tmp_path, {"m": FunctionReward(dies, "second")}, concurrency=1)
    assert list(read_scores(tmp_path)["reward:m"].values()) == [(7.0,) * 4]


@pytest.mark.parametrize("damage", ["", "{", "[]", "7", "{}", '{"spec": 7}', "\udcff"])
async def test_a_damaged_configuration_is_one_line(tmp_path: Path, damage: str) -> None:
    await evaluate(spec(**FEW), tmp_path, play)
    path = tmp_path / "config.json"
    path.write_text(damage, "utf-8", errors="surrogateescape")
    with pytest.raises(ConfigurationError, match=r"config\.json is damaged: put a copy") as refusal:
        read_spec(tmp_path)
    assert "\n" not in str(refusal.value)
    with pytest.raises(ConfigurationError, match=r"config\.json is damaged: put a copy"):
        await evaluate(spec(**FEW), tmp_path, play)


@pytest.mark.parametrize("damage", ["{}", "[]", "7", '{"task": "901"}'])
async def test_a_line_of_another_shape_is_damaged(tmp_path: Path, damage: str) -> None:
    await evaluate(spec(**FEW), tmp_path, play)
    await rescore(tmp_path, {"m": FunctionReward(closeness, "m")})
    for name in ("scores.jsonl", "results.jsonl"):
        with (tmp_path / name).open("a") as file:
            file.write(damage + "\n")
        with pytest.raises(ConfigurationError, match=f"{name}, line 4 is damaged: delete"):
            await rescore(tmp_path, {})


async def test_half_a_character_ends_nothing(tmp_path: Path) -> None:
    async def odd(asked: RunSpec, task: Task, seed: int, planner: str) -> dict[str, Any]:
        if task.id == "902":
            raise ValueError("\udfff")
        result = await play(asked, task, seed, planner)
        failed = result["candidates"][0]["trajectory"]
        failed["steps"][0]["action"], failed["status"] = "\ud800", "failed"
        return result

    await evaluate(spec(**FEW), tmp_path, odd)
    found = {line["task"]: line for line in lines(tmp_path)}
    assert found["901"]["candidates"][0]["actions"][0] == "\ud800"
    assert found["902"]["error"] == "ValueError: \udfff"
    await evaluate(spec(**FEW), tmp_path, play)
    assert sorted(key[0] for key in keys(tmp_path)) == ["901", "902", "902", "903"]


async def test_an_environment_made_while_cancelled_is_closed() -> None:
    started, going = threading.Event(), threading.Event()
    closed: list[Game24] = []

    class Slow(Game24):
        def __init__(self) -> None:
            started.set()
            going.wait(10)
            super().__init__()

        async def close(self) -> None:
            closed.append(self)

    environments = Environments(Slow, 1)

    async def use() -> None:
        async with environments.lease():
            raise AssertionError("it was cancelled")

    using = asyncio.create_task(use())
    await asyncio.to_thread(started.wait, 10)
    using.cancel()
    await asyncio.sleep(0)
    going.set()
    with pytest.raises(asyncio.CancelledError):
        await using
    await environments.aclose()
    assert len(closed) == 1


async def test_nothing_is_made_or_read_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked: list[str] = []

    def note(what: str) -> None:
        if threading.current_thread() is threading.main_thread():
            blocked.append(what)

    class Noting(Game24):
        def __init__(self) -> None:
            note("made")
            super().__init__()

    read = Path.read_bytes

    def noting(path: Path) -> bytes:
        note(path.name)
        return read(path)

    register_environment("noting24", Noting)
    monkeypatch.setattr(Path, "read_bytes", noting)
    await evaluate(spec(**FEW, environment="noting24"), tmp_path, play)
    for _ in range(2):
        await rescore(tmp_path, {"m": FunctionReward(closeness, "m")})
    assert blocked == []
