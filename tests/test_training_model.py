"""Training: the loss is the formula, batches share rows, runs resume, models reload the same."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_backbone import save_tiny_backbone
from typer.testing import CliRunner

from armap_agents.cli import app
from armap_agents.errors import ConfigurationError
from armap_agents.locks import only_writer
from armap_agents.reward import load_reward
from armap_agents.reward.model import tokenizer_of
from armap_agents.tools.game24 import Game24
from armap_agents.training.batches import Batches, Examples, held_out, split_examples
from armap_agents.training.game24 import Game24Domain
from armap_agents.training.generate import GenerateConfig, generate_data
from armap_agents.training.loss import pairwise_loss, value_loss
from armap_agents.training.records import load_dataset
from armap_agents.training.train import TrainConfig, train

numbers = st.floats(min_value=-30, max_value=30, width=32)


@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=8))
def test_pairwise_loss_is_the_formula(rows: list[tuple[float, float, float]]) -> None:
    good, bad, margin = np.array(rows, dtype=np.float64).T
    base = np.mean(np.logaddexp(0, -(good - bad - margin)))
    tensors = [torch.tensor(column, dtype=torch.float32) for column in (good, bad, margin)]
    squared = base + 0.01 * np.mean((good + bad) ** 2)
    paper = base + 1e-3 * abs(np.mean(good + bad))
    assert float(pairwise_loss(*tensors)) == pytest.approx(squared, rel=1e-4, abs=1e-4)
    assert float(pairwise_loss(*tensors, "paper")) == pytest.approx(paper, rel=1e-4, abs=1e-4)


def test_pairwise_loss_computes_in_float32() -> None:
    half = torch.tensor([60.0, -60.0], dtype=torch.bfloat16)
    assert pairwise_loss(half, half.flip(0), torch.zeros(2)).dtype == torch.float32


@given(st.lists(st.tuples(numbers, st.floats(0, 1, width=32)), min_size=1, max_size=8))
def test_value_loss_is_cross_entropy_with_soft_targets(rows: list[tuple[float, float]]) -> None:
    logits, returns = np.array(rows, dtype=np.float64).T
    expected = np.mean(np.logaddexp(0, logits) - returns * logits)
    found = value_loss(
        torch.tensor(logits, dtype=torch.float32), torch.tensor(returns, dtype=torch.float32)
    )
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_value_loss_of_nothing_is_zero() -> None:
    assert float(value_loss(torch.zeros(0), torch.zeros(0))) == 0.0


EXAMPLES = Examples(
    rows=[[2, 10 + i, 3] for i in range(40)],
    pairs=[(i % 4, 4 + i, 1, 0.0) for i in range(20)],
    values={i: i / 40 for i in range(40)},
)


def test_batches_share_rows_and_meet_every_pair_once_an_epoch() -> None:
    batches = Batches(EXAMPLES, rows=16, seed=0, padding=0)
    met: list[tuple[int, int]] = []
    stream = batches()
    while len(met) < 20:
        batch = next(stream)
        ids = batch.ids[:, 1] - 10
        assert len(ids.unique()) == len(ids) <= 16
        met += [
            (int(ids[c]), int(ids[r])) for c, r in zip(batch.chosen, batch.rejected, strict=True)
        ]
        for place, value in zip(batch.valued, batch.values, strict=True):
            assert float(value) == pytest.approx(int(ids[place]) / 40)
    assert sorted(met) == sorted(pair[:2] for pair in EXAMPLES.pairs)


@pytest.mark.parametrize("first", [1, 3, 17, 40])
def test_batches_from_a_later_step_are_the_same(first: int) -> None:
    batches = Batches(EXAMPLES, rows=16, seed=7, padding=0)
    stream = batches()
    for _ in range(first):
        next(stream)
    again = Batches(EXAMPLES, rows=16, seed=7, padding=0)(first)
    for _ in range(5):
        one, other = next(stream), next(again)
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.rejected, other.rejected)


def test_held_out_tasks_are_a_fixed_share() -> None:
    tasks = [str(i) for i in range(4000)]
    kept = {task for task in tasks if held_out(task, 0.05, 0)}
    assert 150 < len(kept) < 250
    assert kept == {task for task in tasks if held_out(task, 0.05, 0)}
    assert kept != {task for task in tasks if held_out(task, 0.05, 1)}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data")
    config = GenerateConfig(trajectories=600, continuations=64)
    asyncio.run(generate_data(Game24Domain(), Game24, out, config))
    return out


def config(backbone: str, **changes: object) -> TrainConfig:
    base = TrainConfig(backbone=backbone, steps=60, minutes=60, rows=32, rank=4, held_out=0.2)
    return replace(base, **changes)  # type: ignore[arg-type]


def test_no_task_is_trained_on_and_held_out(data: Path, backbone: str) -> None:
    from armap_agents.reward.model import Backbone

    dataset = load_dataset(data)
    tokenizer = tokenizer_of(Backbone.find(backbone))
    learn, kept = split_examples(
        dataset, {"game24": Game24Domain.rendering}, tokenizer, 0.2, 0, 512
    )
    assert learn.pairs
    assert kept.pairs
    count = sum(held_out(pair.task, 0.2, 0) for pair in dataset.pairs)
    assert 0 < len(kept.pairs) <= count
    with pytest.raises(ConfigurationError, match="generate more"):
        split_examples(dataset, {}, tokenizer, 0.0, 0, 512)


def test_training_learns_saves_and_scores_the_same_after_loading(
    data: Path, backbone: str, tmp_path: Path
) -> None:
    shown = []
    settings = train(
        data, tmp_path, config(backbone, steps=150, learning_rate=5e-3), shown.append, threads=1
    )
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 151))
    early = np.mean([line["loss"] for line in lines[:10]])
    late = np.mean([line["loss"] for line in lines[-10:]])
    assert late < 0.8 * early
    assert settings.accuracy["3"] > 0.9
    assert shown[-1].done == pytest.approx(149 / 150)
    assert not (tmp_path / "checkpoints").exists()
    assert "held-out" in (tmp_path / "README.md").read_text()
    model = load_reward(tmp_path)
    assert model.settings == settings
    dataset = load_dataset(data)
    pairs = [p for p in dataset.pairs if p.chosen_steps == 3 and held_out(p.task, 0.2, 0)]
    good = model.score([dataset.prefix(p.chosen, 3, p.instruction) for p in pairs])
    bad = model.score([dataset.prefix(p.rejected, 3, p.instruction) for p in pairs])
    assert np.mean(np.array(good) > np.array(bad)) > 0.9
    assert train(data, tmp_path, config(backbone, steps=150, learning_rate=5e-3)) == settings
    with pytest.raises(ConfigurationError, match="steps 150 there, 60 now"):
        train(data, tmp_path, config(backbone, learning_rate=5e-3))


KILLED = """
import sys
from pathlib import Path
import armap_agents.training.train as t
t.CHECKPOINT_SECONDS = 0.0
t.train(Path(sys.argv[1]), Path(sys.argv[2]), t.TrainConfig(
    backbone=sys.argv[3], steps=60, minutes=60, rows=32, rank=4, held_out=0.2), threads=1)
