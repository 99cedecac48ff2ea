"""Training that is killed, spread over processes or short of memory ends where it would have."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_backbone import save_tiny_backbone
from tiny_data import TinyData

from armap_agents.errors import ConfigurationError
from armap_agents.training.config import TrainConfig
from armap_agents.training.train import train

WEIGHTS = ("heads.safetensors", "pooling.safetensors", "adapter/adapter_model.safetensors")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TinyData().save(tmp_path_factory.mktemp("tiny") / "data")


RUN = """
import sys
from pathlib import Path
import armap_agents.training.trainer as loop
from armap_agents.training.config import TrainConfig
from armap_agents.training.train import train
loop.CHECKPOINT_SECONDS = float(sys.argv[5])
train([Path(sys.argv[1])], Path(sys.argv[2]), TrainConfig(
    weights=sys.argv[3], options={"rank": 4}, steps=int(sys.argv[4]), minutes=60, rows=8,
    held_out=0.2, patience=10), threads=1)
"""


def config(weights: str, **changes: object) -> TrainConfig:
    """The configuration of `RUN`."""
    base = TrainConfig(
        weights=weights, options={"rank": 4}, steps=60, minutes=60, rows=8, held_out=0.2,
        patience=10,
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


def assert_same(one: Path, other: Path, tolerance: float) -> None:
    for name in WEIGHTS:
        left, right = load_file(one / name), load_file(other / name)
        assert left.keys() == right.keys()
        for key in left:
            assert torch.allclose(left[key], right[key], rtol=0, atol=tolerance), (name, key)


def steps_of(folder: Path) -> list[tuple[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [("step" if "loss" in line else "evaluation", line["step"]) for line in lines]


@pytest.mark.slow
def test_killed_training_goes_on_and_ends_where_it_would_have(
    data: Path, backbone: str, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train([data], whole, config(backbone), threads=1)
    reached = []
    for step in (7, 23):
        child = subprocess.Popen(
            [sys.executable, "-c", RUN, str(data), str(broken), backbone, "60", "0"],
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
    train([data], broken, config(backbone), threads=1)
    assert_same(whole, broken, 0.0)  # to the last bit
    assert steps_of(broken) == steps_of(whole)


def test_recomputed_activations_train_the_same(data: Path, backbone: str, tmp_path: Path) -> None:
    for checkpointing in (False, True):
        asked = config(backbone, steps=5, checkpointing=checkpointing)
        train([data], tmp_path / str(checkpointing), asked, threads=1)
    assert_same(tmp_path / "False", tmp_path / "True", 1e-6)


def test_a_checkpoint_of_another_version_is_one_line(
    data: Path, backbone: str, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoints" / "step-00000003"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.json").write_text('{"step": 3, "former": 1}')
    with pytest.raises(ConfigurationError, match=r"another version .*: delete .*checkpoints"):
        train([data], tmp_path, config(backbone), threads=1)


@pytest.mark.slow
def test_two_processes_train_what_one_does_with_twice_the_accumulation(
    data: Path, backbone: str, tmp_path: Path
) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, str(data), str(together), backbone, "12", "30"],
            env={
                **os.environ, "ACCELERATE_USE_CPU": "true", "RANK": str(rank), "WORLD_SIZE": "2",
                "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            },
        )
        for rank in range(2)
    ]  # fmt: skip
    assert [process.wait(300) for process in processes] == [0, 0]
    one = train([data], alone, config(backbone, steps=12, accumulate=2), threads=1)
    assert_same(together, alone, 1e-5)
    assert steps_of(together) == steps_of(alone)
    two = json.loads((together / "reward.json").read_text())
    assert two["training"]["pairs"] == one.training["pairs"]
    assert two["training"]["parts"] == one.training["parts"]
