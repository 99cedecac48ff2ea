"""Weights of any size as files: one safetensors file or several with an index, nothing else.

A tensor that is missing, left over or of another shape is an error that names it: weights that were
silently left out or invented give scores that look right and mean nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from armap_agents.errors import ConfigurationError

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
SHOWN = 5


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        ConfigurationError: The file is missing or holds something else.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"{path} cannot be read ({reason}): fetch it again") from None
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path} holds no JSON object: fetch it again")
    return value


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that hold a folder's model, in the order of their names.

    Raises:
        ConfigurationError: There are none, or one that the index names is missing.
    """
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    if not (folder / INDEX).is_file():
        pickled = next((path.name for kind in PICKLES for path in sorted(folder.glob(kind))), None)
        cure = (
            f"convert {pickled} with `transformers` (save_pretrained), pickled weights are not read"
            if pickled
            else "give a Hugging Face folder"
        )
        raise ConfigurationError(f"{folder} has no {WHOLE} and no {INDEX}: {cure}")
    places = read_json(folder / INDEX).get("weight_map")
    names = sorted(set(map(str, places.values()))) if isinstance(places, dict) else []
    if not names or any(Path(name).name != name for name in names):
        raise ConfigurationError(f"{folder / INDEX} is damaged: fetch it again")
    for name in names:
        if not (folder / name).is_file():
            raise ConfigurationError(f"{folder / name} is missing: fetch it again")
    return [folder / name for name in names]


def digest(files: Sequence[Path]) -> str:
    """Return the sha256 hex digest of the contents of files, one after the other."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: total)
    return total.hexdigest()


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of a folder's model, on the CPU and as they were stored.

    Raises:
        ConfigurationError: A file is missing or damaged.
    """
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        try:
            tensors |= load_file(path)
        except Exception as error:  # whatever is met in a damaged file
            raise ConfigurationError(
                f"{path} is damaged ({type(error).__name__}): fetch it again"
            ) from error
    return tensors


def check_names(
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    source: Path,
    optional: Collection[str] = (),
) -> None:
    """Compare names and shapes of tensors.

    Args:
        expected: Of the model; contents do not matter.
        found: In the files.
        source: Where they were found.
        optional: Names that may be missing.

    Raises:
        ConfigurationError: They differ; names what is missing, unexpected and misshapen.
    """
    differences = {
        "missing": [name for name in expected if name not in found and name not in optional],
        "unexpected": [name for name in found if name not in expected],
        "misshapen": [
            f"{name} {list(found[name].shape)} instead of {list(tensor.shape)}"
            for name, tensor in expected.items()
            if name in found and found[name].shape != tensor.shape
        ],
    }
    complaints = [f"{what}: {_listed(names)}" for what, names in differences.items() if names]
    if complaints:
        raise ConfigurationError(
            f"the tensors in {source} do not fit their config.json ({'; '.join(complaints)}): give "
            "the complete checkpoint"
        )


def place(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    source: Path,
    dtype: torch.dtype,
    optional: Collection[str] = (),
) -> None:
    """Make tensors the weights of a module that was made without any (on the meta device).

    Args:
        module: Gets all of them.
        tensors: By the module's own names.
        source: Where they come from.
        dtype: That they are converted to.
        optional: Names that may be missing and then stay without weights.

    Raises:
        ConfigurationError: Names or shapes differ.
    """
    check_names(module.state_dict(), tensors, source, optional)
    converted = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    module.load_state_dict(converted, strict=False, assign=True)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