"""


@pytest.mark.slow
def test_killed_training_goes_on_and_ends_where_it_would_have(
    data: Path, backbone: str, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(data, whole, config(backbone), threads=1)
    reached = []
    for step in (7, 23):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(data), str(broken), backbone],
            stderr=subprocess.DEVNULL,
        )
        while child.poll() is None:
            found = sorted((broken / "checkpoints").glob("step-*"))
            if found and int(found[-1].name[5:]) >= step:
                os.kill(child.pid, signal.SIGKILL)
            time.sleep(0.002)
        child.wait()
        assert child.returncode == -signal.SIGKILL
        reached.append(int(sorted((broken / "checkpoints").glob("step-*"))[-1].name[5:]))
    assert reached[1] > reached[0] >= 7
    train(data, broken, config(backbone), threads=1)
    for name in ("heads.safetensors", "adapter/adapter_model.safetensors"):
        one, other = load_file(whole / name), load_file(broken / name)
        for key in one:
            assert torch.allclose(one[key], other[key], atol=1e-6), key
    steps = [json.loads(line)["step"] for line in (broken / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 61))


def test_a_dataset_without_values_trains_too(data: Path, backbone: str, tmp_path: Path) -> None:
    bare = tmp_path / "data"
    bare.mkdir()
    for name in ("trajectories.jsonl", "pairs.jsonl"):
        (bare / name).write_bytes((data / name).read_bytes())
    settings = train(bare, tmp_path / "model", config(backbone, steps=3), threads=1)
    assert settings.training["step"] == 3


def test_missing_data_and_backbone_say_so(data: Path, backbone: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="armap generate"):
        train(tmp_path / "nothing", tmp_path / "out", config("no such backbone"))
    with pytest.raises(ConfigurationError, match=r"has no model\.safetensors"):
        train(data, tmp_path / "out", config(str(tmp_path)))


def test_a_second_training_into_the_same_folder_is_refused(
    data: Path, backbone: str, tmp_path: Path
) -> None:
    with only_writer(tmp_path), pytest.raises(ConfigurationError, match="another process"):
        train(data, tmp_path, config(backbone, steps=3), threads=1)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_unknown_centring_is_refused(tmp_path: Path) -> None:
    arguments = ["train", str(tmp_path), "--out", str(tmp_path), "--centring", "foo"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "'foo' is not one of" in result.stderr


def test_divergence_says_so(data: Path, backbone: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="diverged"):
        train(data, tmp_path, config(backbone, learning_rate=1e18, warmup=0), threads=1)
