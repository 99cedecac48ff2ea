"""Checkpoints of a training run that survive being killed at any moment.

A checkpoint is a folder that appears by one rename; the newest whole one counts and older ones are
deleted after it is there. Weights, those of the best evaluation and optimiser moments are
safetensors, the rest is JSON.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from armap_agents.errors import ConfigurationError
from armap_agents.training.identity import write_whole
from armap_agents.training.records import PAIRS, TRAJECTORIES, VALUES

TENSORS, STATE = "tensors.safetensors", "state.json"

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW remembers of a weight."""

EVALUATIONS = 10
"""Evaluations in a whole budget at most, and what lies between two in units of what one costs."""


@dataclass
class Progress:
    """How far training is.

    Attributes:
        step: Optimiser steps taken.
        seconds: Wall seconds spent in training and evaluating, over all resumed parts.
        cpu_seconds: CPU seconds likewise.
        pairs: Pairs compared, repeats counted.
        parts: Parts encoded, repeats counted.
        epoch: Epoch of the next pack.
        offset: Pairs of that epoch before it.
        due: Share of the budget at which the next evaluation is made; infinite after the last.
        best: Greatest held-out accuracy so far, below 0 before the first evaluation.
        stale: Evaluations since.
    """

    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    pairs: int = 0
    parts: int = 0
    epoch: int = 0
    offset: int = 0
    due: float = 1 / EVALUATIONS
    best: float = -1.0
    stale: int = 0

    def spent(self) -> dict[str, float]:
        """Return what training took, for the model's settings."""
        names = ("step", "seconds", "cpu_seconds", "pairs", "parts")
        return {name: getattr(self, name) for name in names}


def trained(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights that training moves, by name."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the trained weights, on the CPU."""
    copies = {}
    for name, parameter in trained(network).items():
        copies[name] = parameter.detach().to("cpu", copy=True)
    return copies


def restore(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put the weights of a `snapshot` back."""
    with torch.no_grad():
        for name, parameter in trained(network).items():
            parameter.copy_(weights[name])


def save_checkpoint(
    folder: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    best: dict[str, Tensor],
) -> None:
    """Write a checkpoint and delete those before it.

    Args:
        folder: Where checkpoints lie.
        network: Its trained weights are kept.
        optimizer: Its moments are kept.
        progress: Kept as it is.
        best: The `snapshot` of the best evaluation; may be empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    tensors = {f"best {name}": weight for name, weight in best.items()}
    for name, parameter in trained(network).items():
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
) -> tuple[Progress, dict[str, Tensor]]:
    """Bring network and optimiser to the newest checkpoint, if there is one.

    Returns:
        How far it is, and the weights of the best evaluation, if any.

    Raises:
        ConfigurationError: The checkpoint is damaged, or another version's.
    """
    found = _whole(folder)
    if not found:
        return Progress(), {}
    try:
        return _loaded(found[-1], network, optimizer)
    except Exception as error:  # whatever a damaged file leads to
        raise ConfigurationError(
            f"{found[-1]} is damaged or of another version ({type(error).__name__}): delete "
            f"{folder} to train from the start"
        ) from error


def _loaded(
    checkpoint: Path, network: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor]]:
    progress = Progress(**json.loads((checkpoint / STATE).read_text("utf-8")))
    tensors = load_file(checkpoint / TENSORS)
    with torch.no_grad():
        for name, parameter in trained(network).items():
            parameter.copy_(tensors[f"weight {name}"])
            # A weight that has met no gradient yet, such as one for images, has no moments.
            for key in MOMENTS:
                if (moment := tensors.get(f"{key} {name}")) is not None:
                    optimizer.state[parameter][key] = moment.to(parameter.device)
    prefix = "best "
    best = {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
    return progress, best


def _whole(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def data_digest(folders: Iterable[Path]) -> str:
    """Return the digest of some data folders' records, pictures aside: their names hash them."""
    hashed = hashlib.sha256()
    for folder in folders:
        for name in (TRAJECTORIES, PAIRS, VALUES):
            if (folder / name).is_file():
                with (folder / name).open("rb") as file:
                    hashed.update(hashlib.file_digest(file, "sha256").digest())
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
