"""VILA1.5's layout on disk: a root ``config.json`` and the parts of the model in a folder each.

Transformers has no such model type and the layout's own code is not run, so the parts are read by
themselves: ``llm/`` is a Llama with its tokenizer, ``vision_tower/`` a SigLIP, ``mm_projector/``
the layers between. A checkpoint whose files ask for something that is not done here is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel

from armap_agents.errors import ConfigurationError
from armap_agents.reward.backbones.vila.projector import Projector
from armap_agents.reward.backbones.weights import place, read_json, read_weights, weight_files

LLM, VISION, PROJECTOR = "llm", "vision_tower", "mm_projector"

COMPUTED = ("rotary_emb.inv_freq", "position_ids")
"""Ends of names that old versions stored though they follow from the configuration."""

BICUBIC = 3


@dataclass(frozen=True)
class Layout:
    """What a checkpoint's configuration files say.

    Attributes:
        folder: Its root.
        llm: Of the language model.
        vision: Of the vision tower.
        vision_layers: How many of the tower's layers the features pass through.
        positions: How far the language model can count.
    """

    folder: Path
    llm: Any
    vision: Any
    vision_layers: int
    positions: int

    @property
    def files(self) -> list[Path]:
        """All weights files."""
        return [
            file for part in (LLM, VISION, PROJECTOR) for file in weight_files(self.folder / part)
        ]


def read_layout(folder: Path) -> Layout:
    """Read a checkpoint's configuration.

    Raises:
        ConfigurationError: The folder is no VILA1.5 checkpoint, or one of a kind that is not read.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"there is no folder {folder}: give the folder of a VILA1.5 checkpoint"
        )
    root = read_json(folder / "config.json")
    llm = read_json(folder / LLM / "config.json")
    vision = read_json(folder / VISION / "config.json")
    processor = read_json(folder / VISION / "preprocessor_config.json")
    between = read_json(folder / PROJECTOR / "config.json")
    size = vision.get("image_size")
    for file, value, key, accepted in (
        ("config.json", root, "model_type", ("llava_llama",)),
        ("config.json", root, "mm_vision_select_feature", (None, "cls_patch")),
        ("config.json", root, "image_aspect_ratio", (None, "resize")),
        ("config.json", root, "s2", (None, False)),
        ("config.json", root, "mm_use_im_start_end", (None, False)),
        (f"{LLM}/config.json", llm, "model_type", ("llama",)),
        (f"{LLM}/config.json", llm, "quantization_config", (None,)),
        (f"{VISION}/config.json", vision, "model_type", ("siglip_vision_model",)),
        (f"{PROJECTOR}/config.json", between, "mm_projector_type", (None, "mlp_downsample")),
        (f"{VISION}/preprocessor_config.json", processor, "resample", (None, BICUBIC)),
        (f"{VISION}/preprocessor_config.json", processor, "image_mean", (None, [0.5] * 3)),
        (f"{VISION}/preprocessor_config.json", processor, "image_std", (None, [0.5] * 3)),
        (
            f"{VISION}/preprocessor_config.json",
            processor,
            "size",
            (None, {"height": size, "width": size}),
        ),
    ):
        if value.get(key) not in accepted:
            raise ConfigurationError(
                f"{folder / file} has {key} {value.get(key)!r}, and {accepted[-1]!r} is what can "
                "be read: give a checkpoint like VILA1.5-3B"
            )
    try:
        return _layout(folder, root, llm, vision)
    except Exception as error:  # whatever wrong values lead to
        reason = " ".join(str(error).split())
        raise ConfigurationError(
            f"the configuration of {folder} is damaged ({type(error).__name__}: {reason}): fetch "
            "it again"
        ) from error


def _layout(
    folder: Path, root: dict[str, Any], llm: dict[str, Any], vision: dict[str, Any]
) -> Layout:
    language = LlamaConfig.from_dict(llm)
    tower = SiglipVisionConfig.from_dict(vision)
    rope = language.rope_parameters
    stretch = rope["factor"] if rope["rope_type"] == "linear" else 1.0
    layer = int(root.get("mm_vision_select_layer", -2))
    layers = layer if layer >= 0 else tower.num_hidden_layers + 1 + layer
    if not 0 < layers <= tower.num_hidden_layers:
        raise ValueError(f"mm_vision_select_layer {layer}")
    return Layout(folder, language, tower, layers, int(language.max_position_embeddings * stretch))


def read_llm(layout: Layout, dtype: torch.dtype) -> Any:
    """Return the language model without its vocabulary head.

    Raises:
        ConfigurationError: Tensors are missing, unexpected or misshapen.
    """
    layout.llm.use_cache = False
    with init_empty_weights():
        model = LlamaForCausalLM(layout.llm)
    optional = ("lm_head.weight",) if layout.llm.tie_word_embeddings else ()
    folder = layout.folder / LLM
    place(model, _stored(folder), folder, dtype, optional)
    return model.model


def read_vision_tower(layout: Layout, dtype: torch.dtype) -> Any:
    """Return the vision tower cut off behind the layer whose output is used.

    Raises:
        ConfigurationError: Tensors are missing, unexpected or misshapen.
    """
    with init_empty_weights():
        tower = SiglipVisionModel(layout.vision)
    folder = layout.folder / VISION
    tensors = _stored(folder)
    if all(name.startswith("vision_model.") for name in tensors):
        tensors = {name.removeprefix("vision_model."): value for name, value in tensors.items()}
    place(tower, tensors, folder, dtype)
    tower.encoder.layers = tower.encoder.layers[: layout.vision_layers]
    tower.post_layernorm = nn.Identity()
    tower.use_head, tower.head = False, None
    return tower


def read_projector(layout: Layout, dtype: torch.dtype) -> Projector:
    """Return the layers between vision tower and language model.

    Raises:
        ConfigurationError: Tensors are missing, unexpected or misshapen.
    """
    with init_empty_weights():
        projector = Projector(layout.vision.hidden_size, layout.llm.hidden_size)
    folder = layout.folder / PROJECTOR
    place(projector, _stored(folder), folder, dtype)
    return projector


def read_tokens(layout: Layout) -> Callable[[str], list[int]]:
    """Return what turns a text into token ids, without special ones and without finding any in it.

    Raises:
        ConfigurationError: There is no tokenizer, or it is damaged or another model's.
    """
    folder = layout.folder / LLM
    try:
        tokens, size = _tokens(folder)
    except ConfigurationError:
        raise
    except Exception as error:  # whatever the loaders meet in a damaged file
        raise ConfigurationError(
            f"the tokenizer in {folder} is damaged ({type(error).__name__}): fetch it again"
        ) from error
    if size > layout.llm.vocab_size:
        raise ConfigurationError(
            f"the tokenizer in {folder} knows {size} tokens and the model {layout.llm.vocab_size}: "
            "give the tokenizer that belongs to it"
        )
    return tokens


def _tokens(folder: Path) -> tuple[Callable[[str], list[int]], int]:
    """Read ``tokenizer.json``, or a lone sentencepiece model, which needs no conversion."""
    if (folder / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
        fast.encode_special_tokens = True
        fast.no_truncation()
        return (lambda text: fast.encode(text, add_special_tokens=False).ids), fast.get_vocab_size()
    if (folder / "tokenizer.model").is_file():
        from sentencepiece import SentencePieceProcessor

        pieces = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        return pieces.encode, pieces.get_piece_size()
    raise ConfigurationError(
        f"{folder} has neither tokenizer.json nor tokenizer.model: fetch it again"
    )


def _stored(folder: Path) -> dict[str, Tensor]:
    tensors = read_weights(folder)
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(COMPUTED)}
