"""Instruction and step as one token sequence, within a budget, as an encoder reads pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from armap_agents.errors import ConfigurationError
from armap_agents.reward.render import LEFT_OUT, cut

REMEMBERED = 32_768
"""Pairs whose tokens are kept: the steps of a prefix come back with every step that follows."""

CHARACTERS = 16
"""Characters a token of the budget. Longer texts lose their middle before they are tokenised, which
would take seconds for a text of megabytes."""


class PairTokenizer:
    """Makes the token ids of (instruction, step).

    Both lose their middle, marked, where they are too long: the instruction beyond its own budget,
    the step beyond what the instruction leaves of the whole.

    Args:
        tokenizer: A fast transformers tokenizer.
        budget: Most tokens of a pair, special ones included.
        instruction_budget: Most tokens of the instruction; never more than half of the budget.

    Raises:
        ConfigurationError: The tokenizer does not join pairs, or the budget holds none.
    """

    def __init__(self, tokenizer: Any, budget: int, instruction_budget: int) -> None:
        self._tokenizer = tokenizer.backend_tokenizer
        # Text that spells a special token is text: a page cannot end the instruction.
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._before, self._between, self._after = _frame(self._tokenizer)
        if not self._between:
            raise ConfigurationError(
                "the backbone's tokenizer puts nothing between two texts: use an encoder that "
                "reads pairs, such as a BERT, or --backbone hf-text"
            )
        self.padding: int = tokenizer.pad_token_id or 0
        frame = len(self._before) + len(self._between) + len(self._after)
        self._room = min(budget, tokenizer.model_max_length) - frame
        self._instruction_room = min(instruction_budget, self._room // 2)
        if self._instruction_room < 1:
            raise ConfigurationError(
                f"a budget of {self._room + frame} tokens holds no instruction and no step: use a "
                "greater `part_tokens`, or a backbone with more positions"
            )
        self._left_out = self._plain(LEFT_OUT)
        self._ids = lru_cache(REMEMBERED)(self._joined)

    def __call__(self, instruction: str, step: str) -> tuple[int, ...]:
        """Return the ids of a pair, special ones included."""
        return self._ids(instruction, step)

    def padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return token ids and mask of a batch, each ``int64 [len(rows), longest]``."""
        return padded(rows, self.padding)

    def segments(self, ids: Tensor) -> Tensor:
        """Return 0 for the tokens of the instruction and 1 for those of the step, like `ids`."""
        ends = ids == self._between[0]
        return ((ends.cumsum(1) - ends.long()) > 0).long()

    def _joined(self, instruction: str, step: str) -> tuple[int, ...]:
        asked = self._fitted(instruction, self._instruction_room)
        done = self._fitted(step, self._room - len(asked))
        return (*self._before, *asked, *self._between, *done, *self._after)

    def _fitted(self, text: str, room: int) -> list[int]:
        ids = self._plain(cut(text, CHARACTERS * room, len))
        if len(ids) <= room:
            return ids
        kept = max(0, room - len(self._left_out))
        head = (kept + 1) // 2
        return [*ids[:head], *self._left_out, *ids[len(ids) - (kept - head) :]][:room]

    def _plain(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def padded(rows: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Return token ids and mask of a batch, each ``int64 [len(rows), longest]``.

    Args:
        rows: Token ids.
        padding: Id of the padding token.
    """
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[padding] * (longest - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(longest) < lengths[:, None]).long()


def _frame(tokenizer: Any) -> tuple[list[int], list[int], list[int]]:
    """Return the special ids before, between and after the two texts of a pair."""
    pair = tokenizer.encode("a", "b")
    first = [i for i, of in enumerate(pair.sequence_ids) if of == 0]
    second = [i for i, of in enumerate(pair.sequence_ids) if of == 1]
    ids = pair.ids
    return ids[: first[0]], ids[first[-1] + 1 : second[0]], ids[second[-1] + 1 :]
