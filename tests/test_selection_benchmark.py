"""The selection benchmark: stored candidates, models that pick among them, several folders."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from benchmark_modules import benchmark
from test_evaluation import closeness, play, spec
from tiny_reward import save_random_reward
from typer.testing import CliRunner

from armap_agents.errors import ConfigurationError, EnvironmentFailure
from armap_agents.evaluation import RunSpec, evaluate, rescore
from armap_agents.reward.render import Rendering
from armap_agents.reward.settings import EnvironmentSettings
from armap_agents.reward_model import FunctionReward
from armap_agents.trajectory import Task


@pytest.fixture(scope="module")
def selection() -> ModuleType:
    pytest.importorskip("torch")
    return benchmark("selection")


def test_the_mean_of_models_has_no_scale_of_theirs(selection: ModuleType) -> None:
    small = [np.array([0.0, 1.0]), np.array([2.0, -np.inf])]
    large = [np.array([70.0, 40.0]), np.array([10.0, -np.inf])]
    joined = selection.mean_of([small, large])
    for array in joined:  # one is the other backwards: they cancel wherever nothing failed
        assert array[np.isfinite(array)] == pytest.approx(0.0)
    assert joined[1][1] == -np.inf
    alone = selection.mean_of([small])
    assert [*alone[0], alone[1][0]] == pytest.approx([-(1.5**0.5), 0.0, 1.5**0.5])


def test_models_pick_among_the_candidates_of_several_folders(
    selection: ModuleType, tmp_path: Path
) -> None:
    run = CliRunner().invoke
    for seed in (0, 1):
        settings = {"game24": EnvironmentSettings(Rendering())}
        save_random_reward(tmp_path / f"reward-{seed}", settings, seed=seed)
    folders = [str(tmp_path / name) for name in ("first", "second")]
    for folder, tasks in zip(folders, ("901-903", "904-905"), strict=True):
        made = ["candidates", "game24", "--out", folder, "--tasks", tasks, "--n", "4"]
        assert run(selection.app, made).exit_code == 0
    out = tmp_path / "judged.json"
    models = f"random={tmp_path}/reward-{{seed}}"
    asked = ["judge", folders[0], models, "--seeds", "0,1", "--also", folders[1], "--together"]
    found = run(selection.app, [*asked, "--out", str(out)])
    assert found.exit_code == 0, found.output
    draws, _ = selection.stored([Path(folder) for folder in folders])
    assert sorted(draw.task for draw in draws) == ["901", "902", "903", "904", "905"]
    figures = json.loads(out.read_text("utf-8"))
    names = {"reward:random", "reward:random, all 2 together"}
    assert names == set(figures["quality"]["claims"])
    assert set(figures["by_seed"]) == {"random 0", "random 1"}
    assert list(figures["by_size"]) == ["1", "2", "4"]
    for quality in (figures["quality"], *figures["by_size"].values()):
        assert not [name for name in quality if name.startswith("gap_closed")]  # nobody chose


async def test_failed_runs_and_other_planners_are_not_judged(
    selection: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def flaky(asked: RunSpec, task: Task, seed: int, planner: str) -> dict[str, Any]:
        if task.id == "902":
            raise EnvironmentFailure("it died")
        return await play(asked, task, seed, planner)

    await evaluate(spec(tasks=["901", "902", "903"], n=4), tmp_path, flaky)
    await rescore(tmp_path, {"m": FunctionReward(closeness, "m")})
    draws, values = selection.stored([tmp_path])
    assert capsys.readouterr().out.count("failed runs set aside: 1") == 1
    assert sorted(draw.task for draw in draws) == ["901", "903"]
    pooled = selection.pooled(draws, values, {"m": {"m": ""}})
    assert list(selection.by_size(*pooled)) == [1, 2, 4]


async def test_a_folder_without_candidates_to_judge_is_refused(
    selection: ModuleType, tmp_path: Path
) -> None:
    await evaluate(spec(tasks=["901"], planners=["sampling"], n=2), tmp_path, play)
    with pytest.raises(ConfigurationError, match="no best_of_n run to judge"):
        selection.stored([tmp_path])
