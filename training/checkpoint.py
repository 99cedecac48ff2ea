"""Checkpoints of a training run that survive being killed at any moment.

A checkpoint is a folder that appears by one rename; the newest whole one counts and older ones are
deleted after it is there. Weights and optimiser moments are safetensors, the rest is JSON.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from armap_agents.training.identity import write_whole
from armap_agents.training.records import PAIRS, VALUES

TENSORS, STATE = "tensors.safetensors", "state.json"


@dataclass
class Progress:
    """How far training is.

    Attributes:
        step: Optimiser steps taken.
        seconds: Wall seconds spent in training, over all resumed parts.
        cpu_seconds: CPU seconds likewise.
        pairs: Pairs compared, repeats counted.
        rows: Texts encoded, repeats counted.
    """

    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    pairs: int = 0
    rows: int = 0


def save_checkpoint(
    folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write a checkpoint and delete those before it."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    tensors: dict[str, Tensor] = {}
    for name, parameter in _trained(network):
        tensors[f"weight {name}"] = parameter.detach()
        for key, moment in optimizer.state[parameter].items():
            tensors[f"{key} {name}"] = moment
    save_file(tensors, partial / TENSORS)
    (partial / STATE).write_text(json.dumps(asdict(progress)), "utf-8")
    older = _whole(folder)
    partial.rename(folder / f"step-{progress.step:08d}")
    for path in older:
        shutil.rmtree(path)


def load_checkpoint(
    folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer
) -> Progress | None:
    """Bring network and optimiser to the newest checkpoint; None where there is none."""
    found = _whole(folder)
    if not found:
        return None
    tensors = load_file(found[-1] / TENSORS)
    with torch.no_grad():
        for name, parameter in _trained(network):
            parameter.copy_(tensors.pop(f"weight {name}"))
            for key in ("step", "exp_avg", "exp_avg_sq"):
                optimizer.state[parameter][key] = tensors.pop(f"{key} {name}")
    return Progress(**json.loads((found[-1] / STATE).read_text("utf-8")))


def _trained(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in network.named_parameters() if p.requires_grad]


def _whole(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def data_digest(data: Path) -> str:
    """Return the digest of a data folder's pairs and values."""
    hashed = hashlib.sha256()
    for name in (PAIRS, VALUES):
        if (data / name).is_file():
            hashed.update((data / name).read_bytes())
    return hashed.hexdigest()


def cut_log(path: Path, step: int) -> None:
    """Drop the log's lines after `step`: they were taken after the checkpoint."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text("utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            break
        if record["step"] > step:
            break
        kept.append(line + "\n")
    write_whole(path, "".join(kept))
