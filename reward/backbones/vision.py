"""Pictures as vectors: a small frozen network that looks at screenshots beside a text encoder.

EfficientNet-Lite0 (Tan & Le, "EfficientNet", ICML 2019, in its variant without squeeze-and-excite;
ImageNet weights) takes 50 ms of a CPU core for a picture. It stays as it is; what its vectors mean
for a trajectory is learned by whoever projects them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pictures
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from armap_agents.errors import ConfigurationError
from armap_agents.reward.backbones.pictures import open_picture
from armap_agents.trajectory import Image

DEFAULT_VISION = "efficientnet-lite0"

SIDE = 224
"""Pixels; pictures of another size are resized to it."""

REMEMBERED = 20_000
"""Pictures whose vectors are kept; 5 kB each."""

# Repeats, kernel, stride of the first, expansion, channels out.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280


class _Conv(nn.Conv2d):
    """A convolution that pads as TensorFlow does, to ceil(size/stride), more at the end."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``[n, channels, height, width]``."""
        padding: list[int] = []
        for size, kernel, stride in zip(
            (input.shape[3], input.shape[2]), self.kernel_size, self.stride, strict=True
        ):
            missing = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            padding += [missing // 2, missing - missing // 2]
        return super().forward(functional.pad(input, padding) if any(padding) else input)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """Expand, convolve by channel, project; the input is added where shapes agree."""

    def __init__(self, entering: int, leaving: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = entering * expand
        self.expands = expand != 1
        if self.expands:
            self.expand_conv = _Conv(entering, inner, 1, bias=False)
            self.bn0 = _norm(inner)
        self.depthwise_conv = _Conv(inner, inner, kernel, stride, groups=inner, bias=False)
        self.bn1 = _norm(inner)
        self.project_conv = _Conv(inner, leaving, 1, bias=False)
        self.bn2 = _norm(leaving)
        self.adds = stride == 1 and entering == leaving

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        inner = functional.relu6(self.bn1(self.depthwise_conv(inner)))
        leaving: Tensor = self.bn2(self.project_conv(inner))
        return x + leaving if self.adds else leaving


class ImageEncoder(nn.Module):
    """EfficientNet-Lite0 without its classifier; frozen.

    Attributes:
        width: Size of a picture's vector.
    """

    width = _HEAD

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn0 = _Conv(3, _STEM, 3, 2, bias=False), _norm(_STEM)
        blocks: list[nn.Module] = []
        entering = _STEM
        for repeats, kernel, stride, expand, leaving in _STAGES:
            for repeat in range(repeats):
                blocks.append(_Block(entering, leaving, kernel, 1 if repeat else stride, expand))
                entering = leaving
        self.blocks = nn.ModuleList(blocks)
        self.conv_head, self.bn1 = _Conv(entering, _HEAD, 1, bias=False), _norm(_HEAD)
        self.requires_grad_(requires_grad=False)
        self._known: OrderedDict[str, Tensor] = OrderedDict()
        self._remembering = threading.Lock()

    def train(self, mode: bool = True) -> ImageEncoder:
        """Stay in evaluation mode: the statistics of its training are part of the weights."""
        return super().train(mode=False)

    @torch.no_grad()
    def forward(self, images: Sequence[Image]) -> Tensor:
        """Return a vector per picture, ``float32 [images, width]``; equal pictures cost once.

        Raises:
            ArmapError: One of them is no picture.
        """
        device = self.conv_stem.weight.device
        with self._remembering:
            known = {i.sha256: self._known[i.sha256] for i in images if i.sha256 in self._known}
        fresh = {image.sha256: image for image in images if image.sha256 not in known}
        if fresh:
            pixels = torch.stack([_pixels(image) for image in fresh.values()]).to(device)
            with torch.autocast(device.type, enabled=False):
                vectors = self._vectors(pixels).cpu()
            found = dict(zip(fresh, vectors, strict=True))
            known |= found
            with self._remembering:
                self._known |= found
                while len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
        return torch.stack([known[image.sha256] for image in images]).to(device)

    def _vectors(self, pixels: Tensor) -> Tensor:
        x = functional.relu6(self.bn0(self.conv_stem(pixels)))
        for block in self.blocks:
            x = block(x)
        return functional.relu6(self.bn1(self.conv_head(x))).mean(dim=(2, 3))


def _pixels(image: Image) -> Tensor:
    """Return ``float32 [3, SIDE, SIDE]``, values from −1 to 1."""
    picture = open_picture(image).resize((SIDE, SIDE), Pictures.Resampling.BICUBIC)
    values = np.asarray(picture, np.float32).transpose(2, 0, 1)
    return torch.from_numpy((values - 127.0) / 128.0)


def open_vision(name: str = DEFAULT_VISION) -> ImageEncoder:
    """Return the frozen encoder of a pulled model, or of a folder in the same layout.

    Raises:
        ConfigurationError: It is not there, or its weights are not those of this network.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        from armap_agents.serving.models import pull

        folder = Path(pull(name))
    encoder = ImageEncoder()
    try:
        tensors: dict[str, Any] = load_file(folder / "model.safetensors")
        missing, unexpected = encoder.load_state_dict(tensors, strict=False)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ConfigurationError(
            f"{folder} is no {DEFAULT_VISION} ({type(error).__name__}): pull it again"
        ) from None
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ConfigurationError(
            f"{folder} is no {DEFAULT_VISION}, see {[*missing, *unexpected][0]}: pull it again"
        )
    return encoder.eval()
