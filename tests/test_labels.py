"""Labels by true scores and by reward models: whose word, on which tasks, and nowhere else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armap_agents import (
    FunctionReward,
    Observation,
    Status,
    Step,
    StepResult,
    Task,
    Trajectory,
    register_environment,
    register_reward,
    resources,
)
from armap_agents.cli.label import By
from armap_agents.cli.label import label as label_command
from armap_agents.errors import ConfigurationError
from armap_agents.graphs import best_of_n
from armap_agents.reward.calibration import Calibration
from armap_agents.reward.render import Rendering
from armap_agents.reward.settings import EnvironmentSettings, Settings
from armap_agents.testing import scripted_policy
from armap_agents.tools.game24 import Game24
from armap_agents.training.episodes import find_episodes, training_tasks
from armap_agents.training.labels import certain, graded, label_data, pairs_of
from armap_agents.training.recalibrate import recalibrate
from armap_agents.training.records import PAIRS, TRAJECTORIES, load_dataset, trajectory_line

DOORS = ("red", "green", "blue")


class Vault:
    """Two doors, each with a share of the loot behind it; a third door ends the episode."""

    name = "vault"
    restorable = True
    pool_size = 8
    asked = 0

    def __init__(self) -> None:
        self._path: list[str] = []
        self.instruction = ""

    def tasks(self, split: str) -> list[Task]:
        ids = {"train": range(6), "dev": range(6, 8), "test": range(8, 10)}[split]
        return [Task(str(k), self.name, split, max_steps=2) for k in ids]

    async def reset(self, task: Task) -> Observation:
        self._path = []
        self.instruction = f"Rob vault {task.id}."
        return Observation("You stand before three doors.", DOORS)

    async def step(self, action: str) -> StepResult:
        self._path.append(action)
        seen = Observation(f"Behind you: {', '.join(self._path)}.", DOORS)
        return StepResult(seen, len(self._path) == 2 or action == "blue")

    def true_score(self) -> float:
        Vault.asked += 1
        return self._path.count("red") / 2

    async def close(self) -> None: ...


class Silent(Vault):
    """Nobody may ask."""

    def true_score(self) -> float:
        raise AssertionError("somebody asked for the true score")


class Reds(FunctionReward):
    """Counts red doors, and says what its scores mean."""

    def __init__(self) -> None:
        super().__init__(lambda t: float(t.actions.count("red")), "reds-1")
        self.preference = Calibration(1.0, 1.0, 0.0, 0.5, 10).preference


@pytest.fixture(autouse=True)
def _registered() -> None:
    register_environment("vault", Vault)
    register_reward("reds", Reds)


def explored(folder: Path, ids: Sequence[int]) -> Path:
    """A data folder of explored episodes: four a task, one of them under way."""
    folder.mkdir()
    lines = []
    for k in ids:
        task = Task(str(k), "vault")
        for doors in (("red", "red"), ("red", "green"), ("green", "green"), ("blue",), ("red",)):
            seen = Trajectory(task, "Look around.", Observation("Doors."))
            for door in doors:
                seen = seen.extended(Step(door, Observation("A door.")))
            open_ = doors == ("red",)
            lines.append(replace(seen, status=Status.OPEN if open_ else Status.LIMIT))
    (folder / TRAJECTORIES).write_text("".join(map(trajectory_line, lines)), "utf-8")
    (folder / PAIRS).write_text("", "utf-8")
    return folder


async def searched(folder: Path, ids: Sequence[int], environment: str = "vault") -> Path:
    """The runs of Best-of-N on some tasks."""
    graph: Any = best_of_n.graph
    async with scripted_policy() as server, resources(folder):
        for k in ids:
            await graph.ainvoke(
                {"task": {"environment": environment, "id": str(k), "max_steps": 2}},
                context={
                    "policy_url": server.url,
                    "policy_model": "scripted",
                    "reward": "reds",
                    "n": 12,
                    "temperature": 1.0,
                    "run": f"run-{k}",
                },
            )
    return folder


# --- sources --------------------------------------------------------------------------------------


async def test_explored_episodes_are_ordered_by_their_true_scores(tmp_path: Path) -> None:
    source = explored(tmp_path / "explored", range(6))
    report = await label_data(Vault, source, tmp_path / "out", "environment")
    data = load_dataset(tmp_path / "out")
    assert report["counts"]["pairs"] == len(data.pairs) == 6 * 5  # of 6, one is a tie
    for pair in data.pairs:
        better, worse = data.trajectories[pair.chosen], data.trajectories[pair.rejected]
        assert better.actions.count("red") > worse.actions.count("red")
        assert (pair.source, pair.label) == ("environment", 1.0)
        assert pair.instruction == f"Rob vault {pair.task}."  # and not "Look around."
        assert pair.chosen_steps == len(better)
        assert better.status is Status.ENDED
    truth = {value.trajectory: value.successes for value in data.values}
    assert truth == {t.id: t.actions.count("red") / 2 for t in data.trajectories.values()}


async def test_what_a_search_found_is_labelled_softly_by_either(tmp_path: Path) -> None:
    runs = await searched(tmp_path / "runs", range(3))
    await label_data(Vault, runs, tmp_path / "true", "environment")
    await label_data(Vault, runs, tmp_path / "learned", "reward", model=Reds(), most=4)
    for name, source in (("true", "search-environment"), ("learned", "search-reward")):
        data = load_dataset(tmp_path / name)
        assert {pair.task for pair in data.pairs} == {"0", "1", "2"}
        for pair in data.pairs:
            better, worse = data.trajectories[pair.chosen], data.trajectories[pair.rejected]
            gap = better.actions.count("red") - worse.actions.count("red")
            assert gap > 0
            likely = 0.5 + gap / 4 if name == "true" else Reds().preference(gap, 0)
            assert pair.label == pytest.approx(likely)
            assert pair.source == source
        assert bool(data.values) == (name == "true")
    counts = Counter(pair.task for pair in load_dataset(tmp_path / "learned").pairs)
    assert max(counts.values()) == 4


async def test_a_reward_models_labels_never_ask_for_a_true_score(tmp_path: Path) -> None:
    runs = await searched(tmp_path / "runs", range(2))
    report = await label_data(Silent, runs, tmp_path / "out", "reward", model=Reds())
    assert report["counts"]["pairs"] > 0


async def test_evaluated_tasks_are_passed_over(tmp_path: Path) -> None:
    runs = await searched(tmp_path / "runs", [0, 6, 8])
    report = await label_data(Vault, runs, tmp_path / "out", "environment")
    assert {pair.task for pair in load_dataset(tmp_path / "out").pairs} == {"0"}
    assert report["counts"]["left out: not a training task"] == 2
    Vault.asked = 0
    source = explored(tmp_path / "explored", range(6, 10))
    with pytest.raises(ConfigurationError, match="no episodes of vault's training tasks"):
        await label_data(Vault, source, tmp_path / "none", "environment")
    assert Vault.asked == 0


def test_training_tasks_are_those_that_data_is_made_from() -> None:
    assert list(training_tasks(Vault())) == [str(k) for k in range(6)]
    ranks = training_tasks(Game24()).keys()
    assert "1" in ranks
    assert not ranks & {str(rank) for rank in range(801, 1001)}


async def test_runs_lie_where_planners_and_evaluations_put_them(tmp_path: Path) -> None:
    runs = await searched(tmp_path / "evaluation" / "runs", [1, 2])
    for place, ids in ((runs, "12"), (runs.parent, "12"), (runs / "run-2", "2")):
        found, of_searches = find_episodes(place, Vault(), Counter())
        assert "".join(each.task.id for each in found) == ids
        assert of_searches


async def test_an_episode_that_ends_elsewhere_is_left_out(tmp_path: Path) -> None:
    runs = await searched(tmp_path / "runs", [0])

    class Moved(Vault):
        async def step(self, action: str) -> StepResult:
            result = await super().step(action)
            return replace(result, observation=Observation("It is dark.", DOORS))

    report = await label_data(Moved, runs, tmp_path / "out", "environment")
    assert "pairs" not in report["counts"]
    assert report["counts"]["left out: not repeatable"] > 0


async def test_what_cannot_be_labelled_is_one_line(tmp_path: Path) -> None:
    source = explored(tmp_path / "explored", range(2))
    runs = await searched(tmp_path / "runs", [0])
    out = tmp_path / "out"
    with pytest.raises(ConfigurationError, match="a folder of runs"):
        await label_data(Vault, source, out, "reward", model=Reds())
    with pytest.raises(ConfigurationError, match="--reward MODEL"):
        await label_data(Vault, runs, out, "reward")
    with pytest.raises(ConfigurationError, match="not calibrated"):
        await label_data(Vault, runs, out, "reward", model=FunctionReward(len, "len"))
    with pytest.raises(ConfigurationError, match="no episodes"):
        await label_data(Vault, tmp_path / "nothing", out, "environment")


# --- the folder -----------------------------------------------------------------------------------


async def test_a_kill_repeats_nothing_and_other_settings_are_refused(tmp_path: Path) -> None:
    source = explored(tmp_path / "explored", range(6))
    whole, out = tmp_path / "whole", tmp_path / "out"
    await label_data(Vault, source, whole, "environment", most=3)

    def killed(done: int, total: int, counts: Counter[str]) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await label_data(Vault, source, out, "environment", most=3, progress=killed)
    Vault.asked = 0
    await label_data(Vault, source, out, "environment", most=3)
    assert Vault.asked == 4 * 4
    for name in (PAIRS, TRAJECTORIES, "values.jsonl", "report.json", "README.md"):
        assert (out / name).read_text("utf-8") == (whole / name).read_text("utf-8")
    with pytest.raises(ConfigurationError, match="seed"):
        await label_data(Vault, source, out, "environment", most=3, seed=1)


async def test_the_card_says_that_true_scores_are_not_self_made(tmp_path: Path) -> None:
    source = explored(tmp_path / "explored", range(2))
    await label_data(Vault, source, tmp_path / "out", "environment")
    assert "not self-made" in (tmp_path / "out" / "README.md").read_text("utf-8")
    for name in (TRAJECTORIES, PAIRS):
        assert "true_score" not in (tmp_path / "out" / name).read_text("utf-8")


def test_the_command_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = explored(tmp_path / "explored", range(2))
    label_command("vault", source, tmp_path / "out", By.ENVIRONMENT)
    assert "pairs" in capsys.readouterr().out
    assert len(load_dataset(tmp_path / "out").pairs) == 10


# --- labels ---------------------------------------------------------------------------------------

chances = st.floats(0, 1, allow_nan=False)


@given(chances, chances)
def test_soft_labels_are_the_chance_to_beat_with_ties_split(a: float, b: float) -> None:
    by_cases = sum(
        (a if x else 1 - a) * (b if y else 1 - b) * (0.5 if x == y else float(x > y))
        for x in (0, 1)
        for y in (0, 1)
    )
    assert graded(a, b) == pytest.approx(by_cases)
    assert graded(a, b) + graded(b, a) == pytest.approx(1)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=6), st.integers(1, 20))
def test_pairs_put_the_better_first_and_leave_ties_out(scores: list[float], most: int) -> None:
    def episode(k: int) -> Trajectory:
        return Trajectory(Task("t", "e"), "do", Observation(str(k)), status=Status.ENDED)

    episodes = [(episode(k), score) for k, score in enumerate(scores)]
    worth = {trajectory.id: score for trajectory, score in episodes}
    differing = sum(a != b for k, a in enumerate(scores) for b in scores[:k])
    for preference in (certain, graded):
        pairs = pairs_of(episodes, preference, "search-environment", most, Random(0))
        assert len(pairs) == min(most, differing)
        assert len({(p.chosen, p.rejected) for p in pairs}) == len(pairs)
        for pair in pairs:
            a, b = worth[pair.chosen], worth[pair.rejected]
            assert a > b
            assert pair.label == preference(a, b)


# --- recalibration --------------------------------------------------------------------------------


def saved(folder: Path, environment: str = "vault") -> Path:
    known = EnvironmentSettings(Rendering(), 0.5, 2.0, Calibration(0.7, 1.0, 0.0, 0.5, 10))
    backbone = {"kind": "minilm", "weights": "w", "sha256": "s", "options": {}}
    settings = Settings(backbone, {environment: known, "other": known})
    folder.mkdir()
    (folder / "reward.json").write_text(json.dumps(settings.to_dict()), "utf-8")
    (folder / "heads.safetensors").write_bytes(b"weights")
    return folder


async def test_recalibrated_chances_are_the_environments_word(tmp_path: Path) -> None:
    source = explored(tmp_path / "explored", range(6))
    model, out = saved(tmp_path / "model"), tmp_path / "new"
    before = (model / "reward.json").read_text("utf-8")
    fitted = await recalibrate(Reds(), model, out, Vault, source)
    assert (fitted.source, fitted.examples, fitted.base_rate) == ("environment", 24, 0.25)
    good, poor = fitted.probability([2.0, 1.0])
    assert good > 0.8
    assert poor < 0.2
    old, new = Settings.read(model), Settings.read(out)
    assert (model / "reward.json").read_text("utf-8") == before
    assert new.of("vault").calibration == fitted
    assert fitted.temperature == 0.7
    assert new.of("other") == old.of("other")
    assert asdict(new.of("vault")) | {"calibration": 0} == asdict(old.of("vault")) | {
        "calibration": 0
    }
    assert (out / "heads.safetensors").read_bytes() == b"weights"
    assert "not self-made" in " ".join((out / "README.md").read_text("utf-8").split())
    with pytest.raises(ConfigurationError, match="never overwritten"):
        await recalibrate(Reds(), model, out, Vault, source)


async def test_recalibration_needs_both_outcomes_and_a_calibration(tmp_path: Path) -> None:
    source = explored(tmp_path / "explored", range(6))

    class Empty(Vault):
        def true_score(self) -> float:
            return 0.0

    with pytest.raises(ConfigurationError, match="0 of 24 episodes"):
        await recalibrate(Reds(), saved(tmp_path / "a"), tmp_path / "new", Empty, source)
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConfigurationError, match="no calibration for vault"):
        await recalibrate(Reds(), saved(tmp_path / "b", "x"), tmp_path / "new", Vault, source)
