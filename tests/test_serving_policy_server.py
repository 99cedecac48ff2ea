"""Finding, starting and stopping the policy server, with a small program in vLLM's place."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from armap_agents.errors import ArmapError
from armap_agents.precision import cpu_multiplies_bfloat16
from armap_agents.serving.policy_server import policy_server, vllm_flags

# By name: the package's attribute of that name is the function.
module = importlib.import_module("armap_agents.serving.policy_server")

# Answers as vLLM does, and like it has a grandchild that would outlive a server killed with
# SIGKILL: one that ignores SIGTERM and has left the process group.
FAKE_VLLM = """\
    import json, os, pathlib, signal, subprocess, sys
    from http.server import BaseHTTPRequestHandler, HTTPServer

    arguments = sys.argv[1:]
    if os.environ.get("FAKE_VLLM_FAILS"):
        print("Loading weights")
        print("ERROR [core.py:1] ValueError: no room for the KV cache")
        print("RuntimeError: Engine core initialization failed")
        sys.exit(1)
    engine = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", engine], start_new_session=True)
    pathlib.Path(os.environ["FAKE_VLLM_PIDS"]).write_text(f"{os.getpid()} {child.pid}")
    model = arguments[arguments.index("--served-model-name") + 1]
    port = int(arguments[arguments.index("--port") + 1])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"data": [{"id": model}]}).encode())

        def log_message(self, *arguments):
            pass

    HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""

OWNER = """\
    import asyncio, importlib, pathlib, sys
    module = importlib.import_module("armap_agents.serving.policy_server")

    async def main():
        async with module.policy_server(sys.argv[1], port=int(sys.argv[2])) as server:
            print(server.url, flush=True)
            await asyncio.sleep(600)

    module.vllm_program = lambda report: pathlib.Path(sys.argv[3])
    asyncio.run(main())
"""


@pytest.fixture
def pids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARMAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_VLLM_PIDS", str(tmp_path / "pids"))
    return tmp_path / "pids"


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return str(folder)


