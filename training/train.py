"""Train a reward model on a data folder: pairwise loss and prefix values, within a time budget.

The learning rate falls to 0 as the budget is used up, so that a run of two minutes is as finished
as one of twenty. Every half minute a checkpoint is written; the same command goes on from it.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from armap_agents.errors import ConfigurationError
from armap_agents.locks import only_writer
from armap_agents.reward.model import (
    SETTINGS,
    Backbone,
    Settings,
    new_network,
    save_network,
    tokenizer_of,
)
from armap_agents.reward.render import Rendering
from armap_agents.training.batches import Batch, Batches, Examples, split_examples
from armap_agents.training.checkpoint import (
    Progress,
    cut_log,
    data_digest,
    load_checkpoint,
    save_checkpoint,
)
from armap_agents.training.domain import DOMAINS, domain
from armap_agents.training.identity import check_identity
from armap_agents.training.loss import Centring, pairwise_loss, value_loss
from armap_agents.training.records import Dataset, load_dataset
from armap_agents.training.report import (
    calibration,
    model_card,
    normalisation,
    pair_accuracy,
    score_rows,
)

CONFIG, LOG, CARD, CHECKPOINTS = "training.json", "log.jsonl", "README.md", "checkpoints"

CHECKPOINT_SECONDS = 30.0

MAX_TOKENS = 512
"""Of an input text; MiniLM takes no more."""


@dataclass(frozen=True)
class TrainConfig:
    """How a reward model is trained; the same configuration resumes a run.

    Attributes:
        backbone: Name of a pulled model, or a Hugging Face folder.
        minutes: Wall-clock budget of training, over all resumed parts.
        cpu_minutes: Budget of CPU time instead, which other work on the machine does not eat.
        steps: Ends training earlier where given; reproducible, unlike a time budget.
        rows: Texts encoded a step, at most. With few minutes more steps beat larger ones.
        value_weight: Weight of the value loss beside the pairwise loss.
        learning_rate: At its peak.
        warmup: Steps to the peak.
        clip: Largest gradient norm.
        rank: LoRA rank.
        alpha: LoRA alpha.
        centring: ``squared`` or ``paper``.
        held_out: Share of the tasks kept from training.
        seed: Seeds initialisation and order.
    """

    backbone: str = "all-minilm-l6-v2"
    minutes: float = 6.0
    cpu_minutes: float | None = None
    steps: int | None = None
    rows: int = 32
    value_weight: float = 1.0
    learning_rate: float = 5e-4
    warmup: int = 100
    clip: float = 1.0
    rank: int = 16
    alpha: int = 32
    centring: Centring = "squared"
    held_out: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class Status:
    """What a progress display shows.

    Attributes:
        done: Share of the budget used, 0 to 1.
        step: Optimiser steps taken.
        loss: Running mean of the pairwise loss.
        accuracy: Running mean of the training pairs' accuracy.
        pairs_per_second: Pairs compared a second.
    """

    done: float
    step: int
    loss: float
    accuracy: float
    pairs_per_second: float


class Trainer:
    """One training run.

    Args:
        config: How to train.
        train: Examples to train on.
        out: The model folder; checkpoints lie inside until training ends.
        backbone: What to start from.
        padding: Id of the padding token.
    """

    def __init__(
        self, config: TrainConfig, train: Examples, out: Path, backbone: Backbone, padding: int
    ) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.out = out
        self.batches = Batches(train, config.rows, config.seed, padding)
        # bfloat16 is 1.6 times as fast where the processor multiplies it, far slower elsewhere.
        # Older releases of torch do not tell.
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        self.bf16 = bool(capabilities.get("amx_bf16"))
        # Never in training mode: the pairs are many and seen a few times, dropout only costs.
        self.network = new_network(backbone, config.rank, config.alpha, bf16=self.bf16).eval()
        self.optimizer = torch.optim.AdamW(
            [p for p in self.network.parameters() if p.requires_grad],
            lr=config.learning_rate,
            fused=True,
        )
        self.progress = (
            load_checkpoint(out / CHECKPOINTS, self.network, self.optimizer) or Progress()
        )

    def run(self, show: Callable[[Status], None]) -> None:
        """Train until the budget is used up."""
        loss = accuracy = math.nan
        saved = time.monotonic()
        with (self.out / LOG).open("a", encoding="utf-8") as lines:
            for batch in self.batches(self.progress.step):
                done = self._done()
                if done >= 1:
                    break
                record = self._step(batch, done)
                loss = _running_mean(loss, record["loss"])
                accuracy = _running_mean(accuracy, record["accuracy"])
                lines.write(json.dumps(record) + "\n")
                rate = self.progress.pairs / max(self.progress.seconds, 1e-9)
                show(Status(done, self.progress.step, loss, accuracy, rate))
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    lines.flush()
                    save_checkpoint(
                        self.out / CHECKPOINTS, self.network, self.optimizer, self.progress
                    )
                    saved = time.monotonic()

    def _done(self) -> float:
        done = self.progress.seconds / (60 * self.config.minutes)
        if self.config.cpu_minutes is not None:
            done = self.progress.cpu_seconds / (60 * self.config.cpu_minutes)
        if self.config.steps is not None:
            done = max(done, self.progress.step / self.config.steps)
        return done

    def _step(self, batch: Batch, done: float) -> dict[str, float]:
        began, cpu = time.monotonic(), time.process_time()
        config, progress = self.config, self.progress
        warm = min(1.0, (progress.step + 1) / max(1, config.warmup))
        rate = config.learning_rate * warm * (1 - done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            outputs: Tensor = self.network(batch.ids, batch.mask)
        chosen, rejected = outputs[batch.chosen, 0], outputs[batch.rejected, 0]
        pair_loss = pairwise_loss(chosen, rejected, batch.margin, config.centring)
        values = value_loss(outputs[batch.valued, 1], batch.values)
        self.optimizer.zero_grad()
        (pair_loss + config.value_weight * values).backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        if not math.isfinite(float(norm)):
            raise ConfigurationError(
                f"training diverged at step {progress.step}: use a smaller --learning-rate"
            )
        self.optimizer.step()
        progress.step += 1
        progress.pairs += len(batch.chosen)
        progress.rows += len(batch.ids)
        progress.seconds += time.monotonic() - began
        progress.cpu_seconds += time.process_time() - cpu
        return {
            "step": progress.step,
            "seconds": round(progress.seconds, 3),
            "learning_rate": rate,
            "loss": float(pair_loss.detach()),
            "value_loss": float(values.detach()),
            "accuracy": float((chosen > rejected).float().mean()),
            "pairs": len(batch.chosen),
        }


def _running_mean(mean: float, new: float) -> float:
    return new if math.isnan(mean) else 0.98 * mean + 0.02 * new


def train(
    data: Path,
    out: Path,
    config: TrainConfig,
    show: Callable[[Status], None] = lambda _: None,
    threads: int | None = None,
) -> Settings:
    """Train a reward model, or go on with a run that was interrupted.

    Args:
        data: A data folder of `armap generate`.
        out: Where the model goes.
        config: How to train; another configuration in the same `out` is refused.
        show: Called after every step.
        threads: CPU threads; None takes as many as the process may use cores.

    Returns:
        The finished model's settings, as stored in `out`.

    Raises:
        ConfigurationError: The data is damaged, or `out` belongs to another run or is being
            written.
    """
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    dataset = load_dataset(data)
    environments = {pair.environment for pair in dataset.pairs}
    if len(environments) != 1:
        raise ConfigurationError(
            f"{data} has pairs of {len(environments)} environments: train one model for each"
        )
    backbone = Backbone.find(config.backbone)
    with only_writer(out):
        return _train(data, dataset, backbone, out, config, show)


def _train(
    data: Path,
    dataset: Dataset,
    backbone: Backbone,
    out: Path,
    config: TrainConfig,
    show: Callable[[Status], None],
) -> Settings:
    identity = {
        **asdict(config),
        "data_sha256": data_digest(data),
        "backbone_sha256": backbone.sha256(),
    }
    check_identity(out / CONFIG, identity, "another training run")
    if (out / SETTINGS).exists():
        return Settings.read(out)
    (environment,) = {pair.environment for pair in dataset.pairs}
    rendering = domain(environment).rendering if environment in DOMAINS else Rendering()
    renderings = {environment: rendering}
    tokenizer = tokenizer_of(backbone)
    learn, kept = split_examples(
        dataset, renderings, tokenizer, config.held_out, config.seed, MAX_TOKENS
    )
    trainer = Trainer(config, learn, out, backbone, tokenizer.pad_token_id)
    cut_log(out / LOG, trainer.progress.step)
    trainer.run(show)
    scores = score_rows(trainer.network, kept, tokenizer.pad_token_id, bf16=trainer.bf16)
    settings = Settings(
        backbone.name,
        backbone.sha256(),
        renderings,
        {environment: normalisation(kept, scores)},
        MAX_TOKENS,
        pair_accuracy(kept, scores),
        asdict(trainer.progress),
        {environment: calibration(kept, scores)},
    )
    text = model_card(settings, asdict(config), trainer.progress, len(learn.pairs))
    (out / CARD).write_text(text, "utf-8")
    save_network(trainer.network, settings, out)
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    return settings
