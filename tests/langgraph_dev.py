"""A real `langgraph dev` for tests."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[1]
TASK = {"environment": "game24", "id": "901"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
