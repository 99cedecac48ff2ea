"""Episodes with screenshots for the tiny VILA, and the shortest training that tells them apart."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pictures
from torch import Tensor, nn

from armap_agents.reward.backbones import Part, new_backbone
from armap_agents.reward.backbones.vila import VilaBackbone
from armap_agents.reward.model import RewardNetwork
from armap_agents.reward.render import Rendered, RenderedStep
from armap_agents.trajectory import Image

OPTIONS = {"rank": 4, "alpha": 8}


def picture(seed: int, width: int = 50, height: int = 30, kind: str = "PNG") -> Image:
    """Return a noisy picture."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    written = io.BytesIO()
    Pictures.fromarray(noise).save(written, kind)
    return Image(written.getvalue(), f"image/{kind.lower()}")


def bought(*images: Image | None, asked: str = "buy a red lamp") -> Rendered:
    """Return an episode with a click for each picture after the opening's."""
    first, *others = images
    steps = [RenderedStep("", "the page shows lamps", first)]
    steps += [RenderedStep(f"click[{i}]", f"page {i}", image) for i, image in enumerate(others)]
    return Rendered(asked, tuple(steps))


def fresh(folder: Path, **options: int) -> VilaBackbone:
    """Return a checkpoint's backbone, always with the same LoRA."""
    torch.manual_seed(0)
    made = new_backbone("vila", str(folder), OPTIONS | options)
    assert isinstance(made, VilaBackbone)
    return made.eval()


def parts(backbone: VilaBackbone, *episodes: Rendered) -> list[Part]:
    """Return the episodes' parts."""
    return [part for episode in episodes for part in backbone.parts(episode)]


@torch.no_grad()
def encoded(backbone: VilaBackbone, *episodes: Rendered) -> Tensor:
    """Return the episodes' vectors, encoded in one batch."""
    return backbone.encode(parts(backbone, *episodes))


def trained(network: RewardNetwork, steps: int) -> list[float]:
    """Prefer one picture to another by LoRA and heads; return the losses."""
    network.train()
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=3e-3)
    episodes = [bought(None, picture(1)), bought(picture(1)), bought(None, picture(2))]
    items = [network.backbone.parts(episode) for episode in [*episodes, bought(picture(2))]]
    losses = []
    for _ in range(steps):
        chosen, rejected = network(items)[:, 0].chunk(2)
        loss = -nn.functional.logsigmoid(chosen - rejected).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    network.eval()
    return losses
