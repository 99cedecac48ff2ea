"""Train a reward model on data folders: pairs and prefix values, within a time budget.

Every half minute a checkpoint is written; the same command goes on from it. What the folder holds
in the end is named in `reward.settings`; the model card says what it is worth.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from armap_agents.errors import ConfigurationError
from armap_agents.locks import only_writer
from armap_agents.reward.model import (
    RewardNetwork,
    new_network,
    save_network,
)
from armap_agents.reward.render import Rendering
from armap_agents.reward.settings import SETTINGS, EnvironmentSettings, Settings
from armap_agents.training import held_out
from armap_agents.training.batches import Batches
from armap_agents.training.card import model_card
from armap_agents.training.checkpoint import data_digest
from armap_agents.training.config import TrainConfig
from armap_agents.training.domain import domain, has_domain
from armap_agents.training.examples import Comparison, Examples
from armap_agents.training.identity import check_identity, write_whole
from armap_agents.training.plots import draw_training
from armap_agents.training.records import Dataset
from armap_agents.training.split import SPLIT, Split, draw_split, read_folders
from armap_agents.training.trainer import CHECKPOINTS, Status, Trainer, open_accelerator

CONFIG, CARD = "training.json", "README.md"


def train(
    data: Sequence[Path],
    out: Path,
    config: TrainConfig,
    show: Callable[[Status], None] = lambda _: None,
    threads: int | None = None,
) -> Settings:
    """Train a reward model, or go on with a run that was interrupted.

    Args:
        data: Data folders of `armap generate`, of one environment or of several.
        out: Where the model goes.
        config: How to train; another configuration in the same `out` is refused.
        show: Called after every step.
        threads: CPU threads; None takes as many as the process may use cores, or fewer where
            torch was told so (``OMP_NUM_THREADS``).

    Returns:
        The finished model's settings, as stored in `out`.

    Raises:
        ConfigurationError: The data is damaged or does not fit the configuration, or `out` belongs
            to another run or is being written.
    """
    dataset = read_data(data, config)
    accelerator = open_accelerator()
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    own = len(os.sched_getaffinity(0))
    # Launchers of several processes ask for one thread each where nobody said how many.
    most = min(own, torch.get_num_threads()) if beside == 1 else own // beside
    torch.set_num_threads(threads or max(1, most))
    network = new_network(
        config.backbone,
        config.weights,
        backbone_options(config),
        dtype=torch.bfloat16 if accelerator.mixed_precision == "bf16" else None,
        seed=config.seed,
    )
    written = renderings(dataset, config)
    split = draw_split(dataset, config.held_out, config.fraction, config.seed)
    learn, kept = split_examples(dataset, split, written, network)
    identity = {
        **asdict(config),
        "data_sha256": data_digest(data),
        "split_sha256": hashlib.sha256(split.to_json().encode()).hexdigest(),
        "backbone_sha256": network.backbone.spec.sha256,
    }
    main = accelerator.is_main_process
    with only_writer(out) if main else nullcontext():
        if main:
            check_identity(out / CONFIG, json.loads(json.dumps(identity)), "another training run")
            write_whole(out / SPLIT, split.to_json())
        accelerator.wait_for_everyone()
        if not (out / SETTINGS).exists():
            batches = Batches(learn, config.rows, config.positions, config.seed)
            trainer = Trainer(config, network, batches, kept, out, accelerator)
            trainer.run(show)
            if main:
                sources = Counter(pair.source for pair in learn.pairs)
                finish(trainer, kept, written, dict(sources.most_common()), data, out)
            accelerator.wait_for_everyone()
        return Settings.read(out)


def read_data(folders: Sequence[Path], config: TrainConfig) -> Dataset:
    """Return the records of all folders that the configuration asks for.

    Raises:
        ConfigurationError: A folder is damaged, or nothing is left.
    """
    dataset = read_folders(folders, config.sources)
    if not dataset.pairs:
        sources = dict.fromkeys(pair.source for pair in read_folders(folders).pairs)
        have = ", ".join(sources) or "no pairs at all"
        raise ConfigurationError(
            f"{', '.join(map(str, folders))} has no pairs to train on (it has {have}): generate "
            "more, or name other --sources"
        )
    return dataset


def sees(config: TrainConfig) -> bool:
    """Whether the backbone is shown screenshots.

    Raises:
        ConfigurationError: It is asked to, and reads text alone.
    """
    if config.images is None:
        return config.backbone == "vila"
    if config.images and config.backbone == "hf-text":
        raise ConfigurationError("hf-text reads text alone: use --no-images, or --backbone vila")
    return config.images


def backbone_options(config: TrainConfig) -> dict[str, Any]:
    """Return the backbone's options; `minilm` sees through an image encoder beside it."""
    if config.backbone == "minilm" and sees(config):
        from armap_agents.reward.backbones.vision import DEFAULT_VISION

        return {"vision": DEFAULT_VISION, **config.options}
    return dict(config.options)


