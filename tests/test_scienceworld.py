"""ScienceWorld's index facts, guide and errors: everything that needs no Java."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armap_agents import ArmapError, Task, make_environment
from armap_agents.environment import Environment
from armap_agents.errors import ConfigurationError, EnvironmentFailure
from armap_agents.tools.scienceworld import ScienceWorld
from armap_agents.tools.scienceworld.environment import closest
from armap_agents.tools.scienceworld.tasks import SPLITS, Row, find, rows, task_types

DATA = Path(__file__).parents[2] / "shared" / "data" / "scienceworld"
ETO = {"seen": "dev_indices", "unseen": "test_indices", "eto-train": "train_indices"}

needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"needs ETO's index lists in {DATA}")


def split(name: str) -> set[Row]:
    """A split as a set, with no row twice."""
    assert len(rows(name)) == len(set(rows(name)))
    return set(rows(name))


def test_the_packages_splits_divide_every_variation() -> None:
    ranges = [split(name) for name in ("train", "dev", "test")]
    assert [len(rows_) for rows_ in ranges] == [3592, 1796, 1819]
    everything = {(t.name, v) for t in task_types().values() for v in range(t.variations)}
    assert set().union(*ranges) == everything
    assert len(everything) == 7207
    assert len(task_types()) == 30


def test_each_tasks_ranges_follow_one_another() -> None:
    for task_type in task_types().values():
        assert 0 < task_type.dev < task_type.test < task_type.variations


@needs_data
@pytest.mark.parametrize("name", ETO)
def test_etos_lists_are_etos_in_their_order(name: str) -> None:
    theirs = json.loads((DATA / f"{ETO[name]}.json").read_text())
    assert [list(row) for row in rows(name)] == theirs


@needs_data
def test_step_limits_and_names_are_etos() -> None:
    limits = json.loads((DATA / "max_steps.json").read_text())
    assert {t.name: t.max_steps for t in task_types().values() if t.name in limits} == limits
    assert {t.max_steps for t in task_types().values() if t.name not in limits} == {100}
    numbers = json.loads((DATA / "taskname2id.json").read_text())
    places = {name: place for place, name in enumerate(task_types())}
    assert numbers.items() <= places.items()


def test_the_simulators_names_are_the_packages() -> None:
    constants = pytest.importorskip("scienceworld.constants")
    infer_task = pytest.importorskip("scienceworld.utils").infer_task
    for task_type in task_types().values():
        assert infer_task(task_type.name) == task_type.simulator
    assert {t.simulator for t in task_types().values()} == set(constants.ID2TASK.values())


def test_nothing_that_is_evaluated_may_be_trained_on() -> None:
    evaluated = split("seen") | split("unseen") | split("dev") | split("test")
    pool = split("train-pool")
    assert not pool & evaluated
    assert pool == split("eto-train") - evaluated
    assert len(pool) == 1126
    # Why the pool is not ETO's own training list:
    assert len(split("eto-train") & split("seen")) == 54
    assert len(split("eto-train") & split("dev")) == 357


def test_constants_are_fixed_on_rows_that_no_result_is_reported_on() -> None:
    clean = split("dev-clean")
    assert clean == split("dev") - split("seen") - split("unseen")
    assert not clean & (split("test") | split("train-pool"))
    assert len(clean) == 1602


def test_the_short_set_is_a_stratified_part_of_seen() -> None:
    limits = {t.name: t.max_steps for t in task_types().values()}
    strata = Counter(name for name, _ in split("seen") if limits[name] <= 30)
    short = split("seen-short")
    assert short <= split("seen")
    assert len(short) == 60
    chosen = Counter(name for name, _ in short)
    assert set(chosen) == set(strata)
    share = 60 / strata.total()
    assert all(abs(chosen[name] - strata[name] * share) < 1 for name in strata)


@pytest.mark.parametrize("name", SPLITS)
def test_a_split_lists_tasks_that_can_be_found_and_say_nothing_of_their_goal(name: str) -> None:
    tasks = ScienceWorld().tasks(name)
    assert len(tasks) == len(rows(name))
    for task in tasks:
        task_type, variation = find(task.id)
        assert task.id == f"{task_type.name}/{variation}"
        assert (task.environment, task.split) == ("scienceworld", name)
        assert task.max_steps == task_type.max_steps
        assert task.instruction is None
        assert not task.data


@pytest.mark.parametrize(
    "task_id",
    ["", "boil", "boil/21", "task-1-boil", "task-1-boil/", "task-1-boil/30", "task-1-boil/-1"],
)
async def test_an_unknown_task_is_one_line(task_id: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        await ScienceWorld().reset(Task(task_id, "scienceworld"))
    assert "\n" not in str(error.value)
    assert "task-1-boil/" in str(error.value)


def test_an_unknown_split_is_one_line() -> None:
    with pytest.raises(ConfigurationError, match="no split 'tset': use train, dev, test, seen"):
        ScienceWorld().tasks("tset")


@pytest.mark.parametrize(
    "options",
    [
        {"simplification": "hard"},
        {"simplification": 3},
        {"goal_free": "False"},
        {"match": 1},
        {"move_limit": None},
        {"move_limit": 1.5},
        {"unknown_limit": True},
        {"actions": "all"},
        {"unknown_limit": 0},
        {"move_limit": 0},
        {"gold": True},
    ],
)
def test_an_option_that_does_not_exist_is_one_line(options: dict[str, object]) -> None:
    with pytest.raises(ArmapError) as error:
        make_environment("scienceworld", **options)
    assert "\n" not in str(error.value)


async def test_electrical_tasks_need_electrical_actions() -> None:
    environment = ScienceWorld("noElectricalAction")
    with pytest.raises(ConfigurationError, match="leave noElectricalAction out"):
        await environment.reset(Task("task-2-power-component/0", "scienceworld"))


async def test_a_step_before_any_reset_is_one_line() -> None:
    environment = ScienceWorld()
    with pytest.raises(EnvironmentFailure, match="call reset"):
        await environment.step("look around")
    await environment.close()
    await environment.close()


def test_neither_import_nor_constructor_nor_tasks_nor_guide_start_anything() -> None:
    program = """
