"""A trained reward model, serving in-process.

Texts are scored in batches of similar length on a thread of their own, so that the event loop never
waits for arithmetic. Equal texts are scored once and remembered under their hash.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from armap_agents.errors import ConfigurationError
from armap_agents.reward.model import SETTINGS, load_network, pad
from armap_agents.reward.render import Rendering, render
from armap_agents.trajectory import Trajectory

BATCH_TOKENS = 4096
"""Tokens in a batch, padding included."""

REMEMBERED = 200_000
"""Texts whose outputs are kept; some 40 MB."""

Output = tuple[float, float]
"""Score and value logit."""


class TrainedReward:
    """Scores trajectories with a model folder; keeps the `RewardModel` protocol.

    Args:
        folder: What `armap train` wrote.

    Raises:
        ConfigurationError: The folder is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._network, self._tokenizer, self.settings = load_network(folder)
        # Now, not when asked: the folder may be trained again while this model serves.
        self._fingerprint = _digest(folder)
        self._memory: OrderedDict[bytes, Output] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="armap-scorer")
        if self.settings.calibration:
            # An optional member of the protocol: a model without calibration must not have it.
            self.probability = self._probability

    @property
    def fingerprint(self) -> str:
        """Digest of settings and weights."""
        return self._fingerprint

    @property
    def mean(self) -> float:
        """Mean score μ of held-out finished training trajectories."""
        return self._normalisation["mean"]

    @property
    def std(self) -> float:
        """Standard deviation σ of the same scores."""
        return self._normalisation["std"]

    @property
    def _normalisation(self) -> dict[str, float]:
        known = self.settings.normalisation
        return next(iter(known.values())) if known else {"mean": 0.0, "std": 1.0}

    def _probability(self, scores: Sequence[float]) -> list[float]:
        """Return the calibrated chance of success at each score of a finished trajectory."""
        platt = next(iter(self.settings.calibration.values()))
        logits = [platt["slope"] * score + platt["intercept"] for score in scores]
        chances: list[float] = torch.sigmoid(torch.tensor(logits, dtype=torch.float64)).tolist()
        return chances

    async def ascore(self, trajectories: Sequence[Trajectory]) -> list[float]:
        """Score a batch of any size, in order; higher is better, the scale is the model's own."""
        return [score for score, _ in await self._aoutputs(trajectories)]

    async def avalue(self, prefixes: Sequence[Trajectory]) -> list[float]:
        """Return each prefix's chance, 0 to 1, that a random continuation succeeds."""
        return _probabilities(await self._aoutputs(prefixes))

    def score(self, trajectories: Sequence[Trajectory]) -> list[float]:
        """Score and wait; for scripts, never inside an event loop."""
        return [score for score, _ in self._thread.submit(self._outputs, trajectories).result()]

    def value(self, prefixes: Sequence[Trajectory]) -> list[float]:
        """Return what `avalue` returns and wait; for scripts, never inside an event loop."""
        return _probabilities(self._thread.submit(self._outputs, prefixes).result())

    async def aclose(self) -> None:
        """Stop the thread; scoring afterwards is an error."""
        await asyncio.to_thread(self._thread.shutdown)

    async def _aoutputs(self, trajectories: Sequence[Trajectory]) -> list[Output]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._outputs, list(trajectories))

    def _outputs(self, trajectories: Sequence[Trajectory]) -> list[Output]:
        texts = [self._text(trajectory) for trajectory in trajectories]
        keys = [hashlib.sha256(text.encode()).digest() for text in texts]
        known: dict[bytes, Output] = {}
        fresh: dict[bytes, str] = {}
        for key, text in zip(keys, texts, strict=True):
            if key in self._memory:
                self._memory.move_to_end(key)
                known[key] = self._memory[key]
            else:
                fresh[key] = text
        known.update(zip(fresh, self._run(list(fresh.values())), strict=True))
        for key in fresh:
            self._memory[key] = known[key]
        while len(self._memory) > REMEMBERED:
            self._memory.popitem(last=False)
        return [known[key] for key in keys]

    def _text(self, trajectory: Trajectory) -> str:
        return render(
            trajectory, self.settings.renderings.get(trajectory.task.environment, Rendering())
        )

    def _run(self, texts: list[str]) -> list[Output]:
        if not texts:
            return []
        rows: list[list[int]] = self._tokenizer(
            texts, truncation=True, max_length=self.settings.max_tokens
        )["input_ids"]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        outputs: list[Output] = [(0.0, 0.0)] * len(rows)
        with torch.inference_mode():
            for batch in _batches(order, rows):
                ids, mask = pad([rows[i] for i in batch], self._tokenizer.pad_token_id)
                for i, (score, logit) in zip(batch, self._network(ids, mask).tolist(), strict=True):
                    outputs[i] = (score, logit)
        return outputs


def _probabilities(outputs: Sequence[Output]) -> list[float]:
    """Return σ(value logit) of each output."""
    values: list[float] = torch.sigmoid(torch.tensor([logit for _, logit in outputs])).tolist()
    return values


def _batches(order: Sequence[int], rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """Cut rows, sorted by length, into batches of at most `BATCH_TOKENS` tokens."""
    batches: list[list[int]] = [[]]
    for i in order:
        if batches[-1] and (len(batches[-1]) + 1) * len(rows[i]) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(i)
    return batches


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.name == SETTINGS or path.suffix == ".safetensors":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def load(path: str | Path) -> TrainedReward:
    """Load a model folder; see `armap_agents.reward.load_reward`."""
    folder = Path(path).expanduser()
    if "://" in str(path):
        raise ConfigurationError(f"{path} is an address: give the folder of a trained reward model")
    return TrainedReward(folder)
