"""A command that runs as a part of another one ends with it, however that ends."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from armap_agents.cli import demo
from armap_agents.cli.processes import run_to_end
from armap_agents.testing import scripted_policy

# Runs a command, as `armap demo` runs its training, and says which way it left.
OWNER = """\
import asyncio, sys
from armap_agents.cli.processes import run_to_end
sys.exit(asyncio.run(run_to_end(sys.argv[1:], {})))
"""
# Says whether it has the terminal, and waits, with a child that ignores polite requests.
COMMAND = """\
import os, pathlib, subprocess, sys, time
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True)
mine = sys.stdout.isatty() and os.tcgetpgrp(1) == os.getpgrp()
path = pathlib.Path(sys.argv[1])
path.with_suffix(".new").write_text(f"{os.getpid()} {child.pid} {mine}")
path.with_suffix(".new").rename(path)
time.sleep(600)
"""


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_for(path: Path) -> list[str]:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, "the command did not start"
        time.sleep(0.05)
    return path.read_text().split()


def wait_until_ended(*pids: int) -> None:
    deadline = time.monotonic() + 60
    while not all(ended(pid) for pid in pids):
        assert time.monotonic() < deadline, "the command or its child outlived its owner"
        time.sleep(0.05)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_command_does_not_outlive_its_owner(tmp_path: Path, end: signal.Signals) -> None:
    report = tmp_path / "report"
    inner = [sys.executable, "-c", COMMAND, str(report)]
    with subprocess.Popen([sys.executable, "-c", OWNER, *inner]) as owner:
        command, child, _ = wait_for(report)
        owner.send_signal(end)
    wait_until_ended(int(command), int(child))


def test_a_command_has_the_terminal_and_ends_at_ctrl_c(tmp_path: Path) -> None:
    report = tmp_path / "report"
    owner, terminal = pty.fork()
    if owner == 0:
        os.execv(
            sys.executable,
            [sys.executable, "-c", OWNER, sys.executable, "-c", COMMAND, str(report)],
        )
    command, child, has_terminal = wait_for(report)
    assert has_terminal == "True"
    os.write(terminal, b"\x03")
    wait_until_ended(int(command), int(child), owner)
    assert os.waitstatus_to_exitcode(os.waitpid(owner, 0)[1]) != 0
    os.close(terminal)


async def test_an_interrupted_command_of_serve_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    report = tmp_path / "report"
    async with scripted_policy(models=("tiny",)) as server:
        port = server.url.removesuffix("/v1").rpartition(":")[2]
        serve = ["serve", "policy", "--model", str(tmp_path / "tiny"), "--port", port, "--"]
        inner = [sys.executable, "-c", COMMAND, str(report)]
        with subprocess.Popen([sys.executable, "-m", "armap_agents", *serve, *inner]) as armap:
            command, child, _ = wait_for(report)
            armap.send_signal(signal.SIGINT)
        assert armap.returncode == 130
    wait_until_ended(int(command), int(child))


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["sh", "-c", 'test "$WORD" = here'], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], 128 + 9),
        (["no-such-program"], 127),
    ],
)
async def test_the_exit_status_is_passed_on(
    command: list[str], status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert await run_to_end(command, {"WORD": "here"}) == status
    said = capfd.readouterr().err
    assert ("cannot run no-such-program" in said) == (status == 127)
    assert "Traceback" not in said


def test_hints_name_the_program_as_it_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / ".venv" / "bin" / "armap"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path)
    assert demo._as_called(".venv/bin/armap") == ".venv/bin/armap"
    assert demo._as_called(str(program)) == ".venv/bin/armap"
    monkeypatch.chdir("/")
    assert demo._as_called(str(program)).endswith("/.venv/bin/armap")
    monkeypatch.setenv("PATH", str(program.parent))
    assert demo._as_called(str(program)) == "armap"
