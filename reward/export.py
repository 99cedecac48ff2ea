"""A trained text model as a plain Hugging Face sequence classifier, for servers such as vLLM.

The adapter is merged, and the heads become the two outputs of a ``…ForSequenceClassification``
that reads a text's last token. Such heads have no bias, and servers know nothing of trajectories:
``reward.json`` and ``export.json`` beside the weights tell `vllm` how to write a trajectory as
tokens and what to add to its two numbers.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from armap_agents.errors import ConfigurationError

EXPORT = "export.json"
"""Makes a folder an export; written last."""

LABELS = {0: "score", 1: "value"}


@dataclass(frozen=True)
class ExportSettings:
    """What an export says about itself.

    Attributes:
        fingerprint: Digest of weights and settings.
        tokens: Most tokens of a text.
        bias: What is added to score and value logit.
    """

    fingerprint: str
    tokens: int
    bias: tuple[float, float]

    @classmethod
    def read(cls, folder: Path) -> ExportSettings:
        """Read an export's settings.

        Raises:
            ConfigurationError: The folder is no export, or is damaged.
        """
        try:
            value = json.loads((folder / EXPORT).read_text("utf-8"))
            score, logit = map(float, value["bias"])
            return cls(str(value["fingerprint"]), int(value["tokens"]), (score, logit))
        except OSError:
            raise ConfigurationError(
                f"{folder} is no exported reward model, it has no {EXPORT}: give a folder that "
                "`armap reward export` wrote"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"{folder / EXPORT} is damaged ({error}): export the model again"
            ) from None


def export(model: Path, out: Path) -> None:
    """Write a model folder's network as a sequence classifier with its tokenizer.

    Args:
        model: What `armap train` wrote, with the backbone ``hf-text`` on a decoder.
        out: Folder to write: a new one, or an earlier export.

    Raises:
        ConfigurationError: `model` is no reward model or one that cannot be exported; `out` holds
            something else.
    """
    from armap_agents.reward.backbones.text import TextBackbone
    from armap_agents.reward.backbones.weights import digest, weight_files
    from armap_agents.reward.model import HEADS, load_network
    from armap_agents.reward.settings import SETTINGS

    if out.exists() and not (out / EXPORT).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigurationError(f"{out} holds something else: choose a new folder")
    network, settings = load_network(model, "cpu")
    backbone = network.backbone
    if not isinstance(backbone, TextBackbone) or not backbone.causal:
        kind = settings.backbone["kind"]
        raise ConfigurationError(
            f"{model} cannot be exported, a {kind} model of its sort is no decoder that reads a "
            f"text to its last token: serve it with `armap serve reward {model}`"
        )
    classifier = _classifier(backbone, network.heads.weight)
    out.mkdir(parents=True, exist_ok=True)
    (out / EXPORT).unlink(missing_ok=True)
    classifier.save_pretrained(out)
    backbone.tokenizer.save_pretrained(out)
    (out / SETTINGS).write_bytes((model / SETTINGS).read_bytes())
    score, logit = network.heads.bias.tolist()
    fingerprint = digest([*weight_files(out), model / HEADS, model / SETTINGS])[:16]
    exported = ExportSettings(fingerprint, backbone.limit, (score, logit))
    partial = out / f"{EXPORT}.partial"
    partial.write_text(json.dumps(asdict(exported), indent=2) + "\n", "utf-8")
    partial.replace(out / EXPORT)


def _classifier(backbone: Any, heads: Any) -> Any:
    """Return the backbone's model as a sequence classifier with these heads."""
    import torch
    from torch import nn
    from transformers import AutoModelForSequenceClassification

    config = backbone.model.config
    config.num_labels = len(LABELS)
    config.id2label, config.label2id = LABELS, {name: i for i, name in LABELS.items()}
    last = backbone.tokenizer("a").input_ids[-1]
    # The class takes a row's last token that is no padding. Where texts end with the padding's
    # token it reads rows of one text alone, and says so.
    config.pad_token_id = None if last == backbone.padding else backbone.padding
    try:
        with torch.device("meta"):  # its weights are replaced
            made: Any = AutoModelForSequenceClassification.from_config(config)
    except ValueError:
        made = None
    head = getattr(made, "score", None)
    if not isinstance(head, nn.Linear) or head.bias is not None:
        raise ConfigurationError(
            f"transformers has no last-token classifier for {config.model_type} models: serve the "
            "model with `armap serve reward`"
        )
    setattr(made, made.base_model_prefix, backbone.model)
    made.score = nn.Linear(backbone.width, len(LABELS), bias=False)
    made.score.weight = nn.Parameter(heads.detach().clone())
    return made
