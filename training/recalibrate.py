"""Probabilities of success that are true to the environment, at its own base rate.

A model's sigmoid is fitted on held-out self-made data, about half of which succeeds; real episodes
rarely do. Fitted again on explored episodes of training tasks with their true scores, it says what
a score is worth there. It then is the environment's word, and the new model folder says so. Scores,
their order and `preference` stay as they are.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from armap_agents.environment import Environment
from armap_agents.errors import ConfigurationError
from armap_agents.evaluation.quality import SUCCESS
from armap_agents.evaluation.truth import Environments
from armap_agents.reward.calibration import Calibration, fit_platt
from armap_agents.reward.settings import SETTINGS, Settings
from armap_agents.reward_model import RewardModel
from armap_agents.training.episodes import acted_out, find_episodes, recorded, true_scores
from armap_agents.training.identity import write_whole

CARD = "README.md"


async def recalibrate(
    model: RewardModel,
    folder: Path,
    out: Path,
    make: Callable[[], Environment],
    source: Path,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Calibration:
    """Write a copy of a model folder whose `probability` is fitted on true scores.

    Args:
        model: The model.
        folder: Its folder.
        out: The new folder; must not exist.
        make: Makes an environment of nobody else's.
        source: A data folder, or a folder of runs, with episodes of training tasks.
        progress: Called with the tasks done, and the tasks in all.

    Returns:
        The new calibration.

    Raises:
        ConfigurationError: The model was not calibrated at all, `out` exists, there are no
            episodes of training tasks, or these all succeeded or all failed.
        EnvironmentFailure: An environment died.
    """
    environment = make()
    settings = Settings.read(folder)
    known = settings.environments.get(environment.name)
    if known is None or known.calibration is None:
        raise ConfigurationError(
            f"{folder} has no calibration for {environment.name}: train it with tasks held out"
        )
    if await asyncio.to_thread(out.exists):
        raise ConfigurationError(f"{out} exists: use another --out, a model is never overwritten")
    counts: Counter[str] = Counter()
    found, _ = await asyncio.to_thread(find_episodes, source, environment, counts)
    environments = Environments(make, 1)
    scores: list[float] = []
    successes: list[bool] = []
    try:
        for done, each in enumerate(found, 1):
            episodes = await acted_out(environments, each, counts)
            episodes += await asyncio.to_thread(recorded, each)
            told = await true_scores(environments, episodes, counts) if episodes else []
            scores += await model.ascore([trajectory for trajectory, _ in told])
            successes += [score >= SUCCESS for _, score in told]
            progress(done, len(found))
    finally:
        await environments.aclose()
        await environment.close()
    if len(set(successes)) < 2:
        raise ConfigurationError(
            f"{sum(successes)} of {len(successes)} episodes in {source} succeeded: a probability "
            "needs successes and failures, give more episodes"
        )
    slope, intercept = fit_platt(scores, successes)
    fitted = replace(
        known.calibration,
        slope=slope,
        intercept=intercept,
        base_rate=sum(successes) / len(successes),
        examples=len(successes),
        source="environment",
    )
    new = {environment.name: replace(known, calibration=fitted)}
    changed = replace(settings, environments=settings.environments | new)
    await asyncio.to_thread(_copy, folder, out, changed, environment.name, fitted)
    return fitted


def _copy(folder: Path, out: Path, settings: Settings, name: str, fitted: Calibration) -> None:
    """Copy the folder; its settings come last, they make it a model."""
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns(SETTINGS, ".lock"))
    card = out / CARD
    text = card.read_text("utf-8") if card.is_file() else ""
    note = (
        f"\nProbabilities on {name} were fitted on the true scores of {fitted.examples} episodes "
        f"of training tasks (base rate {fitted.base_rate:.4f}): the environment's word, not "
        "self-made.\n"
    )
    card.write_text(text + note, "utf-8")
    write_whole(out / SETTINGS, json.dumps(settings.to_dict(), indent=2) + "\n")
