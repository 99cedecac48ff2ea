"""`armap plan`: what it is told and what it refuses."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from maze import TASK
from plan_command import POLICY, Plan, Planned, plan, planned, record, refused

from armap_agents import ArmapError
from armap_agents.cli import main
from armap_agents.cli.planners import READ_BY
from armap_agents.graphs import PLANNERS
from armap_agents.graphs.checking import checked_task
from armap_agents.graphs.context import PlannerContext

__all__ = ["plan", "planned"]  # fixtures

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


# --- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resume", "R", "--planner", "beam"], "leave out --planner"),
        (["maze", "0", "--resume", "R"], "leave out ENV, TASK"),
        (["--resume", "R", "--run", "foo"], "leave out --run"),
        (["--resume", "R", "--replay", "R"], "leave out --resume"),
        (["--replay", "R", "--rollouts", "3"], "leave out --rollouts"),
        (["--replay", "R", "--policy-style", "chat"], "leave out --policy-style"),
        (["--resume", "R", "-E", "depth=9"], "leave out -E"),
        (["--resume", "R", "--split", "dev"], "leave out --split"),
        (["--resume", "R", "--width", "3"], "mcts does not read width"),
    ],
)
def test_what_would_have_no_effect_beside_a_recorded_run_is_refused(
    plan: Plan, planned: Planned, tmp_path: Path, arguments: list[str], words: str
) -> None:
    record(tmp_path, "R")
    assert words in refused(plan(*arguments))
    assert not planned


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["greedy", "--rollouts", "4"], "greedy does not read rollouts: it has no options of"),
        (["mcts", "--width", "3"], "mcts does not read width: use rollouts, parallel, proposals"),
        (["beam", "--rollouts", "12"], "beam does not read rollouts: use width, proposals"),
        (["best_of_n[rollouts=3]"], "best_of_n does not read rollouts: use n, temperature"),
        (["mcts[width=3]"], "mcts does not read width"),
        (["beam[backup=mean;width=3]"], "beam does not read backup"),
        (["sampling", "--objective", "length=1"], "sampling does not read objective"),
        (["mcts[rollouts=3]", "--rollouts", "4"], "rollouts is given twice"),
    ],
)
def test_an_option_of_another_planner_is_refused(
    plan: Plan, planned: Planned, arguments: list[str], words: str
) -> None:
    assert words in refused(plan("maze", "0", "--planner", *arguments, *POLICY))
    assert not planned


@pytest.mark.parametrize("label", ["best_of_n[rollouts=null;n=3]", "beam[rollouts=null]"])
def test_an_option_of_another_planner_may_be_denied(
    plan: Plan, planned: Planned, label: str
) -> None:
    assert plan("maze", "0", "--planner", label, *POLICY)[0] == 0
    assert planned[0][2].rollouts is None


def test_an_evaluation_refuses_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", "game24", "--planner", "best_of_n[rollouts=3]", *POLICY]
    out = ["--tasks", "901", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["armap", *arguments, *out])
    with pytest.raises(SystemExit):
        main()
    assert "best_of_n does not read rollouts" in capsys.readouterr().err


def test_every_option_of_the_context_has_its_planners() -> None:
    shared = {"environment_options", "max_steps", "rollout_seconds", "seed", "run", "review"}
    shared |= {name for name in PlannerContext.model_fields if name.startswith("policy_")}
    own = {name for names in READ_BY.values() for name in names}
    assert tuple(READ_BY) == PLANNERS
    assert not own & shared
    assert own | shared == set(PlannerContext.model_fields)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "the input names no task"),
        (None, "the input names no task"),
        ({"task": "901"}, "the input names no task"),
        ({"task": {"environment": "game24"}}, "a task needs id"),
        ({"task": TASK | {"environment": 24}}, "a task's environment cannot be 24"),
        ({"task": TASK | {"max_steps": "4"}}, "a task's max_steps cannot be '4'"),
        ({"task": TASK | {"data": [1]}}, "a task's data cannot be [1]"),
    ],
)
def test_a_malformed_task_gets_one_line_with_the_cure(given: Any, words: str) -> None:
    with pytest.raises(ArmapError, match=re.escape(words)) as caught:
        checked_task(given)
    assert "\n" not in str(caught.value)
    assert '"environment": "game24", "id": "901"' in str(caught.value)
    assert checked_task({"task": TASK | {"id": 0, "data": None}}).id == "0"


# --- what it is told ------------------------------------------------------------------------------


def test_budgets_and_thresholds_have_flags(plan: Plan, planned: Planned) -> None:
    flags = ["--tokens", "900", "--environment-steps", "80", "--stop-objective", "0.5"]
    assert plan("maze", "0", "--planner", "mcts", *flags, *POLICY)[0] == 0
    context = planned[0][2]
    assert (context.tokens, context.environment_steps) == (900, 80)
    assert context.stop_objective == 0.5


def test_help_shows_the_brackets(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    _, shown, _ = plan("--help")
    assert "mcts[backup=mean;normalisation=none]" in "".join(shown.split())
    assert {"--tokens", "--environment-steps", "--stop-objective"} <= set(shown.split())


def test_the_environment_names_what_the_command_line_does_not(
    plan: Plan, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMAP_POLICY_URL", "http://other/v1")
    monkeypatch.setenv("ARMAP_REWARD", "elsewhere")
    # The reward model would be refused here if it had been asked for by hand.
    assert plan("maze", "0", "--planner", "sampling")[0] == 0
    assert planned[0][2].policy_url == "http://other/v1"


def test_on_resume_the_environment_overrides_nothing(
    plan: Plan, planned: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path, "R", reward="luck", rollouts=7)
    for name in ("POLICY_URL", "POLICY_MODEL", "POLICY_API_KEY_ENV", "REWARD"):
        monkeypatch.setenv(f"ARMAP_{name}", "http://other/v1")
    assert plan("--resume", "R")[0] == 0
    assert plan("--resume", "R", "--reward", "value", "--policy-style", "completion")[0] == 0
    kept, changed = (context for _, _, context in planned)
    assert (kept.policy_url, kept.policy_model) == ("http://was/v1", "m")
    assert (kept.policy_api_key_env, kept.reward, kept.rollouts) == (None, "luck", 7)
    assert (changed.reward, changed.policy_style) == ("value", "completion")
    assert changed.policy_url == "http://was/v1"


def test_an_address_that_was_not_written_down_comes_from_the_environment(
    plan: Plan, planned: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path, "R", policy_url=None)
    monkeypatch.setenv("ARMAP_POLICY_URL", "http://me:secret@here/v1")
    assert plan("--resume", "R")[0] == 0
    assert planned[0][2].policy_url == "http://me:secret@here/v1"


# --- the README -----------------------------------------------------------------------------------


def shown_commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    parts = [part for line in lines for part in line.split(" -- ") if "/armap plan " in part]
    return [shlex.split(part)[2:] for part in parts]


def test_the_plans_of_the_readme_are_understood(
    plan: Plan, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in shown_commands():
        assert plan(*command)[0] == 0
    assert len(planned) == 4
    assert {task["environment"] for _, task, _ in planned} == {"game24", "webshop", "scienceworld"}
    by_value = next(context for _, _, context in planned if context.value_weight == 1)
    assert (by_value.selection, by_value.exploration, by_value.parallel) == ("uct", 0.1, 1)
    assert (by_value.completions, by_value.rollouts, by_value.proposals) == (96, None, 40)


def test_the_readme_lists_options_that_planners_read() -> None:
    rows = re.findall(r"^\| (`[a-z_`, ]+) \| .* \| (.*) \|$", README, re.M)
    assert len(rows) == 5
    for names, options in rows:
        *_, planner = re.findall(r"`(\w+)`", names)
        assert set(re.findall(r"`(\w+)`", options)) <= set(READ_BY[planner])
