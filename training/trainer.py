"""The training loop: from packs to moved weights, within a budget.

It runs on whatever accelerate finds: a CPU, a GPU, or several processes, each of which takes its
own packs of a step and meets the others when gradients are averaged. The learning rate falls to 0
as the budget is used up, so that a run of two minutes is as finished as one of twenty.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from armap_agents.errors import ConfigurationError
from armap_agents.precision import cpu_multiplies_bfloat16
from armap_agents.reward.backbones import Part
from armap_agents.reward.model import RewardNetwork
from armap_agents.training import held_out
from armap_agents.training.batches import Batch, Batches, Pack
from armap_agents.training.checkpoint import (
    EVALUATIONS,
    load_checkpoint,
    restore,
    save_checkpoint,
    snapshot,
    trained,
)
from armap_agents.training.config import TrainConfig
from armap_agents.training.examples import Examples
from armap_agents.training.loss import binary_loss, pairwise_loss, value_loss
from armap_agents.training.run_log import RunLog

CHECKPOINTS = "checkpoints"

CHECKPOINT_SECONDS = 30.0

LONGEST_WARMUP = 0.2
"""Share of the budget after which the learning rate is at its peak, however few steps fit."""


@dataclass(frozen=True)
class Status:
    """What a progress display shows.

    Attributes:
        done: Share of the budget used, 0 to 1.
        step: Optimiser steps taken.
        loss: Running mean of the loss on pairs.
        accuracy: Running mean of the training pairs' accuracy.
        held_out: Accuracy of the last evaluation, NaN before the first.
        pairs_per_second: Pairs compared a second.
    """

    done: float
    step: int
    loss: float
    accuracy: float
    held_out: float
    pairs_per_second: float


def open_accelerator() -> Any:
    """Return accelerate's view of this process: its device, its precision, its fellows.

    bfloat16 is used where the processor multiplies it.
    """
    from accelerate import Accelerator, PartialState
    from accelerate.utils import parse_flag_from_env

    # Several processes find each other on CPUs only if told that it is CPUs that they run on.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    if PartialState(cpu=cpu).device.type == "cuda":
        bf16 = torch.cuda.is_bf16_supported()
    else:
        bf16 = cpu_multiplies_bfloat16()
    return Accelerator(cpu=cpu, mixed_precision="bf16" if bf16 else "no")


class Trainer:
    """One training run, or the rest of one.

    Args:
        config: How to train.
        network: What to train; moved to the accelerator's device.
        batches: What to train on.
        kept: Held-out examples.
        out: The model folder; checkpoints lie inside until training ends.
        accelerator: What `open_accelerator` returned.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: RewardNetwork,
        batches: Batches,
        kept: Examples,
        out: Path,
        accelerator: Any,
    ) -> None:
        self.config = config
        self.batches = batches
        self.accelerator = accelerator
        # Never in training mode: pairs are many and seen a few times, dropout only costs.
        self.network = network.to(accelerator.device).eval()
        if config.checkpointing:
            network.backbone.checkpointing()
        self._checkpoints = out / CHECKPOINTS
        self._out = out
        self._kept = kept
        self._sample = held_out.sample(kept, kept.pairs, held_out.WHILE_TRAINING, config.seed)
        self._weights = list(trained(network).values())
        self.optimizer = new_optimizer(network, config)
        self.progress, self._best = load_checkpoint(self._checkpoints, self.network, self.optimizer)
        self._means = _Means()
        self._held_out = math.nan
        self._saved = time.monotonic(), self.progress.step

    def run(self, show: Callable[[Status], None]) -> None:
        """Train until the budget is used up, or nothing gets better any more."""
        progress, main = self.progress, self.accelerator.is_main_process
        log = RunLog(self._out, progress.step) if main else None
        packs = self.batches.packs(progress.epoch, progress.offset)
        try:
            while True:
                done = self._agreed(self._done())
                if done >= progress.due:
                    self._evaluate(done, log)
                ended = done >= 1 or self._stale()
                if log:
                    self._checkpoint(log, at_once=ended)
                if ended:
                    break
                record = self._step(packs, done)
                if log:
                    log.write(record)
                    show(self._status(done, record))
        finally:
            if log:
                log.close()
        if self.config.patience is not None and self._best:
            restore(self.network, self._best)

    def outputs(self, items: Sequence[Sequence[Part]]) -> Tensor:
        """Return score and value logit of trajectories, without gradients."""
        with torch.inference_mode(), self.accelerator.autocast():
            result: Tensor = self.network(items)
        return result

    def judge(self) -> float:
        """Return the accuracy on a bounded sample of the held-out pairs."""
        items = held_out.sides(self._sample)
        scores = held_out.score_items(self.outputs, self._kept, items)
        return held_out.pair_accuracy(self._sample, scores).get("all", 0.0)

    def _done(self) -> float:
        progress = self.progress
        return self.config.used(progress.seconds, progress.cpu_seconds, progress.step)

    def _stale(self) -> bool:
        patience = self.config.patience
        return patience is not None and self.progress.stale >= patience

    def _agreed(self, figure: float) -> float:
        """Return the main process's figure: clocks differ, the number of steps must not."""
        if self.accelerator.num_processes == 1:
            return figure
        from accelerate.utils import broadcast_object_list

        return float(broadcast_object_list([figure])[0])

    def _evaluate(self, done: float, log: RunLog | None) -> None:
        progress = self.progress
        with self._timed():
            accuracy = self.judge() if self.accelerator.is_main_process else 0.0
            accuracy = self._agreed(accuracy)
        self._held_out = accuracy
        progress.due = next_evaluation(done, self._agreed(self._done()) - done)
        progress.stale += 1
        if accuracy > progress.best:
            progress.best, progress.stale = accuracy, 0
            if self.config.patience is not None:
                self._best = snapshot(self.network)
        if log:
            log.write({"step": progress.step, "held_out_accuracy": accuracy})

    def _checkpoint(self, log: RunLog, *, at_once: bool) -> None:
        when, step = self._saved
        due = at_once or time.monotonic() - when > CHECKPOINT_SECONDS
        if due and self.progress.step > step:
            log.flush()
            save_checkpoint(
                self._checkpoints, self.network, self.optimizer, self.progress, self._best
            )
            self._saved = time.monotonic(), self.progress.step

    def _step(self, packs: Iterator[Pack], done: float) -> dict[str, float]:
        config, progress = self.config, self.progress
        fellows, own = self.accelerator.num_processes, self.accelerator.process_index
        with self._timed():
            warm = max((progress.step + 1) / max(1, config.warmup), done / LONGEST_WARMUP)
            share = min(1.0, warm) * (1 - done)
            for group in self.optimizer.param_groups:
                group["lr"] = group["peak"] * share
            self.optimizer.zero_grad()
            taken = list(itertools.islice(packs, config.accumulate * fellows))
            figures = sum(self._backward(self.batches.batch(pack)) for pack in taken[own::fellows])
            assert isinstance(figures, Tensor)
            figures = self._averaged(figures)
            norm = nn.utils.clip_grad_norm_(self._weights, config.clip)
            if not math.isfinite(float(norm)):
                raise ConfigurationError(
                    f"training diverged at step {progress.step}: use a smaller --learning-rate"
                )
            self.optimizer.step()
            loss, values, right, pairs, parts = figures.tolist()
        progress.step += 1
        progress.pairs += round(pairs * fellows)
        progress.parts += round(parts * fellows)
        progress.epoch, progress.offset = taken[-1].epoch, taken[-1].offset
        return {
            "step": progress.step,
            "seconds": round(progress.seconds, 3),
            "learning_rate": config.learning_rate * share,
            "loss": loss,
            "value_loss": values,
            "accuracy": right / pairs,
            "pairs": round(pairs * fellows),
        }

    def _backward(self, batch: Batch) -> Tensor:
        """Add a pack's gradients to the step's; returns its share of the step's figures."""
        config, device = self.config, self.accelerator.device
        with self.accelerator.autocast():
            outputs: Tensor = self.network(batch.items)
        scores, label = outputs[:, 0], batch.label.to(device)
        chosen, rejected = scores[batch.chosen.to(device)], scores[batch.rejected.to(device)]
        if config.loss == "binary":
            loss = binary_loss(chosen, rejected, label)
        else:
            margin = torch.where(batch.margin > 0, batch.margin, config.margin).to(device)
            loss = pairwise_loss(chosen, rejected, label, margin, config.centring)
        values = value_loss(outputs[batch.valued.to(device), 1], batch.values.to(device))
        self.accelerator.backward((loss + config.value_weight * values) / config.accumulate)
        shares = torch.stack([loss.detach(), values.detach()]) / config.accumulate
        right = ((chosen - rejected) * (label - 0.5) > 0).sum()
        counts = torch.tensor([len(label), batch.parts], device=device)
        return torch.cat([shares, right[None], counts])

    def _averaged(self, figures: Tensor) -> Tensor:
        """Average gradients and figures over all processes."""
        if self.accelerator.num_processes == 1:
            return figures
        weights = self._weights
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        everything = torch.cat([figures, *(gradient.flatten() for gradient in gradients)])
        everything = self.accelerator.reduce(everything, reduction="mean")
        figures, *rest = everything.split([len(figures), *(w.numel() for w in weights)])
        for weight, gradient in zip(weights, rest, strict=True):
            weight.grad = gradient.view_as(weight)
        return figures

    def _status(self, done: float, record: dict[str, float]) -> Status:
        self._means.take(record)
        rate = self.progress.pairs / max(self.progress.seconds, 1e-9)
        return Status(
            done,
            self.progress.step,
            self._means.loss,
            self._means.accuracy,
            self._held_out,
            rate,
        )

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began, cpu = time.monotonic(), time.process_time()
        yield
        self.progress.seconds += time.monotonic() - began
        self.progress.cpu_seconds += time.process_time() - cpu