@pytest.fixture
def program(tmp_path: Path, pids: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bin" / "vllm"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(FAKE_VLLM)}")
    path.chmod(0o755)
    monkeypatch.setattr(module, "vllm_program", lambda report: path)
    return path


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def owner(program: Path, model: str, port: int) -> Iterator[subprocess.Popen[str]]:
    """Another process that serves the model and reports its address."""
    command = [sys.executable, "-c", textwrap.dedent(OWNER), model, str(port), str(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == f"http://127.0.0.1:{port}/v1"
        yield process
        process.kill()


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def wait_until_gone(pids: Path) -> None:
    processes = [int(pid) for pid in pids.read_text().split()]
    assert len(processes) == 2
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in processes):
        assert time.monotonic() < deadline, "the server or its child outlived its owner"
        time.sleep(0.05)


async def test_a_server_runs_for_the_block_and_no_longer(
    program: Path, pids: Path, model: str, port: int
) -> None:
    lines: list[str] = []
    async with policy_server(model, port=port, report=lines.append) as server:
        assert (server.url, server.model) == (f"http://127.0.0.1:{port}/v1", "tiny")
        assert not server.reused
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{server.url}/models")).status_code == 200
        assert all(alive(int(pid)) for pid in pids.read_text().split())
    assert not any(alive(int(pid)) for pid in pids.read_text().split())
    assert any(line.startswith("starting vLLM with tiny") for line in lines)


async def test_a_running_server_is_used_and_left_alone(
    owner: subprocess.Popen[str], pids: Path, model: str, port: int
) -> None:
    async with policy_server(model, port=port) as server:
        assert server.reused
    assert all(alive(int(pid)) for pid in pids.read_text().split())


async def test_a_server_of_another_model_is_refused(
    owner: subprocess.Popen[str], model: str, port: int
) -> None:
    other = Path(model).rename(Path(model).with_name("other"))
    with pytest.raises(ArmapError, match="already serves tiny, not other: stop that server"):
        async with policy_server(str(other), port=port):
            pass


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_an_owner_that_is_killed(
    owner: subprocess.Popen[str], pids: Path, end: signal.Signals
) -> None:
    owner.send_signal(end)
    owner.wait()
    wait_until_gone(pids)


def test_a_killed_supervisor_takes_the_server_with_it(
    owner: subprocess.Popen[str], pids: Path
) -> None:
    server, engine = (int(pid) for pid in pids.read_text().split())
    supervisor = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(supervisor, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while alive(server):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # vLLM's own engine ends with its server; the stubborn one of this test does not.
    os.kill(engine, signal.SIGKILL)


async def test_two_starts_make_one_server(program: Path, model: str, port: int) -> None:
    async def serve(done: asyncio.Event) -> bool:
        async with policy_server(model, port=port) as server:
            if server.reused:
                done.set()
            await done.wait()
            return server.reused

    done = asyncio.Event()
    assert sorted(await asyncio.gather(serve(done), serve(done))) == [False, True]


async def test_a_failing_server_is_reported_with_its_cause_and_log(
    program: Path, model: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM_FAILS", "1")
    with pytest.raises(ArmapError, match="ValueError: no room for the KV cache; its log") as raised:
        async with policy_server(model, port=port):
            pass
    assert "\n" not in str(raised.value)
    assert "Loading weights" in raised.value.__notes__[0]


async def test_a_server_that_ends_by_itself_is_noticed(
    program: Path, pids: Path, model: str, port: int
) -> None:
    async with policy_server(model, port=port) as server:
        os.kill(int(pids.read_text().split()[0]), signal.SIGKILL)
        with pytest.raises(ArmapError, match="vLLM ended"):
            await server.wait()


async def test_a_port_of_another_program_is_reported(
    program: Path, model: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PORT_GRACE_SECONDS", 0.2)
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.2)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(ArmapError, match=f"{port} is used by another program: .* --port"):
            async with policy_server(model, port=port):
                pass


def test_no_prompt_is_ever_read_in_pieces_on_a_cpu() -> None:
    flags = vllm_flags(max_model_len=2048, max_num_seqs=32, gpu=False)
    assert "--no-enable-chunked-prefill" in flags
    assert int(flags[flags.index("--max-num-batched-tokens") + 1]) >= 2048


@pytest.mark.parametrize(
    ("flags", "dtype", "room"),
    [("avx2 fma", "float32", "2"), ("avx2 avx512_bf16", "bfloat16", "1"), (None, "float32", "2")],
)
def test_precision_is_what_the_processor_multiplies(
    flags: str | None, dtype: str, room: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n")
    monkeypatch.setattr(module, "cpu_multiplies_bfloat16", lambda: cpu_multiplies_bfloat16(cpuinfo))
    monkeypatch.setattr(module, "has_nvidia_gpu", lambda: False)
    options = vllm_flags(max_model_len=2048, max_num_seqs=32, gpu=False)
    assert options[options.index("--dtype") + 1] == dtype
    variables = module.vllm_variables(tmp_path / "bin" / "vllm")
    assert variables["VLLM_CPU_KVCACHE_SPACE"] == room
    assert int(variables["VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS"]) >= 3600


@pytest.mark.slow
@pytest.mark.vllm
async def test_a_real_server_answers_under_a_constraint(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = int(probe.getsockname()[1])
    choices = ["13 - 9 = 4", "9 + 13 = 22", "4 * 9 = 36"]
    async with policy_server(port=free) as server, httpx.AsyncClient(timeout=300) as client:

        async def ask(seed: int) -> str:
            # Long, seeded and all different: what killed the engine before its batch had room.
            message = {"role": "user", "content": f"{seed} " * 400 + "\nNext step:"}
            body = {
                "model": server.model,
                "messages": [message],
                "seed": seed,
                "max_tokens": 16,
                "structured_outputs": {"choice": choices},
            }
            answer = await client.post(f"{server.url}/chat/completions", json=body)
            answer.raise_for_status()
            return str(answer.json()["choices"][0]["message"]["content"])

        answers = await asyncio.gather(*(ask(seed) for seed in range(16)))
    assert set(answers) <= set(choices)
