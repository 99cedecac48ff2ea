"""From a data folder to token batches: which texts meet in which training step.

Texts are tokenised once and shared: a prefix that stands in ten pairs, or that ten trajectories
have in common, is one row. A batch is packed with pairs around the same chosen rows, so that a
step compares more pairs than half of the rows it encodes; their Monte-Carlo values ride along.
(Rows with a value alone were tried as a quarter of each batch: they cost more than they taught.)
Which rows meet is a function of (seed, step): a resumed run goes on with exactly the batches that
were left.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch
from torch import Tensor

from armap_agents.errors import ConfigurationError
from armap_agents.reward.model import pad
from armap_agents.reward.render import Rendering, render
from armap_agents.training.records import Dataset

GROUP = 8
"""Most pairs that share their chosen row in one batch."""


@dataclass
class Examples:
    """Tokenised rows with what is known of them.

    Attributes:
        rows: Token ids of each distinct text.
        pairs: (chosen row, rejected row, number of steps, margin) of each distinct pair.
        values: Monte-Carlo return of a row, 0 to 1, where it has one.
    """

    rows: list[list[int]] = field(default_factory=list)
    pairs: list[tuple[int, int, int, float]] = field(default_factory=list)
    values: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """One training step's input.

    Attributes:
        ids: Token ids, ``int64 [rows, tokens]``.
        mask: 1 for tokens, ``int64 [rows, tokens]``.
        chosen: Row of each pair's better text, ``int64 [pairs]``.
        rejected: Row of its worse text, ``int64 [pairs]``.
        margin: Its margin, ``float32 [pairs]``.
        valued: Rows with a value, ``int64 [valued]``.
        values: Their values, ``float32 [valued]``.
    """

    ids: Tensor
    mask: Tensor
    chosen: Tensor
    rejected: Tensor
    margin: Tensor
    valued: Tensor
    values: Tensor


def held_out(task: str, share: float, seed: int) -> bool:
    """Whether a task's records are kept from training: a fixed draw by its id."""
    digest = hashlib.sha256(f"{seed} {task}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def split_examples(
    data: Dataset,
    renderings: Mapping[str, Rendering],
    tokenizer: Any,
    share: float,
    seed: int,
    max_tokens: int,
) -> tuple[Examples, Examples]:
    """Return training and held-out examples; no task is in both.

    Raises:
        ConfigurationError: There are too few tasks to hold any out.
    """
    sides = []
    for kept_out in (False, True):
        part = Dataset(
            data.trajectories,
            [pair for pair in data.pairs if held_out(pair.task, share, seed) is kept_out],
            [value for value in data.values if held_out(value.task, share, seed) is kept_out],
        )
        if not part.pairs:
            raise ConfigurationError(
                "the data has too few tasks to hold some out: generate more trajectories"
            )
        sides.append(examples(part, renderings, tokenizer, max_tokens))
    return sides[0], sides[1]


def examples(
    data: Dataset, renderings: Mapping[str, Rendering], tokenizer: Any, max_tokens: int
) -> Examples:
    """Render and tokenise every prefix that a pair or a value speaks of."""
    texts: dict[str, int] = {}

    def row(environment: str, trajectory: str, steps: int, instruction: str) -> int:
        prefix = data.prefix(trajectory, steps, instruction)
        text = render(prefix, renderings.get(environment, Rendering()))
        return texts.setdefault(text, len(texts))

    pairs = {}
    for p in data.pairs:
        chosen = row(p.environment, p.chosen, p.chosen_steps, p.instruction)
        rejected = row(p.environment, p.rejected, p.rejected_steps, p.instruction)
        if chosen != rejected:
            pairs[chosen, rejected] = (chosen, rejected, p.chosen_steps, p.margin)
    counts: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
    for v in data.values:
        total = counts[row(v.environment, v.trajectory, v.steps, v.instruction)]
        total[0] += v.successes
        total[1] += v.continuations
    values = {index: good / played for index, (good, played) in counts.items() if played}
    rows = tokenizer(list(texts), truncation=True, max_length=max_tokens)["input_ids"]
    return Examples(rows, list(pairs.values()), values)


class Batches:
    """The batches of training, by step.

    Args:
        examples: What to train on.
        rows: Rows to encode a step, at most.
        seed: Draws the order.
        padding: Id of the padding token.
    """

    def __init__(self, examples: Examples, rows: int, seed: int, padding: int) -> None:
        self._examples = examples
        self._rows = rows
        self._seed = seed
        self._padding = padding
        self._groups: defaultdict[int, list[int]] = defaultdict(list)
        for index, pair in enumerate(examples.pairs):
            self._groups[pair[0]].append(index)

    def __call__(self, first: int = 0) -> Iterator[Batch]:
        """Yield the batches from step `first` on, without end."""
        step, epoch = 0, 0
        while True:
            for packed in self._epoch(epoch):
                if step >= first:
                    yield self._batch(packed)
                step += 1
            epoch += 1

    def _epoch(self, epoch: int) -> Iterator[list[int]]:
        rng = Random(f"{self._seed} pairs {epoch}")
        chunks = []
        for group in self._groups.values():
            members = group.copy()
            rng.shuffle(members)
            chunks += [members[i : i + GROUP] for i in range(0, len(members), GROUP)]
        rng.shuffle(chunks)
        packed: list[int] = []
        texts: set[int] = set()
        for chunk in chunks:
            new = {row for index in chunk for row in self._examples.pairs[index][:2]}
            if packed and len(texts | new) > self._rows:
                yield packed
                packed, texts = [], set()
            packed.extend(chunk)
            texts |= new
        yield packed

    def _batch(self, packed: Sequence[int]) -> Batch:
        pairs = [self._examples.pairs[index] for index in packed]
        rows = list(dict.fromkeys(row for pair in pairs for row in pair[:2]))
        place = {row: i for i, row in enumerate(rows)}
        ids, mask = pad([self._examples.rows[row] for row in rows], self._padding)
        valued = [row for row in rows if row in self._examples.values]
        return Batch(
            ids,
            mask,
            torch.tensor([place[pair[0]] for pair in pairs]),
            torch.tensor([place[pair[1]] for pair in pairs]),
            torch.tensor([pair[3] for pair in pairs]),
            torch.tensor([place[row] for row in valued], dtype=torch.int64),
            torch.tensor([self._examples.values[row] for row in valued]),
        )
