"""The benchmark of scoring leaves no server behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from benchmark_modules import benchmark

SERVER = """#!/bin/sh
echo "Serving at http://127.0.0.1:$$; Ctrl-C stops it." >&2
exec sleep 60
"""


def test_a_client_that_fails_ends_the_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    reward = benchmark("reward")
    armap = tmp_path / "armap"
    armap.write_text(SERVER)
    armap.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    processes: list[int] = []

    def fail() -> None:
        with reward.served(tmp_path) as address:
            processes.append(int(address.rpartition(":")[2]))  # its own id stands for the port
            os.kill(processes[0], 0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(ProcessLookupError):
        os.kill(processes[0], 0)
