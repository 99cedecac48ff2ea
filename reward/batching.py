"""Which sequences meet in one padded batch: those of similar length, so padding costs little."""

from __future__ import annotations

from collections.abc import Sequence

PADDING = 1 / 8
"""Share of a batch that may be padding. On a CPU a further call is cheaper than more of it."""

SLACK = 32
"""Positions of padding that no further call is made for."""


def batches(lengths: Sequence[int], positions: int) -> list[list[int]]:
    """Return the indices of sequences, batch by batch, the longest first.

    The longest come first so that a batch too large for the memory fails at once.

    Args:
        lengths: Of the sequences.
        positions: Most positions of a batch, padding included; a longer sequence goes alone.
    """
    made: list[list[int]] = []
    filled = width = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        padded = width * (len(made[-1]) + 1) if made else 0
        padding = padded - filled - length
        if not made or padded > positions or padding > max(SLACK, PADDING * padded):
            made.append([])
            filled, width = 0, length
        made[-1].append(index)
        filled += length
    return made
