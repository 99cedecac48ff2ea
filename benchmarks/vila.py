"""What the paper's backbone costs at its full size: a training step, its memory, scoring.

The weights are random, in the shapes and the layout of VILA1.5-3B; the episodes have a screenshot
at each step. Rates are set against the card's own: what it reaches in this run when it multiplies
large matrices, in the precision of training.

    python benchmarks/vila.py             # full size: 24 GB on the GPU, 24 of memory, 7 of disk
    python benchmarks/vila.py --tiny      # a few thousand weights: shows only that it runs
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from armap_agents.reward.backbones import Part
from armap_agents.reward.model import RewardNetwork, load_network, new_network, save_network
from armap_agents.reward.render import Rendered, RenderedStep
from armap_agents.reward.settings import EnvironmentSettings, Settings
from armap_agents.training.config import TrainConfig
from armap_agents.training.domain import domain
from armap_agents.training.loss import pairwise_loss
from armap_agents.training.trainer import new_optimizer, open_accelerator

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from random_vila import CORPUS, FULL, TINY, save_random_vila
from vila_episodes import picture

console = Console()

MATRIX = {"cuda": 8192, "cpu": 1024}
"""Rows and columns of the matrices that tell the card's rate."""


def episode(steps: int, words: int, seed: int) -> Rendered:
    """Return an episode of steps with a picture and so many words each, like no other one."""
    rng = Random(seed)
    vocabulary = " ".join(CORPUS).split()
    return Rendered(
        " ".join(rng.choices(vocabulary, k=20)),
        tuple(
            RenderedStep(
                f"click[{rng.choice(vocabulary)}]" if k else "",
                " ".join(rng.choices(vocabulary, k=words)),
                picture(rng.randrange(2**30), 384, 384),
            )
            for k in range(steps)
        ),
    )


def seconds(work: Callable[[], Any], rounds: int, device: torch.device) -> float:
    """Return the median wall seconds of some work, of which one round is not counted."""
    spent = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent[1:])


def operations(work: Callable[[], Any]) -> int:
    """Return the floating-point operations of matrix products and attention in some work."""
    with FlopCounterMode(display=False) as counter:
        work()
    total: int = counter.get_total_flops()
    return total


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations a second that the device reaches in one large matrix product."""
    size = MATRIX[device.type]
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds(lambda: left @ right, 20, device)


def training_step(
    network: RewardNetwork, items: Sequence[list[Part]], accelerator: Any
) -> Callable[[], None]:
    """Return what takes one step of the pairwise loss: each item against the one after it."""
    optimizer = new_optimizer(network, TrainConfig())

    def step() -> None:
        optimizer.zero_grad()
        with accelerator.autocast():
            scores = network(items)[:, 0]
        chosen, rejected = scores[::2], scores[1::2]
        label = torch.ones_like(chosen)
        loss = pairwise_loss(chosen, rejected, label, torch.zeros_like(chosen))
        torch.autograd.backward(loss)
        optimizer.step()

    return step


def show(what: str, spent: float, work: int, rate: float, count: int, unit: str) -> None:
    """Print the cost of something and its share of the matrix rate."""
    console.print(
        f"{what}: {spent:.3f} s, {count / spent:.2f} {unit}/s, {work / spent / 1e12:.2f} TFLOP/s, "
        f"[bold]{work / spent / rate:.0%}[/] of the matrix rate"
    )


def show_memory(device: torch.device) -> None:
    """Print the most memory that was in use on a GPU since the last time."""
    if device.type == "cuda":
        console.print(f"  peak memory: {torch.cuda.max_memory_allocated() / 2**30:.1f} GB")
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def measured(folder: Path, episodes: Sequence[Rendered], rounds: int) -> None:
    """Measure training and scoring with a checkpoint."""
    accelerator = open_accelerator()
    device: torch.device = accelerator.device
    dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    rate = matrix_rate(device, dtype)
    console.print(f"{name}: {rate / 1e12:.2f} TFLOP/s in one matrix product ({dtype})")

    network = new_network("vila", str(folder), {"max_tokens": 8192}, dtype=dtype, seed=0)
    network = network.to(device).eval()
    network.backbone.checkpointing()
    items = [network.backbone.parts(one) for one in episodes]
    lengths = [part.length for item in items for part in item]
    network.batch_positions = 2 * max(lengths)
    console.print(f"{len(items)} episodes of {min(lengths)} to {max(lengths)} positions")
    step = training_step(network, items, accelerator)
    work = operations(step)  # what checkpointing computes again is counted
    show("training step", seconds(step, rounds, device), work, rate, len(items) // 2, "pairs")

    model = folder.with_name("model")
    settings = {"webshop": EnvironmentSettings(domain("webshop").rendering)}
    save_network(network, Settings(asdict(network.backbone.spec), settings), model)
    del network, step
    show_memory(device)  # now that training's weights are gone, scoring begins from nothing
    scorer, _ = load_network(model, device)
    scorer.batch_positions = 2 * max(lengths)

    def score() -> None:
        with torch.inference_mode(), accelerator.autocast():
            scorer(items)

    work = operations(score)
    show("scoring", seconds(score, rounds, device), work, rate, len(items), "trajectories")
    show_memory(device)


def main(
    tiny: Annotated[bool, typer.Option(help="A few thousand weights.")] = False,
    pairs: Annotated[int, typer.Option(help="In a training step; the paper has 4.")] = 4,
    steps: Annotated[int, typer.Option(help="Of an episode.")] = 8,
    words: Annotated[int, typer.Option(help="Of an observation.")] = 60,
    rounds: Annotated[int, typer.Option(help="Of each measurement.")] = 5,
) -> None:
    """Measure."""
    if not tiny and not torch.cuda.is_available():
        raise SystemExit("no GPU is at hand: give --tiny to see that it runs")
    with TemporaryDirectory() as temporary:
        folder = save_random_vila(
            Path(temporary) / "checkpoint",
            TINY if tiny else FULL,
            positions=8192,
            dtype=None if tiny else torch.bfloat16,
        )
        measured(folder, [episode(steps, words, seed) for seed in range(2 * pairs)], rounds)


if __name__ == "__main__":
    typer.run(main)