def next_evaluation(done: float, cost: float) -> float:
    """Return the share of the budget at which the next evaluation is due.

    Evaluations are made at each tenth of the budget, or less often where they would take more than
    a tenth of it, and at its end.

    Args:
        done: Share of the budget that was used when the last one began.
        cost: Share of the budget that it took.
    """
    if done >= 1:
        return math.inf
    tenth = (math.floor(done * EVALUATIONS) + 1) / EVALUATIONS
    return min(1.0, max(tenth, done + cost * EVALUATIONS))


@dataclass
class _Means:
    """Running means of what a step says."""

    loss: float = math.nan
    accuracy: float = math.nan

    def take(self, record: dict[str, float]) -> None:
        self.loss = _moved(self.loss, record["loss"])
        self.accuracy = _moved(self.accuracy, record["accuracy"])


def _moved(mean: float, new: float) -> float:
    return new if math.isnan(mean) else 0.98 * mean + 0.02 * new


def new_optimizer(network: RewardNetwork, config: TrainConfig) -> torch.optim.Optimizer:
    """Return AdamW over the trained weights: those of LoRA, and those that start from nothing."""
    weights = trained(network)
    lora = [weight for name, weight in weights.items() if "lora_" in name]
    fresh = [weight for name, weight in weights.items() if "lora_" not in name]
    rate = config.learning_rate
    head_rate = rate if config.head_learning_rate is None else config.head_learning_rate
    groups = [{"params": lora, "peak": rate}, {"params": fresh, "peak": head_rate}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=rate, fused=True)
