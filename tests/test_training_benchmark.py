"""The learning benchmark measures what it says: labels, siblings, macro average, AUROC."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pytest
from benchmark_modules import benchmark

from armap_agents.errors import ConfigurationError
from armap_agents.tools.game24 import Game24
from armap_agents.tools.game24.arithmetic import numbers_left
from armap_agents.tools.game24.environment import play, puzzle_task
from armap_agents.tools.game24.solver import solvable
from armap_agents.training.records import Dataset, Pair, bare


@pytest.fixture(scope="module")
def learning() -> ModuleType:
    pytest.importorskip("torch")
    return benchmark("learning")


@pytest.fixture
def solved(learning: ModuleType) -> ModuleType:
    """The module of the pairs; `learning` imports it."""
    return benchmark("solved_pairs")


def test_solver_knows_easy_and_impossible_hands() -> None:
    assert solvable(numbers_left([3, 3, 8, 8]))
    assert solvable(numbers_left([24]))
    assert not solvable(numbers_left([1, 1, 1, 1]))
    assert not solvable(numbers_left(["8/3", 8]))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_pairs_are_labelled_by_search_and_half_are_siblings(solved: ModuleType, depth: int) -> None:
    pairs = solved.evaluation_pairs("dev", depth, 400)
    assert len(pairs) >= 390
    assert {pair.task for pair in pairs} == {task.id for task in Game24().tasks("dev")}
    siblings = 0
    for pair in pairs:
        assert len(pair.solvable) == len(pair.dead) == depth
        assert solvable(solved.state(pair.solvable))
        assert not solvable(solved.state(pair.dead))
        siblings += pair.solvable.actions[:-1] == pair.dead.actions[:-1]
    assert siblings >= len(pairs) / 2
    assert solved.evaluation_pairs("dev", depth, 400) == pairs


def test_accuracy_is_averaged_over_puzzles_and_ties_count_half(
    learning: ModuleType, solved: ModuleType
) -> None:
    pairs = solved.evaluation_pairs("dev", 3, 200)
    checked = solved.accuracy(pairs, learning.baselines()["string check"])
    assert solved.summary(checked)["accuracy"] == 1.0
    flat = solved.summary(solved.accuracy(pairs, lambda trajectories: [0.0] * len(trajectories)))
    assert flat["accuracy"] == 0.5
    uneven = solved.summary({"a": [1.0], "b": [0.0, 0.0, 0.0]})
    assert uneven["accuracy"] == 0.5
    assert uneven["pairs"] == 4
    low, high = uneven["ci95"]
    assert low == 0.0
    assert high == 1.0


def test_auroc(learning: ModuleType) -> None:
    assert learning.auroc([2, 3], [0, 1]) == 1.0
    assert learning.auroc([0], [1]) == 0.0
    assert learning.auroc([1, 1], [1, 1]) == 0.5
    assert learning.auroc([1, 3], [2, 0]) == 0.75


def test_controls_change_the_instruction_and_nothing_else(learning: ModuleType) -> None:
    pair = learning.evaluation_pairs("dev", 2, 100)[0]
    mute, other = (
        change(pair.solvable) for change in (learning.without_instruction, learning.another_target)
    )
    assert mute.instruction == ""
    assert re.search(r"to make \d+\.$", other.instruction)
    assert not other.instruction.endswith("make 24.")
    assert other.instruction == learning.another_target(pair.dead).instruction, "one a puzzle"
    for changed in (mute, other):
        assert changed.steps == pair.solvable.steps


def test_surface_model_learns_what_surface_features_tell(learning: ModuleType) -> None:
    good = play(puzzle_task([1, 4, 8, 8]), ("8 / 4 = 2", "2 + 1 = 3", "8 * 3 = 24"))
    bad = play(puzzle_task([1, 4, 8, 8]), ("8 - 8 = 0", "4 - 1 = 3", "3 + 0 = 3"))
    trajectories = {"good": bare(good), "bad": bare(bad)}
    pair = Pair("game24", good.instruction, "good", 3, "bad", 3, "t")
    score = learning.surface_model(Dataset(trajectories, [pair]))
    high, low = score([good, bad])
    assert high > low
    assert score([good.prefix(2)]) == [0.0], "no training pair has this length"


def test_results_of_other_options_are_refused(learning: ModuleType, tmp_path: Path) -> None:
    result = tmp_path / "seed-0" / "fraction-1" / "result.json"
    result.parent.mkdir(parents=True)
    figures = {"accuracy": {}, "controls": {}}
    result.write_text(json.dumps(figures))
    defaults = learning.Options()
    assert learning.run_one(tmp_path, 0, 1.0, defaults)["options"] == asdict(defaults)
    with pytest.raises(ConfigurationError, match="made with other options"):
        learning.run_one(tmp_path, 0, 1.0, learning.Options(minutes=1.0))


def test_distinct_pairs_are_no_more_than_pairs(solved: ModuleType) -> None:
    distinct = solved.distinct_pairs("dev", 400)
    assert set(distinct) == set(solved.DEPTHS.values())
    for depth, name in solved.DEPTHS.items():
        assert 0 < distinct[name] <= len(solved.evaluation_pairs("dev", depth, 400))
