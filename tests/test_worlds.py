"""WebShop and ScienceWorld under every planner: from Python, in the shell, on the server."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_dev import free_port, server
from test_server import descendants
from tiny_reward import trained_reward

from armap_agents import FunctionReward, Trajectory, register_reward, resources
from armap_agents.graphs import PLANNERS, beam, best_of_n, greedy, mcts, reflexion, sampling
from armap_agents.resources import Resources
from armap_agents.testing import scripted_policy
from armap_agents.trajectory import Status

__all__ = ["server"]  # a fixture

ARMAP = str(Path(sys.executable).parent / "armap")
GRAPHS = (greedy, sampling, best_of_n, reflexion, beam, mcts)

WORLDS = [
    pytest.param(
        {"environment": "webshop", "id": "17", "max_steps": 6},
        {"render": False},
        id="webshop-engine",
    ),
    pytest.param(
        {"environment": "webshop", "id": "17", "max_steps": 6},
        {},
        id="webshop-browser",
        marks=[pytest.mark.slow, pytest.mark.browser],
    ),
    pytest.param(
        {"environment": "scienceworld", "id": "task-3-find-animal/193", "max_steps": 6},
        {"actions": "valid"},
        id="scienceworld",
        marks=[pytest.mark.slow, pytest.mark.java],
    ),
]


def words(trajectory: Trajectory) -> float:
    """Likes trajectories that saw much; where nothing is finished yet, that is a value too."""
    return float(sum(len(step.observation.text) for step in trajectory.steps))


class Words(FunctionReward):
    async def avalue(self, prefixes: list[Trajectory]) -> list[float]:
        return [1 / (1 + len(prefix)) for prefix in prefixes]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Resources]:
    register_reward("words", lambda: Words(words, "words-1"))
    async with resources(tmp_path) as found:
        yield found


def test_every_planner_is_tried() -> None:
    assert {graph.__name__.rpartition(".")[2] for graph in GRAPHS} == set(PLANNERS)


@pytest.mark.parametrize(("task", "options"), WORLDS)
async def test_every_planner_works_in_it(
    opened: Resources, task: dict[str, Any], options: dict[str, Any]
) -> None:
    async with scripted_policy() as policy:
        for graph in GRAPHS:
            context = {
                "policy_url": policy.url,
                "policy_model": "scripted",
                "reward": "words",
                "environment_options": options,
                "n": 3,
                "rollouts": 4,
                "parallel": 2,
                "proposals": 3,
                "width": 2,
                "completions": 60,
                "stop_probability": 1.0,
            }
            out: Any = await graph.graph.ainvoke({"task": task}, context=context)
            failed = [c for c in out["candidates"] if c["trajectory"]["status"] == "failed"]
            assert not failed, failed[0]["trajectory"]["error"]
            answer = out["trajectory"]
            assert answer["status"] in (Status.ENDED, Status.LIMIT)
            assert answer["instruction"]
            assert 1 <= len(answer["steps"]) <= 6


PROCESSES = [
    pytest.param({"environment": "webshop", "id": "17"}, "chromium", marks=pytest.mark.browser),
    pytest.param(
        {"environment": "scienceworld", "id": "task-3-find-animal/193"},
        "java",
        marks=pytest.mark.java,
    ),
]


def named(program: str, among: set[int]) -> list[int]:
    """The processes of a program, the oldest first."""
    found = []
    for pid in sorted(among):
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == program:
                found.append(pid)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("task", "program"), PROCESSES)
async def test_a_killed_process_costs_no_rollout(
    opened: Resources, task: dict[str, Any], program: str
) -> None:
    async with scripted_policy(latency=0.3) as policy:
        context = {
            "policy_url": policy.url,
            "policy_model": "scripted",
            "reward": "words",
            "n": 4,
            "max_steps": 6,
            "run": "killed",
        }
        if program == "java":
            context["environment_options"] = {"actions": "valid"}
        running = asyncio.ensure_future(
            best_of_n.graph.ainvoke({"task": task}, context=context)  # type: ignore[call-overload]
        )
        while len(policy.requests) < 6:
            await asyncio.sleep(0.05)
            assert not running.done()
        (victim, *_) = named(program, descendants(os.getpid()))
        os.kill(victim, signal.SIGKILL)
        out: Any = await running
    assert [c["trajectory"]["error"] for c in out["candidates"]] == [None] * 4
    assert out["usage"]["failures"] == 0
    assert victim not in named(program, descendants(os.getpid()))


@pytest.mark.slow
@pytest.mark.parametrize(("task", "program"), PROCESSES)
async def test_ctrl_c_leaves_no_process_and_the_run_goes_on(
    tmp_path: Path, trained: Path, task: dict[str, Any], program: str
) -> None:
    planner = "mcts[max_steps=6;rollouts=40;parallel=2;proposals=3]"
    options = ["-E", "actions=valid"] if program == "java" else []
    async with scripted_policy(latency=0.3) as policy:
        process = await asyncio.create_subprocess_exec(
            *[ARMAP, "plan", task["environment"], task["id"], "--planner", planner, *options],
            *["--reward", str(trained), "--run", "stopped"],
            *["--policy-url", policy.url, "--policy-model", "scripted"],
            cwd=tmp_path,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        while len(policy.requests) < 12:
            await asyncio.sleep(0.1)
            assert process.returncode is None
        children = descendants(process.pid)
        assert named(program, children)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        _, err = await process.communicate()
        assert process.returncode == 1
        assert "stopped" in err.decode()
        for _ in range(100):
            if not (left := [pid for pid in children if Path(f"/proc/{pid}").exists()]):
                break
            await asyncio.sleep(0.1)
        assert not left
        again = await asyncio.create_subprocess_exec(
            *[ARMAP, "plan", "--resume", "stopped", "--rollouts", "6"],
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await again.communicate()
    assert again.returncode == 0
    assert "(0 failures)" in out.decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["webshop", "17", "-E", "render=false"], id="webshop-engine"),
        pytest.param(["webshop", "17"], id="webshop-browser", marks=pytest.mark.browser),
        pytest.param(
            ["scienceworld", "task-3-find-animal/193", "-E", "actions=valid"],
            id="scienceworld",
            marks=pytest.mark.java,
        ),
    ],
)
async def test_the_command_plans_in_it(command: list[str], tmp_path: Path, trained: Path) -> None:
    planner = "best_of_n[max_steps=4;n=2]"
    async with scripted_policy() as policy:
        process = await asyncio.create_subprocess_exec(
            *[ARMAP, "plan", *command, "--planner", planner, "--reward", str(trained)],
            *["--policy-url", policy.url, "--policy-model", "scripted"],
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert "2 rollouts (0 failures)" in out.decode()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_reward(tmp_path_factory.mktemp("model"))


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.java
async def test_the_server_plans_in_both_and_leaves_nothing_behind(
    server: tuple[str, subprocess.Popen[bytes]], trained: Path, tmp_path: Path
) -> None:
    from langgraph_sdk import get_client

    url, process = server
    client = get_client(url=url)
    async with scripted_policy() as policy:
        context = {"policy_url": policy.url, "policy_model": "scripted", "n": 2, "max_steps": 4}
        for task, options in (
            ({"environment": "webshop", "id": "17"}, {}),
            ({"environment": "scienceworld", "id": "task-3-find-animal/193"}, {"actions": "valid"}),
        ):
            out: Any = await client.runs.wait(
                None,
                "best_of_n",
                input={"task": task},
                context=context | {"reward": str(trained), "environment_options": options},
            )
            assert "trajectory" in out, (out, (tmp_path / "log").read_text()[-3000:])
            assert [c["trajectory"]["error"] for c in out["candidates"]] == [None, None]
    assert "BlockingError" not in (tmp_path / "log").read_text()
    children = descendants(process.pid)
    programs = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in children}
    assert {"java", "chromium"} <= programs, programs
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    for _ in range(100):
        left = [pid for pid in children if Path(f"/proc/{pid}").exists()]
        if not left:
            break
        await asyncio.sleep(0.1)
    assert not left


@pytest.mark.slow
async def test_the_shop_is_served_until_ctrl_c(tmp_path: Path) -> None:
    port = str(free_port())
    process = await asyncio.create_subprocess_exec(
        *[ARMAP, "serve", "shop", "--port", port],
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    said = (await process.stderr.readline()).decode()
    (origin,) = re.findall(r"http://127\.0\.0\.1:\d+", said)
    async with httpx.AsyncClient() as http:
        assert "Task 0" in (await http.get(origin)).text
        bought = await http.get(f"{origin}/done/17/E03ABF7263/%7B%7D")
        assert bought.status_code == 200
        assert "Thank you" in bought.text
        assert "score" not in bought.text
    taken = await asyncio.create_subprocess_exec(
        *[ARMAP, "serve", "shop", "--port", port], stderr=asyncio.subprocess.PIPE
    )
    _, err = await taken.communicate()
    assert taken.returncode == 1
    assert "choose another port" in err.decode()
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.wait(), 20)
    assert process.returncode in (0, 130)
