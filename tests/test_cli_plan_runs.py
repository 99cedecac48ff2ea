"""`armap plan` with real runs: going on with them, one process at a time, and what it shows."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from maze import TASK
from plan_command import (
    POLICY,
    Plan,
    Planned,
    asking,
    plan,
    planned,
    record,
    refused,
    served,
    unchecked,
    write,
)

from armap_agents import resources
from armap_agents.cli import planning
from armap_agents.graphs import mcts
from armap_agents.locks import only_writer
from armap_agents.testing import Fault, scripted_policy
from armap_agents.trace import read_events

__all__ = ["plan", "planned", "unchecked"]  # fixtures


# --- going on -------------------------------------------------------------------------------------


def test_a_resume_goes_on_with_the_newest_context(
    plan: Plan, planned: Planned, tmp_path: Path
) -> None:
    path = record(tmp_path, "R", rollouts=32)
    (event,) = read_events(path)
    for k, rollouts in enumerate((100, 300)):
        changed = event["context"] | {"rollouts": rollouts}
        name = f"context/{k}"
        write(path.parent, {"id": name, "kind": "context", "time": 6.0 + k, "context": changed})
    assert plan("--resume", "R")[0] == 0
    assert plan("--resume", "R", "--parallel", "2")[0] == 0
    assert [context.rollouts for _, _, context in planned] == [300, 300]


def test_a_resume_records_what_it_went_on_with(plan: Plan) -> None:
    with served(scripted_policy()) as server:
        chosen = ["--planner", "mcts[value_weight=0]", "--reward", "luck", "--run", "R"]
        assert plan("maze", "0", *chosen, "--rollouts", "4", *asking(server))[0] == 0
        assert plan("--resume", "R", "--rollouts", "9")[0] == 0
        status, shown, _ = plan("--resume", "R")
    assert status == 0
    assert "9 rollouts (0 failures)" in " ".join(shown.split())


def test_a_run_that_waits_for_a_person_goes_on_without(plan: Plan, tmp_path: Path) -> None:
    async def ask(url: str) -> None:
        context = {"policy_url": url, "policy_model": "scripted", "reward": "luck", "run": "R"}
        graph = mcts.builder.compile(checkpointer=InMemorySaver())
        async with resources(tmp_path):
            out = await graph.ainvoke(
                {"task": TASK},
                {"configurable": {"thread_id": "1"}},
                context=context | {"rollouts": 4, "review": True},
            )
        assert "__interrupt__" in out

    with served(scripted_policy()) as server:
        asyncio.run(ask(server.url))
        status, shown, errors = plan("--resume", "R")
    assert status == 0, errors
    assert "look into it with `armap trace R`" in shown


# --- one process at a time ------------------------------------------------------------------------

HOLDER = """\
import sys, time
from pathlib import Path
from armap_agents.locks import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("how", ["--resume", "--replay"])
def test_another_process_may_not_write_the_run(
    plan: Plan, unchecked: None, tmp_path: Path, how: str
) -> None:
    before = record(tmp_path, "R", reward="luck").read_bytes()
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "R")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        line = refused(plan(how, "R"))
        holder.kill()
    assert "is being written by another process: wait for it, or use another run" in line
    assert (tmp_path / "R" / "trace.jsonl").read_bytes() == before
    with only_writer(tmp_path / "R"):  # a killed process lets go of it
        pass


@pytest.mark.parametrize("run", ["../outside", ".hidden"])
def test_a_run_has_a_plain_name(plan: Plan, unchecked: None, tmp_path: Path, run: str) -> None:
    chosen = ["--planner", "sampling", "--run", run]
    assert "is no name for a run" in refused(plan("maze", "0", *chosen, *POLICY))
    assert not (tmp_path / run).exists()


# --- what it shows --------------------------------------------------------------------------------


def test_lines_are_not_broken(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    refused(plan("maze", "0", "--planner", "magic"))
    planning.show(answer(rollouts=32, failures=1, candidates=["a", "b", "b"]))
    *_, costs, run = capsys.readouterr().out.splitlines()
    assert costs.startswith("reward 0.500, 32 rollouts")
    assert costs.endswith("rollouts spent")
    assert run.endswith("`armap trace 20260101-000000-abcdef`")


def answer(rollouts: int, failures: int, candidates: list[str]) -> dict[str, Any]:
    usage = {"rollouts": rollouts, "failures": failures, "completions": 1, "scored": 1}
    return {
        "trajectory": {"instruction": "Reach it.", "observation": {"text": "a"}, "steps": []},
        "score": 0.5,
        "stopped": "rollouts spent",
        "usage": usage | {"prompt_tokens": 20, "completion_tokens": 4},
        "run": "20260101-000000-abcdef",
        "candidates": [
            {"trajectory": {"id": name, "status": "failed" if name == "-" else "ended"}}
            for name in candidates
        ],
    }


def test_counts_are_those_of_the_budget(capsys: pytest.CaptureFixture[str]) -> None:
    planning.show(answer(rollouts=32, failures=3, candidates=["a", "b", "b", "-"]))
    words = "32 rollouts (3 failures), 2 different candidates, 1 completion, 24 tokens"
    assert words in " ".join(capsys.readouterr().out.split())
    planning.show(answer(rollouts=1, failures=1, candidates=["a"]))
    words = "1 rollout (1 failure), 1 different candidate, 1 completion"
    assert words in " ".join(capsys.readouterr().out.split())


def test_no_empty_line_stands_before_an_error_under_way(plan: Plan) -> None:
    with served(scripted_policy(faults=lambda _: Fault("status"))) as server:
        chosen = ["--planner", "sampling[policy_retries=0;n=2]"]
        line = refused(plan("maze", "0", *chosen, *asking(server)))
    assert "every rollout failed" in line