import subprocess, sys, threading
subprocess.Popen = None
from armap_agents import make_environment
environment = make_environment("scienceworld")
assert environment.tasks("seen-short") and environment.guide.examples
assert not {"py4j", "scienceworld", "langchain_core"} & set(sys.modules)
assert threading.active_count() == 1
"""
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_missing_java_is_one_line_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("py4j")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    environment = ScienceWorld()
    with pytest.raises(ConfigurationError, match="apt-get install default-jre-headless"):
        await environment.reset(Task("task-1-boil/0", "scienceworld"))
    await environment.close()


async def test_a_missing_package_is_one_line_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scienceworld", None)
    environment = ScienceWorld()
    with pytest.raises(ConfigurationError, match=r'pip install "armap-agents\[scienceworld\]"'):
        await environment.reset(Task("task-1-boil/0", "scienceworld"))
    await environment.close()


def test_it_is_an_environment() -> None:
    environment = make_environment("scienceworld")
    assert isinstance(environment, Environment)
    assert 1 <= ScienceWorld.pool_size <= 2


def test_worked_examples_are_successes_on_tasks_of_the_training_pool() -> None:
    guide = ScienceWorld().guide
    assert 1 <= len(guide.examples) <= 2
    for example in guide.examples:
        assert example.task.id in {task.id for task in ScienceWorld().tasks("train-pool")}
        assert example.instruction.startswith("Your task is to")
        assert example.done
        assert len(example) <= (example.task.max_steps or 0)
        assert all(step.thought for step in example.steps)
    assert "reset" not in guide.text


VALID = ["activate sink", "focus on cup", "look around", "pick up orange", "put down orange"]


@pytest.mark.parametrize(
    ("command", "action"),
    [
        ("activate the sink", "activate sink"),
        ("Pick up the  orange", "pick up orange"),
        ("look arund", "look around"),
        ("look around", None),
        ("Look  Around", None),
        ("qqq", None),
        ("", None),
    ],
)
def test_a_command_is_matched_to_the_most_like_valid_one(command: str, action: str | None) -> None:
    assert closest(command, VALID) == action
    assert closest(command, VALID[::-1]) == action


@given(st.text(max_size=40), st.lists(st.text(max_size=20), max_size=8))
def test_a_match_is_in_the_list_or_none(command: str, valid: list[str]) -> None:
    assert closest(command, valid) in [None, *valid]


async def test_a_java_that_cannot_be_run_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text("garbage")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("ARMAP_CACHE", str(tmp_path / "cache"))
    environment = ScienceWorld()
    with pytest.raises(ConfigurationError, match=r"cannot be run .*: set JAVA_HOME") as caught:
        await environment.reset(Task("task-1-boil/14", "scienceworld"))
    assert "\n" not in str(caught.value)
    await environment.close()
