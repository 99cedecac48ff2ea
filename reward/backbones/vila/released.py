"""LoRA and score head as the paper's authors and LLaVA-RLHF lay them out, for a VILA backbone.

Such a folder has a PEFT adapter, at its top or in ``adapter_model/lora_default``, whose names go
through the wrappers of LLaVA's code, and beside it the head, a linear layer to one number. Of both,
safetensors are read; what cannot be placed without guessing is refused by its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor

from armap_agents.errors import ConfigurationError
from armap_agents.reward.backbones.vila import VilaBackbone
from armap_agents.reward.backbones.weights import check_names, read_json
from armap_agents.reward.model import RewardNetwork, save_network
from armap_agents.reward.render import Rendering
from armap_agents.reward.settings import EnvironmentSettings, Settings

ADAPTER_FOLDERS = (".", "lora_default", "adapter_model/lora_default")
ADAPTER = "adapter_model"
HEADS = ("reward_head", "non_lora_trainables")

UNUSUAL = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save")
"""Settings of an adapter that change what its tensors mean; all must be unset."""

LAYER = re.compile(
    r"(?:base_model\.model\.)?(?:llm\.)?(?:model\.)?"
    r"(layers\.\d+\.(?:self_attn|mlp)\.[a-z]+_proj)\.lora_([AB])(?:\.\w+)?\.weight"
)


@dataclass(frozen=True)
class Released:
    """A trained backbone and its head: score = weight · vector + bias.

    Attributes:
        backbone: With the adapter, not yet merged, so that it can be saved or trained on.
        weight: Of the score head, ``float32 [width]``.
        bias: Of the score head.
    """

    backbone: VilaBackbone
    weight: Tensor
    bias: float


def released(
    folder: Path, weights: str, max_tokens: int | None = None, dtype: torch.dtype | None = None
) -> Released:
    """Read a released adapter and head onto the checkpoint that they were trained on.

    Args:
        folder: Of the adapter and the head.
        weights: Folder of the VILA1.5 checkpoint.
        max_tokens: Greatest length of an input; None for the backbone's default.
        dtype: Of the frozen weights; None for float32.

    Raises:
        ConfigurationError: Something is missing, is stored as a pickle, or has no place here.
    """
    place = next(
        (
            folder / name
            for name in ADAPTER_FOLDERS
            if (folder / name / "adapter_config.json").is_file()
        ),
        None,
    )
    if place is None:
        raise ConfigurationError(f"{folder} has no adapter_config.json: give the adapter's folder")
    config = read_json(place / "adapter_config.json")
    unusual = [name for name in UNUSUAL if config.get(name)]
    if unusual or config.get("bias", "none") != "none":
        raise ConfigurationError(
            f"the adapter in {place} sets {', '.join(unusual) or 'bias'}, which has no place in a "
            "plain LoRA: train a new one"
        )
    weight, bias = _head(_tensors(folder, *HEADS))
    adapter = _layers(_tensors(place, ADAPTER))
    options = {"rank": config.get("r"), "alpha": config.get("lora_alpha")}
    backbone = VilaBackbone.new(
        weights, options if max_tokens is None else options | {"max_tokens": max_tokens}, dtype
    )
    if weight.shape != (backbone.width,):
        raise ConfigurationError(
            f"the head in {folder} reads vectors of {len(weight)} numbers and {weights} makes "
            f"{backbone.width}: give the checkpoint that it was trained on"
        )
    peft: Any = backbone.llm
    check_names(get_peft_model_state_dict(peft, save_embedding_layers=False), adapter, place)
    set_peft_model_state_dict(peft, adapter)
    return Released(backbone, weight, bias)


def import_released(folder: Path, weights: str, out: Path, environment: str) -> None:
    """Write a released adapter and head as a model folder.

    Nothing is known of the scale of its scores, and nothing is released that values prefixes: their
    value is one half, whatever they are.

    Args:
        folder: Of the adapter and the head.
        weights: Folder of the VILA1.5 checkpoint.
        out: New folder.
        environment: Registered name of the environment that it was trained on.

    Raises:
        ConfigurationError: `out` holds something, or the files cannot be placed.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigurationError(f"{out} holds something else: choose a new folder")
    found = released(folder, weights)
    network = RewardNetwork(found.backbone)
    with torch.no_grad():
        network.heads.weight.copy_(torch.stack([found.weight, torch.zeros_like(found.weight)]))
        network.heads.bias.copy_(torch.tensor([found.bias, 0.0]))
    known = {environment: EnvironmentSettings(Rendering(images=True))}
    save_network(network, Settings(asdict(found.backbone.spec), known), out)


def _tensors(folder: Path, *names: str) -> dict[str, Tensor]:
    """Return the tensors of the first file with one of the names."""
    for name in names:
        path = folder / f"{name}.safetensors"
        if path.is_file():
            try:
                return load_file(path)
            except Exception as error:  # whatever is met in a damaged file
                raise ConfigurationError(
                    f"{path} is damaged ({type(error).__name__}): fetch it again"
                ) from error
    pickled = [
        file for name in names for file in (name, f"{name}.bin") if (folder / file).is_file()
    ]
    if pickled:
        raise ConfigurationError(
            f"{folder / pickled[0]} is a pickle, which can run code and is not read: convert it "
            "with torch.load(…, weights_only=True) and safetensors.torch.save_file to "
            f"{pickled[0].removesuffix('.bin')}.safetensors beside it"
        )
    raise ConfigurationError(f"{folder} has no {names[0]}.safetensors: fetch it again")


def _layers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the adapter by this project's names, less what does nothing on the vision tower."""
    named = {}
    for name, tensor in tensors.items():
        if _is_idle(name, tensors):
            continue
        match = LAYER.fullmatch(name)
        if match is None:
            raise ConfigurationError(
                f"the released adapter has the tensor {name}, which is no LoRA of the language "
                "model and has no place here"
            )
        named[f"base_model.model.{match[1]}.lora_{match[2]}.weight"] = tensor.float()
    return named


def _is_idle(name: str, tensors: Mapping[str, Tensor]) -> bool:
    """Return whether a tensor is one of a pair on the frozen vision tower that changes nothing.

    A list of layer endings in the training script puts LoRA there too, where it never learns.
    """
    product = tensors.get(name.replace(".lora_A.", ".lora_B."))
    return ".vision_tower." in name and product is not None and not product.any()


def _head(tensors: Mapping[str, Tensor]) -> tuple[Tensor, float]:
    weight: Tensor | None = None
    bias: Tensor | None = None
    for name, tensor in tensors.items():
        end = name.rpartition(".")[2]
        if end == "weight" and weight is None and tensor.ndim == 2 and len(tensor) == 1:
            weight = tensor
        elif end == "bias" and bias is None and tensor.shape == (1,):
            bias = tensor
        else:
            raise ConfigurationError(
                f"the released head has the tensor {name} {list(tensor.shape)}, and one weight "
                "[1, width] and one bias [1] are what has a place here"
            )
    if weight is None:
        raise ConfigurationError("the released head has no weight [1, width]: fetch it again")
    return weight[0].float(), 0.0 if bias is None else float(bias)
