"""The policy LLM, served by vLLM on this machine for as long as a block of code runs.

`policy_server` finds a server of the same model at the address and uses it, or starts one with the
flags that suit the machine, waits until it is healthy, and stops it at the end. The server runs
under `supervise.py`, so that no process outlives its owner, even one killed with SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from armap_agents.errors import ArmapError
from armap_agents.precision import cpu_multiplies_bfloat16
from armap_agents.serving import supervise
from armap_agents.serving.cache import Report, cache_folder, silent, try_lock
from armap_agents.serving.models import resolve_model
from armap_agents.serving.vllm_environment import has_nvidia_gpu, vllm_program

DEFAULT_MODEL = "smollm2-135m-instruct"
POLL_SECONDS = 0.5
PROBE_SECONDS = 5.0
PORT_GRACE_SECONDS = 20.0
START_SECONDS = 900.0
LOG_TAIL_LINES = 15


@dataclass(frozen=True)
class PolicyServer:
    """A running OpenAI-compatible server.

    Attributes:
        url: Base address of the API, ending in `/v1`.
        model: Name of the model in requests.
        log: File that the server writes to; None if it was already running.
        process: The supervisor that owns the server; None if it was already running.
    """

    url: str
    model: str
    log: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def reused(self) -> bool:
        """Whether the server was already running, and is not stopped at the end."""
        return self.process is None

    async def wait(self) -> None:
        """Wait for a started server, and raise when it ends by itself.

        Raises:
            ArmapError: The server ended; the error's notes are the last lines of its log.
        """
        if self.process is not None and self.log is not None:
            await asyncio.to_thread(self.process.wait)
            raise await asyncio.to_thread(_death, self.process, self.log)


@asynccontextmanager
async def policy_server(
    model: str = DEFAULT_MODEL,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    max_model_len: int = 2048,
    max_num_seqs: int = 128,
    report: Report = silent,
) -> AsyncIterator[PolicyServer]:
    """Serve a model for the length of the block, or use the server that already does.

    Args:
        model: Name of a model of `armap models pull` (pulled if need be), or a model folder, whose
            name then is the served name.
        host: Address to listen on; anything but loopback is open to the network.
        port: Port to listen on.
        max_model_len: Longest prompt and completion together, in tokens.
        max_num_seqs: Sequences decoded side by side; more wait their turn.
        report: Receives one line of progress at a time, from several threads.

    Raises:
        ConfigurationError: There is no such model.
        ArmapError: The port is taken, vLLM could not be installed, or it ended while starting.
    """
    name, folder = await asyncio.to_thread(resolve_model, model, report)
    with ExitStack() as held:
        if await _find_or_claim(name, host, port, held, report):
            yield PolicyServer(url=_url(host, port), model=name)
            return
        program = await asyncio.to_thread(vllm_program, report)
        command = [str(program), "serve", str(folder), "--served-model-name", name]
        command += ["--host", host, "--port", str(port)]
        command += vllm_flags(max_model_len, max_num_seqs, gpu=has_nvidia_gpu())
        log = cache_folder() / "logs" / f"policy-{port}.log"
        process = await asyncio.to_thread(_start, command, vllm_variables(program), log)
        try:
            await _wait_until_healthy(process, name, host, port, log, report)
            yield PolicyServer(url=_url(host, port), model=name, log=log, process=process)
        finally:
            process.terminate()
            await asyncio.shield(asyncio.to_thread(process.wait))


def vllm_flags(max_model_len: int, max_num_seqs: int, *, gpu: bool) -> list[str]:
    """Return the options of `vllm serve` that suit the machine."""
    flags = ["--max-model-len", str(max_model_len), "--max-num-seqs", str(max_num_seqs)]
    flags += ["--enable-prefix-caching"]
    if not gpu:
        # Compiling takes minutes and gains nothing at this size. A prompt must never be read in
        # two pieces: with a seeded request that kills the engine ("CPU Generator does not use
        # offset").
        dtype = "bfloat16" if cpu_multiplies_bfloat16() else "float32"
        flags += ["--enforce-eager", "--dtype", dtype, "--no-enable-chunked-prefill"]
        flags += ["--max-num-batched-tokens", str(max(8192, max_model_len))]
        # The prefix cache keeps whole blocks: with the default of 128 tokens a short turn at the
        # end of a prompt makes the server read up to 127 known tokens again.
        flags += ["--block-size", "32"]
    return flags


def vllm_variables(program: Path) -> dict[str, str]:
    """Return the environment variables for the server, on top of the inherited ones."""
    variables = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if has_nvidia_gpu():
        return variables
    # By default vLLM leaves a core idle; using all of them about doubled the rate on two.
    cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
    # A step of many long prompts can take minutes here; by default vLLM gives itself up after five.
    variables["VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS"] = "3600"
    gigabytes = "1" if cpu_multiplies_bfloat16() else "2"  # room for as many tokens in float32
    variables |= {"VLLM_CPU_KVCACHE_SPACE": gigabytes, "VLLM_CPU_OMP_THREADS_BIND": cores}
    openmp = program.parent.parent / "lib" / "libiomp5.so"
    if openmp.exists():
        variables["LD_PRELOAD"] = str(openmp)
    return variables


async def _find_or_claim(model: str, host: str, port: int, held: ExitStack, report: Report) -> bool:
    """Return True if `model` is already served there; else False, with the port claimed.

    Another command may be starting the same server, or a stopped one may not have let go of the
    port yet: both are waited for.
    """
    started = time.monotonic()
    while True:
        served = await _served_models(host, port)
        if served is not None:
            if model in served:
                return True
            raise ArmapError(
                f"{host}:{port} already serves {', '.join(served) or 'something else'}, not "
                f"{model}: stop that server, or choose another port with --port."
            )
        with ExitStack() as attempt:
            claimed = attempt.enter_context(try_lock(f"policy-{port}"))
            if claimed and _port_is_free(host, port):
                held.enter_context(attempt.pop_all())
                return False
        waited = time.monotonic() - started
        if claimed and waited > PORT_GRACE_SECONDS:
            raise ArmapError(
                f"{host}:{port} is used by another program: stop it, or choose another port with "
                "--port."
            )
        report(f"waiting for {host}:{port}, {waited:.0f} s")
        await asyncio.sleep(POLL_SECONDS)


async def _served_models(host: str, port: int) -> list[str] | None:
    """Return the models a server there names ([] if it is no such server), None if none answers."""
    try:
        async with httpx.AsyncClient(timeout=PROBE_SECONDS, trust_env=False) as client:
            answer = await client.get(f"{_url(host, port)}/models")
    except httpx.TransportError:
        return None
    try:
        return [str(entry["id"]) for entry in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return []


def _port_is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _start(command: list[str], variables: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    # OMP_NUM_THREADS would override the cores given to vLLM, and without its bytecode cache each
    # start takes a minute longer; the rest describes our environment, not vLLM's.
    ignored = ("OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME")
    environment = {key: value for key, value in os.environ.items() if key not in ignored}
    supervisor = [sys.executable, "-I", str(supervise.__file__), str(os.getpid())]
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603
            supervisor + command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment | variables,
            start_new_session=True,
        )


async def _wait_until_healthy(
    process: subprocess.Popen[bytes], model: str, host: str, port: int, log: Path, report: Report
) -> None:
    started = time.monotonic()
    async with httpx.AsyncClient(timeout=PROBE_SECONDS, trust_env=False) as client:
        while True:
            if process.poll() is not None:
                raise await asyncio.to_thread(_death, process, log)
            waited = time.monotonic() - started
            if waited > START_SECONDS:
                raise ArmapError(f"vLLM was not ready after {waited:.0f} s; its log is {log}.")
            report(f"starting vLLM with {model}, {waited:.0f} s (a minute or two on a CPU)")
            try:
                answer = await client.get(f"{_url(host, port).removesuffix('/v1')}/health")
                if answer.status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass  # Not listening yet: this loop is the handling.
            await asyncio.sleep(POLL_SECONDS)


def _death(process: subprocess.Popen[bytes], log: Path) -> ArmapError:
    """Return the error for a server that ended by itself, with its log's last lines as a note."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    error = ArmapError(f"vLLM ended: {_cause(process.returncode, lines)}; its log is {log}.")
    error.add_note("\n".join(lines[-LOG_TAIL_LINES:]))
    return error


def _cause(status: int, lines: list[str]) -> str:
    if status == 128 + 9 or any("SIGKILL" in line for line in lines[-LOG_TAIL_LINES:]):
        return "it was killed, most likely for lack of memory (it needs about 4 GB)"
    # The first error is the cause; what follows it are other processes that miss the first one.
    pattern = re.compile(r"\b((?:\w+\.)*\w*(?:Error|Exception)): (.+)")
    for line in lines:
        if match := pattern.search(line):
            return f"{match[1]}: {match[2]}"[:200]
    return f"exit status {status}"


def _url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{port}/v1"
