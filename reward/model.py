"""The network: a small transformer encoder with LoRA, mean pooling and two scalar heads.

One head gives the pairwise score (Bradley–Terry: only differences mean something), the other the
logit of a prefix's Monte-Carlo return, which has one scale over all depths. The backbone stays
frozen; a model folder holds the adapter, the heads and `reward.json`, safetensors and JSON only.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from armap_agents.errors import ConfigurationError
from armap_agents.reward.render import Rendering

# peft asks every transformers model an old question when it wraps or merges it.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")

SETTINGS, HEADS, ADAPTER = "reward.json", "heads.safetensors", "adapter"

WEIGHTS = "model.safetensors"
"""A backbone folder's weights, the Hugging Face layout."""


@dataclass(frozen=True)
class Settings:
    """What a model folder says about itself, in ``reward.json``.

    Attributes:
        backbone: Name that `armap models pull` knows, or a folder.
        backbone_sha256: Digest of the backbone's weights file.
        renderings: How each environment's trajectories are written.
        normalisation: Per environment, mean and standard deviation of the scores of held-out
            finished training trajectories.
        max_tokens: Longer inputs are cut at the end, which the renderers' budgets avoid.
        accuracy: Held-out pair accuracy by number of steps, and overall under ``all``.
        training: Steps, wall and CPU seconds, pairs and texts that training took.
        calibration: Per environment, `slope` and `intercept` of the sigmoid that turns a finished
            trajectory's score into a chance of success at `base_rate`.
        schema_version: Of this file.
    """

    backbone: str
    backbone_sha256: str
    renderings: dict[str, Rendering]
    normalisation: dict[str, dict[str, float]] = field(default_factory=dict)
    max_tokens: int = 512
    accuracy: dict[str, float] = field(default_factory=dict)
    training: dict[str, float] = field(default_factory=dict)
    calibration: dict[str, dict[str, float]] = field(default_factory=dict)
    schema_version: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as pure JSON."""
        renderings = {name: rendering.to_dict() for name, rendering in self.renderings.items()}
        return asdict(self) | {"renderings": renderings}

    @classmethod
    def read(cls, folder: Path) -> Settings:
        """Read a model folder's settings.

        Raises:
            ConfigurationError: The folder is missing, is no reward model, or is damaged.
        """
        path = folder / SETTINGS
        if not folder.is_dir():
            raise ConfigurationError(
                f"there is no reward model in {folder}: train one with `armap train DATA --out "
                f"{folder}`"
            )
        if not path.is_file():
            raise ConfigurationError(
                f"{folder} is not a reward model, it has no {SETTINGS}: give a folder that "
                "`armap train` finished"
            )
        try:
            value = json.loads(path.read_text("utf-8"))
            renderings = {
                name: Rendering.from_dict(item) for name, item in value.pop("renderings").items()
            }
            settings = cls(renderings=renderings, **value)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigurationError(
                f"{path} is damaged ({error}): train the model again"
            ) from None
        if settings.schema_version != 1:
            raise ConfigurationError(
                f"{path} has schema version {settings.schema_version}, this version reads 1: "
                "update armap-agents or train the model again"
            )
        return settings


@dataclass(frozen=True)
class Backbone:
    """A pretrained encoder on disk.

    Attributes:
        name: What the user called it; stored in the model folder.
        folder: A plain Hugging Face folder.
    """

    name: str
    folder: Path

    @classmethod
    def find(cls, name: str) -> Backbone:
        """Return the backbone in a folder, or the pulled one of that name.

        Raises:
            ConfigurationError: The folder holds no safetensors weights, or nothing has that name.
        """
        folder = Path(name).expanduser()
        if folder.is_dir():
            if not (folder / WEIGHTS).is_file():
                raise ConfigurationError(f"{folder} has no {WEIGHTS}: give a Hugging Face folder")
            return cls(str(folder.resolve()), folder)
        from armap_agents.serving.models import pull

        return cls(name, Path(pull(name)))

    def sha256(self) -> str:
        """Return the hex digest of the weights file."""
        with (self.folder / WEIGHTS).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class RewardNetwork(nn.Module):
    """Encoder, mean pooling, heads.

    Args:
        encoder: Maps token ids ``[batch, tokens]`` to hidden states ``[batch, tokens, width]``.
        width: Size of a hidden state.
    """

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.Linear(width, 2, dtype=torch.float32)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return score and value logit, ``float32 [batch, 2]``.

        Args:
            ids: Token ids, ``int64 [batch, tokens]``.
            mask: 1 for tokens, 0 for padding, ``int64 [batch, tokens]``.
        """
        hidden: Tensor = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        with torch.autocast(ids.device.type, enabled=False):
            weight = mask.unsqueeze(-1).float()
            pooled = (hidden.float() * weight).sum(1) / weight.sum(1).clamp_min(1.0)
            result: Tensor = self.heads(pooled)
        return result


