"""Pretrained weights on disk: finding them, naming their bytes, reading them, LoRA on top of them.

Everything is read from local safetensors and JSON: nothing is downloaded at load time, unpickled,
or run from a folder.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from armap_agents.errors import ArmapError, ConfigurationError

# peft asks every transformers model an old question when it wraps or merges it.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")

ADAPTER = "adapter"
"""Folder of the LoRA weights inside a model folder, in PEFT's layout."""

ADAPTER_WEIGHTS = "adapter_model.safetensors"


def find_weights(name: str) -> tuple[str, Path]:
    """Return what a model folder notes of some weights, and where they lie.

    Args:
        name: Name that `armap models pull` knows, or a Hugging Face folder.

    Raises:
        ConfigurationError: There is no such folder, and nothing has that name.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder.resolve()), folder
    from armap_agents.serving.models import pull

    return name, Path(pull(name))


def read_encoder(folder: Path) -> Any:
    """Return a folder's encoder in float32.

    Raises:
        ConfigurationError: The files are damaged or no encoder.
    """
    with quiet(), _damage_named("backbone", folder):
        # Eager attention: with a dozen tokens fused kernels cost more than they save on a CPU.
        return AutoModel.from_pretrained(
            folder,
            attn_implementation="eager",
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )


def read_tokenizer(folder: Path) -> Any:
    """Return a folder's tokenizer.

    Raises:
        ConfigurationError: The files are damaged or no tokenizer.
    """
    with _damage_named("tokenizer", folder):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


@contextmanager
def _damage_named(what: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever the loaders meet in a damaged folder
        raise ConfigurationError(
            f"the {what} in {folder} cannot be read ({type(error).__name__}): give a Hugging "
            "Face folder with safetensors and a tokenizer, or pull the model again"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Hide transformers' progress bar and its report of heads that are left out."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def with_lora(
    model: Any,
    rank: int,
    alpha: int,
    *,
    dtype: torch.dtype | None = None,
    targets: str | list[str] = "all-linear",
    exclude: str | None = None,
) -> PeftModel:
    """Freeze a model and put LoRA on its linear layers.

    Args:
        model: A transformers model.
        rank: LoRA rank.
        alpha: LoRA alpha.
        dtype: Of the frozen weights beneath LoRA, for training under autocast: it would round them
            so at every step anyway. None leaves them.
        targets: Layers to adapt, as PEFT names them.
        exclude: Regular expression of layers to leave out.
    """
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, exclude_modules=exclude)
    peft: PeftModel = get_peft_model(model, config)
    if dtype is not None:
        for module in peft.modules():
            if isinstance(module, LoraLayer) and isinstance(module.get_base_layer(), nn.Linear):
                module.get_base_layer().to(dtype)
    return peft


def save_lora(peft: PeftModel, weights: str, folder: Path) -> None:
    """Write a model folder's adapter; `weights` names what it was trained on."""
    peft.peft_config["default"].base_model_name_or_path = weights
    # "auto" would ask the hub for the backbone's vocabulary, which LoRA leaves as it is.
    peft.save_pretrained(str(folder / ADAPTER), save_embedding_layers=False)
    (folder / ADAPTER / "README.md").unlink(missing_ok=True)


def merge_lora(peft: PeftModel, folder: Path) -> Any:
    """Return the model with a model folder's adapter merged into it.

    Raises:
        ConfigurationError: The adapter is missing, damaged or another model's.
    """
    tensors = read_tensors(folder / ADAPTER / ADAPTER_WEIGHTS)
    if tensors.keys() != get_peft_model_state_dict(peft, save_embedding_layers=False).keys():
        raise ConfigurationError(
            f"{folder / ADAPTER} is another model's adapter: train the model again"
        )
    with damaged(folder):
        set_peft_model_state_dict(peft, tensors)
    return peft.merge_and_unload()


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises:
        ConfigurationError: It is missing or damaged.
    """
    with damaged(path):
        return load_file(path)


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Turn whatever the loaders meet in a damaged model folder into one line."""
    try:
        yield
    except ArmapError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"{path} is damaged or missing ({type(error).__name__}): train the model again"
        ) from error
