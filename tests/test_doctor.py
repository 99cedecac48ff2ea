"""`armap doctor` names what is missing and how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from armap_agents.cli import doctor as command
from armap_agents.cli import machine
from armap_agents.cli.machine import Check, State


def find(name: str) -> Check:
    return next(check for check in machine.checks() if check.name == name)


def test_every_lack_has_a_cure_and_nothing_else_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMAP_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ARMAP_POLICY_URL", raising=False)
    checks = list(machine.checks())
    assert all(bool(check.cure) == (check.state is not State.PRESENT) for check in checks)
    assert find("Model: smollm2-135m-instruct").cure == "armap models pull smollm2-135m-instruct"
    assert find("Java").state is State.OPTIONAL


def test_a_missing_package_of_the_reward_model_fails_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    present = machine._version
    monkeypatch.setattr(machine, "_version", lambda name: None if name == "peft" else present(name))
    check = find("Packages: reward")
    assert (check.state, check.found) == (State.MISSING, "no peft")
    assert check.cure == 'pip install "armap-agents[reward]"'
    with pytest.raises(typer.Exit) as ended:
        command.doctor()
    assert ended.value.exit_code == 1


def test_a_dead_policy_endpoint_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMAP_POLICY_URL", "http://127.0.0.1:9/v1")
    check = find("Policy endpoint")
    assert check.state is State.OPTIONAL
    assert "armap serve policy" in check.cure
