"""What a training run writes while it trains: one line a step, and the same for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armap_agents.training.checkpoint import cut_log

LOG, TENSORBOARD = "log.jsonl", "tensorboard"


class RunLog:
    """The log of a run, as far as the step that it goes on from.

    Args:
        folder: The model folder.
        step: Later lines of an earlier part of the run are dropped.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX import SummaryWriter

        cut_log(folder / LOG, step)
        self._lines = (folder / LOG).open("a", encoding="utf-8")
        self._board: Any = SummaryWriter(str(folder / TENSORBOARD), purge_step=step + 1)

    def write(self, record: Mapping[str, float]) -> None:
        """Write the figures of a step; `step` is one of them."""
        self._lines.write(json.dumps(record) + "\n")
        for name, value in record.items():
            if name != "step":
                self._board.add_scalar(name, value, record["step"])

    def flush(self) -> None:
        """Put everything on disk."""
        self._lines.flush()
        self._board.flush()

    def close(self) -> None:
        """Put everything on disk and stop."""
        self._lines.close()
        self._board.close()


def read_log(folder: Path) -> list[dict[str, float]]:
    """Return the lines of a finished run's log."""
    return [json.loads(line) for line in (folder / LOG).read_text("utf-8").splitlines()]
