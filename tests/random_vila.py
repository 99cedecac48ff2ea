"""A VILA of random weights in the layout of the real VILA1.5-3B, of any size."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

IMAGE_SIZE, PATCH = 42, 14  # 3 × 3 patches, an odd grid like the real one's 27 × 27
WIDTH, VISION_WIDTH = 32, 16


@dataclass(frozen=True)
class Shapes:
    """Sizes of a VILA.

    Attributes:
        language: Of the Llama, as its configuration names them; without a vocabulary, it has the
            tokenizer's.
        vision: Of the SigLIP.
    """

    language: dict[str, float]
    vision: dict[str, int]


TINY = Shapes(
    {
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "initializer_range": 0.2,
    },
    {
        "hidden_size": VISION_WIDTH,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": IMAGE_SIZE,
        "patch_size": PATCH,
    },
)

FULL = Shapes(
    {
        "hidden_size": 2560,
        "intermediate_size": 6912,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "vocab_size": 32_000,
    },
    {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
    },
)
"""Those of VILA1.5-3B: Sheared-LLaMA-2.7B and SigLIP so400m at 384 × 384."""

CORPUS = (
    "A user asks for a task; an assistant works on it step by step and is shown what it sees.",
    "Does the last answer leave the task done as it was asked? The score is",
    "USER: buy a red lamp under 20 dollars ASSISTANT: search[red lamp]",
    "click[buy now] the page shows lamps, shoes and two green chairs ( 3 earlier steps )",
    "open the door to the kitchen and look around; the stove is off",
)


def save_random_vila(
    folder: Path,
    shapes: Shapes = TINY,
    *,
    tokenizer: Literal["json", "sentencepiece"] = "sentencepiece",
    shards: int = 1,
    prefix: bool = True,
    positions: int = 1024,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a checkpoint and return its folder.

    Args:
        folder: Is made.
        shapes: How large it is.
        tokenizer: As a sentencepiece model alone, like the real one, or as ``tokenizer.json``.
        shards: Files that the language model is spread over.
        prefix: Name the vision tower's tensors as old versions of transformers did.
        positions: How far the language model can count.
        dtype: Of the stored weights; None for float32.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel

    from armap_agents.reward.backbones.vila.projector import Projector

    llm, vision, between = folder / "llm", folder / "vision_tower", folder / "mm_projector"
    for part in (llm, vision, between):
        part.mkdir(parents=True)
    vocabulary = _save_tokenizer(llm, tokenizer)
    torch.manual_seed(0)
    llama = LlamaConfig(
        **{"vocab_size": vocabulary, "max_position_embeddings": positions, **shapes.language}
    )
    siglip = SiglipVisionConfig(**shapes.vision)
    language = LlamaForCausalLM(llama)
    _write_json(llm / "config.json", llama.to_dict() | {"architectures": ["LlamaForCausalLM"]})
    tensors = _copied(language, dtype)
    if shards == 1:
        save_file(tensors, llm / "model.safetensors")
    else:
        files = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
        places = {name: files[i % shards] for i, name in enumerate(tensors)}
        for file in files:
            save_file({n: t for n, t in tensors.items() if places[n] == file}, llm / file)
        _write_json(llm / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    start = "vision_model." if prefix else ""
    tower = SiglipVisionModel(siglip)
    save_file(
        {start + name: tensor for name, tensor in _copied(tower, dtype).items()},
        vision / "model.safetensors",
    )
    _write_json(vision / "config.json", siglip.to_dict())
    _write_json(
        vision / "preprocessor_config.json",
        {
            "do_normalize": True,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
            "image_processor_type": "SiglipImageProcessor",
            "resample": 3,
            "rescale_factor": 1 / 255,
            "size": {"height": siglip.image_size, "width": siglip.image_size},
        },
    )
    projector = Projector(siglip.hidden_size, llama.hidden_size)
    save_file(_copied(projector, dtype), between / "model.safetensors")
    _write_json(
        between / "config.json",
        {"model_type": "v2l_projector", "mm_projector_type": "mlp_downsample"},
    )
    _write_json(
        folder / "config.json",
        {
            "model_type": "llava_llama",
            "architectures": ["LlavaLlamaModel"],
            "image_aspect_ratio": "resize",
            "mm_vision_select_feature": "cls_patch",
            "mm_vision_select_layer": -2,
            "s2": False,
        },
    )
    return folder


def _copied(module: torch.nn.Module, dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    return {name: t.to(dtype or t.dtype, copy=True) for name, t in module.state_dict().items()}


def _save_tokenizer(folder: Path, kind: str) -> int:
    """Write a tokenizer of the corpus and return the size of its vocabulary."""
    if kind == "sentencepiece":
        import sentencepiece

        written = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS * 4),
            model_writer=written,
            model_type="bpe",
            vocab_size=400,
            hard_vocab_limit=False,
            byte_fallback=True,
            num_threads=1,
            minloglevel=3,
        )
        (folder / "tokenizer.model").write_bytes(written.getvalue())
        loaded = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
        return int(loaded.get_piece_size())
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokens = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokens.pre_tokenizer = pre_tokenizers.Metaspace()
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False
    )
    tokens.train_from_iterator(CORPUS * 4, trainer)
    tokens.save(str(folder / "tokenizer.json"))
    return int(tokens.get_vocab_size())


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, default=str), "utf-8")