def new_network(backbone: Backbone, rank: int, alpha: int, *, bf16: bool) -> RewardNetwork:
    """Return an untrained network: LoRA on every linear layer of a frozen backbone.

    Args:
        backbone: What to start from.
        rank: LoRA rank.
        alpha: LoRA alpha.
        bf16: Keep the frozen products' weights in bfloat16, for training under autocast: it would
            round them so at every step anyway.
    """
    encoder = plain_encoder(backbone)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules="all-linear",
        exclude_modules=r".*pooler.*",  # mean pooling takes its place
    )
    peft = get_peft_model(encoder, config)
    if bf16:
        for module in peft.modules():
            if isinstance(module, LoraLayer) and isinstance(module.get_base_layer(), nn.Linear):
                module.get_base_layer().to(torch.bfloat16)
    return RewardNetwork(peft, encoder.config.hidden_size)


def plain_encoder(backbone: Backbone) -> Any:
    """Return the backbone as it is on disk, in float32."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        # Eager attention: with a dozen tokens fused kernels cost more than they save on a CPU.
        return AutoModel.from_pretrained(
            backbone.folder,
            attn_implementation="eager",
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    finally:
        if shown:
            logging.enable_progress_bar()


def tokenizer_of(backbone: Backbone) -> Any:
    """Return the backbone's tokenizer."""
    return AutoTokenizer.from_pretrained(
        backbone.folder, local_files_only=True, trust_remote_code=False
    )


def pad(rows: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Return token ids and mask of a batch, each ``int64 [len(rows), longest]``."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), padding)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask


def save_network(network: RewardNetwork, settings: Settings, folder: Path) -> None:
    """Write adapter, heads and settings; the settings last, they make the folder a model."""
    folder.mkdir(parents=True, exist_ok=True)
    peft: Any = network.encoder
    peft.peft_config["default"].base_model_name_or_path = settings.backbone
    # "auto" would ask the hub for the backbone's vocabulary, which LoRA leaves as it is.
    peft.save_pretrained(str(folder / ADAPTER), save_embedding_layers=False)
    (folder / ADAPTER / "README.md").unlink(missing_ok=True)
    save_file(network.heads.state_dict(), folder / HEADS)
    partial = folder / f"{SETTINGS}.partial"
    partial.write_text(json.dumps(settings.to_dict(), indent=2) + "\n", "utf-8")
    partial.rename(folder / SETTINGS)


def load_network(folder: Path) -> tuple[RewardNetwork, Any, Settings]:
    """Return a model folder's network with the adapter merged, its tokenizer and its settings.

    Raises:
        ConfigurationError: The folder or its backbone is missing, damaged or another one.
    """
    settings = Settings.read(folder)
    backbone = Backbone.find(settings.backbone)
    if backbone.sha256() != settings.backbone_sha256:
        raise ConfigurationError(
            f"{backbone.folder} is not the backbone that {folder} was trained on: pull it again "
            f"with `armap models pull {settings.backbone}`, or train again"
        )
    try:
        peft = PeftModel.from_pretrained(plain_encoder(backbone), str(folder / ADAPTER))
        encoder = peft.merge_and_unload()
        network = RewardNetwork(encoder, encoder.config.hidden_size)
        network.heads.load_state_dict(load_file(folder / HEADS))
    except Exception as error:  # whatever the loaders meet in a damaged folder
        raise ConfigurationError(
            f"{folder} is damaged ({type(error).__name__}): train the model again"
        ) from error
    return network.eval(), tokenizer_of(backbone), settings
