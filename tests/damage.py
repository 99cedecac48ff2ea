"""Ways to spoil a folder of weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor


def edited(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors in a file."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


class Trap:
    """Leaves a file behind when somebody unpickles it."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.sprung,))