def renderings(dataset: Dataset, config: TrainConfig) -> dict[str, Rendering]:
    """Return how the trajectories of each environment are written.

    Raises:
        ConfigurationError: Screenshots are to be shown and no trajectory has any.
    """
    images = sees(config)
    trajectories = dataset.trajectories.values()
    if config.images and not any(
        seen.image
        for t in trajectories
        for seen in (t.observation, *(s.observation for s in t.steps))
    ):
        raise ConfigurationError(
            "the data has no screenshots: generate it from an environment that takes them, or "
            "train with --no-images"
        )
    found = {}
    for environment in sorted({pair.environment for pair in dataset.pairs}):
        base = domain(environment).rendering if has_domain(environment) else Rendering()
        knowledge = (*base.knowledge, *config.knowledge)
        found[environment] = replace(base, images=images, knowledge=knowledge)
    return found


def split_examples(
    dataset: Dataset, split: Split, written: dict[str, Rendering], network: RewardNetwork
) -> tuple[Examples, Examples]:
    """Return training and held-out examples.

    Raises:
        ConfigurationError: One side has no pair of two that differ.
    """
    learn, kept = (Examples(part, written, network.backbone.parts) for part in split.of(dataset))
    if not learn.pairs or not kept.pairs:
        raise ConfigurationError(
            f"the data has {len(learn.pairs)} pairs to train on and {len(kept.pairs)} held-out "
            "ones: generate more, or take a larger --fraction"
        )
    return learn, kept


def finish(
    trainer: Trainer,
    kept: Examples,
    written: dict[str, Rendering],
    sources: dict[str, int],
    data: Sequence[Path],
    out: Path,
) -> None:
    """Score the held-out pairs and write the model folder."""
    config = trainer.config
    environments: dict[str, EnvironmentSettings] = {}
    accuracy: dict[str, float] = {}
    scored: list[Comparison] = []
    scores: dict[int, float] = {}
    for environment, rendering in written.items():
        pairs = [p for p in kept.pairs if kept.items[p.chosen].environment == environment]
        if not pairs:
            environments[environment] = EnvironmentSettings(rendering)
            continue
        pairs = held_out.sample(kept, pairs, held_out.WHEN_TRAINED, config.seed)
        scores |= held_out.score_items(trainer.outputs, kept, held_out.sides(pairs))
        environments[environment] = held_out.environment_settings(kept, pairs, scores, rendering)
        own = held_out.pair_accuracy(pairs, scores)
        accuracy |= {f"{environment} {steps}": share for steps, share in own.items()}
        scored += pairs
    overall = held_out.pair_accuracy(scored, scores)
    if len(written) > 1:  # how many steps there are means something else in each
        overall = accuracy | {name: share for name, share in overall.items() if name == "all"}
    settings = Settings(
        asdict(trainer.network.backbone.spec),
        environments,
        overall,
        trainer.progress.spent(),
        sources,
    )
    digests = [(folder.name, data_digest([folder])) for folder in data]
    text = model_card(settings, config, digests, draw_training(out))
    (out / CARD).write_text(text, "utf-8")
    save_network(trainer.network, settings, out)
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
