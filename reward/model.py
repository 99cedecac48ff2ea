"""The network: a backbone that turns trajectories into vectors, and two scalar heads on them.

One head gives the pairwise score (Bradley–Terry: only differences mean something), the other the
logit of a prefix's Monte-Carlo return, which has one scale over all depths. The pretrained weights
stay frozen; a model folder holds the adapter, the heads, what else the backbone trains and
`reward.json`: safetensors and JSON only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from armap_agents.errors import ConfigurationError
from armap_agents.reward.backbones import Backbone, BackboneSpec, Part, new_backbone, open_backbone
from armap_agents.reward.backbones.pretrained import damaged, read_tensors
from armap_agents.reward.batching import batches
from armap_agents.reward.export import EXPORT
from armap_agents.reward.settings import SETTINGS, Settings
from armap_agents.trajectory import JSON

HEADS = "heads.safetensors"

BATCH_POSITIONS = 4096
"""Padded positions that are encoded at once, unless someone knows better."""

Map = Callable[[Callable[[Sequence[Part]], Tensor], Sequence[Sequence[Part]]], Iterable[Tensor]]
"""Calls a function with each of several batches and gives the results in order."""


class RewardNetwork(nn.Module):
    """Backbone and heads.

    Args:
        backbone: Makes vectors.

    Attributes:
        backbone: Makes vectors.
        heads: Score and value logit of a vector, in float32.
        batch_positions: Padded positions that are encoded at once, at most.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.Linear(backbone.width, 2, dtype=torch.float32)
        self.batch_positions = BATCH_POSITIONS

    def forward(self, items: Sequence[Sequence[Part]]) -> Tensor:
        """Return score and value logit of each trajectory, ``float32 [len(items), 2]``.

        Args:
            items: The parts of each trajectory; a part that several have is encoded once.
        """
        distinct = {part.key: part for item in items for part in item}
        place = {key: i for i, key in enumerate(distinct)}
        vectors = self.encode(list(distinct.values()))
        wanted = [place[part.key] for item in items for part in item]
        index = torch.tensor(wanted, device=vectors.device)
        return self.outputs(vectors[index], [len(item) for item in items])

    def encode(self, parts: Sequence[Part], each: Map = map) -> Tensor:
        """Encode parts in batches of similar length, ``float32 [len(parts), width]``.

        Args:
            parts: Any number.
            each: Encodes the batches; `map` takes one after the other.
        """
        order = batches([part.length for part in parts], self.batch_positions)
        vectors = list(each(self.backbone.encode, [[parts[i] for i in batch] for batch in order]))
        place = torch.tensor([i for batch in order for i in batch], device=vectors[0].device)
        return torch.cat(vectors)[place.argsort()]

    def outputs(self, vectors: Tensor, counts: Sequence[int]) -> Tensor:
        """Return score and value logit of trajectories whose parts are encoded already.

        Args:
            vectors: Those of all trajectories' parts in order, ``float32 [sum(counts), width]``.
            counts: How many parts each trajectory has.

        Returns:
            ``float32 [len(counts), 2]``.
        """
        with torch.autocast(vectors.device.type, enabled=False):
            result: Tensor = self.heads(self.backbone.pool(vectors, counts))
        return result


def new_network(
    kind: str,
    weights: str | None,
    options: Mapping[str, JSON],
    *,
    dtype: torch.dtype | None = None,
    seed: int,
) -> RewardNetwork:
    """Return an untrained network.

    Args:
        kind: Of the backbone, one of `backbones.KINDS`.
        weights: Name of a pulled model, or a folder; None for the kind's own default.
        options: Of the backbone.
        dtype: Of the frozen weights; None leaves it to the kind.
        seed: Draws the trained weights; nothing else that draws is disturbed.

    Raises:
        ConfigurationError: There is no such backbone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs too
        return RewardNetwork(new_backbone(kind, weights, options, dtype=dtype))


def save_network(network: RewardNetwork, settings: Settings, folder: Path) -> None:
    """Write a model folder; the settings last and whole, they make the folder a model."""
    folder.mkdir(parents=True, exist_ok=True)
    network.backbone.save(folder)
    save_file(network.heads.state_dict(), folder / HEADS)
    partial = folder / f"{SETTINGS}.partial"
    partial.write_text(json.dumps(settings.to_dict(), indent=2) + "\n", "utf-8")
    partial.replace(folder / SETTINGS)


def load_network(
    folder: Path, device: str | torch.device | None = None
) -> tuple[RewardNetwork, Settings]:
    """Return a model folder's network, its adapter merged, and its settings.

    Args:
        folder: What `save_network` wrote.
        device: Where it computes; None takes a GPU where there is one.

    Raises:
        ConfigurationError: The folder or its backbone is missing, damaged or another one.
    """
    settings = Settings.read(folder)
    if (folder / EXPORT).is_file():
        raise ConfigurationError(
            f"{folder} is an export, which vLLM serves: give the model folder that it was made of"
        )
    with damaged(folder / SETTINGS):
        network = RewardNetwork(open_backbone(BackboneSpec(**settings.backbone)))
    network.backbone.load(folder)
    heads = read_tensors(folder / HEADS)
    with damaged(folder / HEADS):
        network.heads.load_state_dict(heads)
    for tensor in (*network.parameters(), *network.buffers()):
        # It may lie in a mapped file, and whoever shortens that would end this process.
        tensor.data = tensor.data.clone()
    network.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return network.eval().requires_grad_(False), settings
