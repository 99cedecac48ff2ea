"""`armap train`: its options arrive, and what cannot be done is said in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_backbone import save_tiny_backbone
from tiny_data import TinyData
from typer.testing import CliRunner

from armap_agents.cli import app
from armap_agents.errors import ArmapError, ConfigurationError
from armap_agents.locks import only_writer
from armap_agents.reward.settings import Settings
from armap_agents.training.config import TrainConfig
from armap_agents.training.records import PAIRS
from armap_agents.training.train import train


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TinyData().save(tmp_path_factory.mktemp("tiny") / "data")


def config(weights: str, **changes: object) -> TrainConfig:
    base = TrainConfig(weights=weights, options={"rank": 4}, steps=3, minutes=60, held_out=0.2)
    return replace(base, **changes)  # type: ignore[arg-type]


def broken_line(folder: Path) -> None:
    (folder / PAIRS).write_text('{"schema_version": 1, "chos', "utf-8")


def unknown_trajectory(folder: Path) -> None:
    lines = (folder / PAIRS).read_text("utf-8").splitlines(keepends=True)
    first = json.loads(lines[0]) | {"chosen": "nobody"}
    (folder / PAIRS).write_text(json.dumps(first) + "\n" + "".join(lines[1:]), "utf-8")


def missing_picture(folder: Path) -> None:
    for path in (folder / "images").iterdir():
        path.unlink()


@pytest.mark.parametrize("damage", [broken_line, unknown_trajectory, missing_picture])
def test_damaged_data_is_one_line(
    damage: Callable[[Path], None], backbone: str, tmp_path: Path
) -> None:
    data = TinyData(pictures=True, tasks=4).save(tmp_path / "data")
    damage(data)
    command = ["train", str(data), "--out", str(tmp_path / "out"), "--weights", backbone]
    result = CliRunner().invoke(app, [*command, "--steps", "1"])
    assert isinstance(result.exception, ArmapError)
    assert "\n" not in str(result.exception)
    assert str(data) in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_margin_is_no_part_of_the_binary_loss(data: Path, tmp_path: Path) -> None:
    command = ["train", str(data), "--out", str(tmp_path / "out"), "--loss", "binary"]
    result = CliRunner().invoke(app, [*command, "--margin", "0.5"])
    assert isinstance(result.exception, ConfigurationError)
    assert "leave out --margin" in str(result.exception)


@pytest.mark.parametrize(("launched", "expected"), [(None, 1), ("2", 4)])
def test_training_takes_the_threads_that_torch_was_given(
    data: Path,
    backbone: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    launched: str | None,
    expected: int,
) -> None:
    import torch

    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    if launched:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", launched)
    with pytest.raises(ConfigurationError, match="leaves nothing"):
        train([data], tmp_path / "out", config(backbone, held_out=0.0))
    assert asked == [expected]


def test_requests_that_cannot_be_met_say_so(data: Path, backbone: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigurationError, match="armap generate"):
        train([tmp_path / "nothing"], out, config(backbone))
    with pytest.raises(ConfigurationError, match=r"has no model\.safetensors"):
        train([data], out, config(str(tmp_path)))
    with pytest.raises(ConfigurationError, match=r"no folder .*gone"):
        train([data], out, config(str(tmp_path / "gone")))
    with pytest.raises(ConfigurationError, match="hf-text reads text alone"):
        train([data], out, config(backbone, backbone="hf-text", images=True))
    with pytest.raises(ConfigurationError, match="no screenshots"):
        train([data], out, config(backbone, images=True, options={"rank": 4, "vision": None}))
    with pytest.raises(ConfigurationError, match="diverged"):
        train([data], out, config(backbone, learning_rate=1e18, warmup=0), threads=1)


def test_a_second_training_into_the_same_folder_is_refused(
    data: Path, backbone: str, tmp_path: Path
) -> None:
    with only_writer(tmp_path), pytest.raises(ConfigurationError, match="another process"):
        train([data], tmp_path, config(backbone, steps=3), threads=1)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_command_takes_its_options(data: Path, backbone: str, tmp_path: Path) -> None:
    rules = tmp_path / "knowledge.json"
    rules.write_text('[["1 2", "8 9"]]')
    out = tmp_path / "out"
    command = ["train", str(data), "--out", str(out), "--weights", backbone, "-B", "rank=2"]
    options = [
        "--steps", "2", "--loss", "pairwise", "--centring", "paper", "--fraction", "0.5",
        "--sources", "perturb", "--knowledge", str(rules), "--patience", "3", "--held-out", "0.3",
        "--margin", "0.5", "--value-weight", "0.5", "--accumulate", "2", "--checkpointing",
        "--head-learning-rate", "0.001", "--no-images",
    ]  # fmt: skip
    result = CliRunner().invoke(app, [*command, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "accuracy on held-out pairs" in result.output
    settings = Settings.read(out)
    assert settings.backbone["options"]["rank"] == 2
    assert settings.environments["counting"].rendering.knowledge == (("1 2", "8 9"),)
    rules.write_text('[["(", "8 9"]]')
    refused = CliRunner().invoke(app, [*command, "--knowledge", str(rules)])
    assert isinstance(refused.exception, ConfigurationError)
    assert "no list of knowledge" in str(refused.exception)


def test_unknown_choices_are_refused(tmp_path: Path) -> None:
    for option in ("--centring", "--loss", "--backbone", "--sources"):
        arguments = ["train", str(tmp_path), "--out", str(tmp_path), option, "foo"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert "'foo' is not one of" in result.stderr
