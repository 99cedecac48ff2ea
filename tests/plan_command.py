"""`armap plan` in the process of a test: running it, recording what it would run, faking runs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from maze import TASK, register_maze

from armap_agents.cli import main
from armap_agents.cli import plan as plan_module
from armap_agents.cli.planners import planner_context
from armap_agents.graphs.context import PlannerContext
from armap_agents.testing import ScriptedServer

POLICY = ["--policy-url", "http://127.0.0.1:9/v1", "--policy-model", "m"]

Plan = Callable[..., tuple[int, str, str]]
Planned = list[tuple[str, dict[str, Any], PlannerContext]]


@pytest.fixture
def plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Plan:
    """Runs `armap plan` in this process; returns its status, output and errors."""
    register_maze()
    monkeypatch.setenv("ARMAP_RUNS", str(tmp_path))
    for name in ("POLICY_URL", "POLICY_MODEL", "POLICY_API_KEY_ENV", "REWARD"):
        monkeypatch.delenv(f"ARMAP_{name}", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["armap", "plan", *arguments])
        status: Any = 0
        try:
            main()
        except SystemExit as end:
            status = end.code
        shown = capsys.readouterr()
        return status or 0, shown.out, shown.err

    return run


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Planned:
    """What would have been run."""
    found: Planned = []

    async def plan_task(planner: str, task: dict[str, Any], context: PlannerContext) -> None:
        found.append((planner, task, context))

    monkeypatch.setattr(plan_module, "plan_task", plan_task)
    monkeypatch.setattr(plan_module, "show", lambda _: None)
    return found


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks whether the endpoint is there."""

    async def there(self: Any) -> None: ...

    monkeypatch.setattr("armap_agents.policy.Policy.check", there)


@contextmanager
def served(scripted: AbstractAsyncContextManager[ScriptedServer]) -> Iterator[ScriptedServer]:
    """Run a scripted server, which has a thread of its own, beside a command in this one."""
    with asyncio.Runner() as runner:
        server = runner.run(scripted.__aenter__())
        try:
            yield server
        finally:
            runner.run(scripted.__aexit__(None, None, None))


def asking(server: ScriptedServer) -> list[str]:
    """Return the options that name a scripted server."""
    return ["--policy-url", server.url, "--policy-model", "scripted"]


def record(runs: Path, run: str, planner: str = "mcts", **options: Any) -> Path:
    """Write the first event of a run."""
    context = planner_context({"policy_url": "http://was/v1", "policy_model": "m", **options})
    event = {
        "id": "run",
        "kind": "run",
        "time": 5.0,
        "planner": planner,
        "parent": None,
        "settings": {"task": TASK},
        "context": context.model_dump(mode="json", exclude={"run"}),
    }
    return write(runs / run, event)


def write(folder: Path, *events: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "trace.jsonl"
    with path.open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
    return path


def refused(outcome: tuple[int, str, str]) -> str:
    status, _, shown = outcome
    assert status == 1
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    return shown
