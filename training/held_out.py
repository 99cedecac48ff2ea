"""How a network does on tasks that it is not trained on: accuracy, scale of scores, calibration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from statistics import fmean, pstdev

from torch import Tensor

from armap_agents.reward.backbones import Part
from armap_agents.reward.calibration import Calibration, fit_calibration
from armap_agents.reward.render import Rendering
from armap_agents.reward.settings import EnvironmentSettings
from armap_agents.training.examples import Comparison, Examples

WHILE_TRAINING = 400, 65_536
"""Pairs, and positions of their parts, that an evaluation while training looks at, at most."""

WHEN_TRAINED = 1500, 400_000
"""The same for each environment at the end of training."""

SLICE = 64
"""Items scored at once; those beside each other share parts."""

Outputs = Callable[[Sequence[Sequence[Part]]], Tensor]
"""Score and value logit of trajectories, without gradients, ``float32 [trajectories, 2]``."""

Scores = Mapping[int, float]
"""Score by item."""


def sample(
    examples: Examples, pairs: Sequence[Comparison], limits: tuple[int, int], seed: int
) -> list[Comparison]:
    """Return a random part of some pairs that takes a bounded time to score, at least one pair.

    Args:
        examples: What the pairs are of.
        pairs: What to draw from; not empty.
        limits: Pairs, and positions of their distinct parts, at most.
        seed: Draws.
    """
    most, positions = limits
    drawn = Random(f"{seed} held out").sample(pairs, min(most, len(pairs)))
    keys: set[bytes] = set()
    for count, pair in enumerate(drawn):
        for item in (pair.chosen, pair.rejected):
            for part in examples.parts(item):
                if part.key not in keys:
                    keys.add(part.key)
                    positions -= part.length
        if count and positions < 0:
            return drawn[:count]
    return drawn


def score_items(outputs: Outputs, examples: Examples, items: Iterable[int]) -> dict[int, float]:
    """Return the scores of some items."""
    order = sorted(set(items))
    scores: dict[int, float] = {}
    for start in range(0, len(order), SLICE):
        some = order[start : start + SLICE]
        found = outputs([examples.parts(item) for item in some])[:, 0].tolist()
        scores.update(zip(some, found, strict=True))
    return scores


def sides(pairs: Iterable[Comparison]) -> set[int]:
    """Return the items of some pairs."""
    return {item for pair in pairs for item in (pair.chosen, pair.rejected)}


def ordered(pair: Comparison, scores: Scores) -> bool:
    """Whether scores put a pair the way its label does; equal ones do not."""
    return (scores[pair.chosen] - scores[pair.rejected]) * (pair.label - 0.5) > 0


def pair_accuracy(pairs: Iterable[Comparison], scores: Scores) -> dict[str, float]:
    """Return the share of pairs ordered rightly, by number of steps and in all."""
    right: defaultdict[int, list[bool]] = defaultdict(list)
    for pair in pairs:
        if pair.label != 0.5:  # such a label says that neither is better
            right[pair.steps].append(ordered(pair, scores))
    accuracy = {str(steps): fmean(hits) for steps, hits in sorted(right.items())}
    if right:
        accuracy["all"] = fmean(hit for hits in right.values() for hit in hits)
    return {key: round(share, 4) for key, share in accuracy.items()}


def successes(examples: Examples) -> dict[int, bool]:
    """Return whether finished items succeeded, as far as the data knows.

    A Monte-Carlo return of 1 is a success and a smaller one is none. Where there is no return, a
    finished item succeeded if a pair says so and none says that it did not.
    """
    known: dict[int, bool] = {}
    for pair in examples.pairs:
        for item, good in zip((pair.chosen, pair.rejected), pair.outcomes or (), strict=False):
            known[item] = good and known.get(item, True)
    known |= {item: value > 1 - 1e-9 for item, value in examples.values.items()}
    return {item: good for item, good in known.items() if item in examples.finished}


def environment_settings(
    examples: Examples, pairs: Sequence[Comparison], scores: Scores, rendering: Rendering
) -> EnvironmentSettings:
    """Return what a model knows about one environment.

    Args:
        examples: Held-out examples.
        pairs: Those of the environment that were scored; not empty.
        scores: Scores of their items.
        rendering: How the environment's trajectories are written.
    """
    items = sorted(sides(pairs))
    # Trajectories that read the same are one item: each of them counts.
    finished = [scores[item] for item in items for _ in range(examples.finished[item])]
    normal = finished or [scores[item] for item in items]
    return EnvironmentSettings(
        rendering, fmean(normal), max(pstdev(normal), 1e-6), _calibration(examples, pairs, scores)
    )


def _calibration(examples: Examples, pairs: Sequence[Comparison], scores: Scores) -> Calibration:
    known = successes(examples)
    distinct = sorted(sides(pairs) & known.keys())
    singles = [item for item in distinct for _ in range(examples.finished[item])]
    return fit_calibration(
        [scores[pair.chosen] for pair in pairs],
        [scores[pair.rejected] for pair in pairs],
        [scores[item] for item in singles],
        [known[item] for item in singles],
        labels=[pair.label for pair in pairs],
        source="environment" if any("environment" in p.source for p in pairs) else "synthetic",
    )
