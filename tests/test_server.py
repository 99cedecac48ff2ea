"""The planners on a real LangGraph server, over its SDK."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tiny_backbone import save_tiny_backbone

from armap_agents.testing import scripted_policy

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def descendants(pid: int) -> set[int]:
    """Process ids below `pid`, from /proc."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def trained_reward(folder: Path) -> Path:
    """Train a tiny reward model for a moment, as a user would."""
    armap = str(Path(sys.executable).parent / "armap")
    data, reward = str(folder / "data"), str(folder / "reward")
    backbone = str(save_tiny_backbone(folder / "backbone"))
    for command in (
        ["generate", "game24", "--out", data, "--trajectories", "200"],
        ["train", data, "--out", reward, "--backbone", backbone, "--steps", "3"],
    ):
        subprocess.run([armap, *command], check=True, capture_output=True)
    return Path(reward)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    shutil.copy(ROOT / "langgraph.json", tmp_path)
    environment = os.environ | {
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        "ARMAP_RUNS": str(tmp_path / "runs"),
    }
    command = [str(Path(sys.executable).parent / "langgraph"), "dev", "--no-browser", "--no-reload"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--n-jobs-per-worker", "4"],
        cwd=tmp_path,
        env=environment,
        stdout=(tmp_path / "log").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient() as http:
            for _ in range(600):
                if process.poll() is not None:
                    raise AssertionError((tmp_path / "log").read_text()[-3000:])
                try:
                    if (await http.get(f"{url}/ok")).status_code == 200:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.2)
        yield url, process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


async def test_every_planner_runs_and_nothing_is_left_behind(
    server: tuple[str, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    from langgraph_sdk import get_client

    url, process = server
    client = get_client(url=url)
    found = {a["graph_id"]: a for a in await client.assistants.search()}
    assert {"greedy", "sampling", "best_of_n"} <= set(found)
    schemas = await client.assistants.get_schemas(found["best_of_n"]["assistant_id"])
    fields = (schemas["context_schema"] or {})["properties"]
    assert fields["policy_url"]["title"] == "Policy endpoint"
    assert all("description" in field for field in fields.values())

    task = {"environment": "game24", "id": "901"}
    reward = await asyncio.to_thread(trained_reward, tmp_path)
    async with scripted_policy() as policy:
        context: dict[str, Any] = {"policy_url": policy.url, "policy_model": "scripted", "n": 4}
        context["reward"] = str(reward)
        for planner in ("greedy", "sampling", "best_of_n"):
            out: Any = await client.runs.wait(None, planner, input={"task": task}, context=context)
            assert "trajectory" in out, (out, (tmp_path / "log").read_text()[-3000:])
            assert out["trajectory"]["status"] == "ended"
            assert (tmp_path / "runs" / out["run"] / "trace.jsonl").exists()
        assert [c["score"] for c in out["candidates"]].count(None) == 0
        refused: Any = await client.runs.wait(
            None, "sampling", input={"task": task}, context=context | {"n": 0}, raise_error=False
        )
        assert "greater than or equal to 1" in str(refused)
    log = (tmp_path / "log").read_text()
    assert "BlockingError" not in log

    children = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    await asyncio.sleep(1)
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
