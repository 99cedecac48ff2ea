"""Projector and image processing compute what their written definitions say."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pictures
from random_vila import IMAGE_SIZE, save_random_vila
from vila_episodes import bought, encoded, fresh, picture

from armap_agents.errors import ArmapError
from armap_agents.reward.backbones.vila import VilaBackbone
from armap_agents.reward.backbones.vila.images import pixels
from armap_agents.reward.backbones.vila.projector import Downsample, Projector
from armap_agents.trajectory import Image


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_vila(tmp_path_factory.mktemp("vila") / "checkpoint")


@pytest.fixture(scope="module")
def backbone(checkpoint: Path) -> VilaBackbone:
    return fresh(checkpoint)


def written_projector(patches: NDArray[np.float64], weights: dict[str, Any]) -> NDArray[np.float64]:
    """Follow the written definition of projector and downsampling word for word."""
    n, tokens, c = patches.shape
    w = h = math.isqrt(tokens)
    x: NDArray[np.float64] = patches.reshape(n, w, h, c)
    if w % 2:
        x = np.concatenate([x, np.zeros((n, 1, h, c))], axis=1)
        w += 1
    if h % 2:
        x = np.concatenate([x, np.zeros((n, w, 1, c))], axis=2)
        h += 1
    x = x.reshape(n, w, h // 2, c * 2)
    x = x.transpose(0, 2, 1, 3)
    x = x.reshape(n, h // 2, w // 2, c * 4)
    x = x.reshape(n, -1, c * 4)
    deviation = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    x = (x - x.mean(-1, keepdims=True)) / deviation
    x = x * weights["layers.1.weight"] + weights["layers.1.bias"]
    x = x @ weights["layers.2.weight"].T + weights["layers.2.bias"]
    x = 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    projected: NDArray[np.float64] = x @ weights["layers.4.weight"].T + weights["layers.4.bias"]
    return projected


@settings(deadline=None, max_examples=25)
@given(
    side=st.integers(1, 8), width=st.integers(1, 6), out=st.integers(1, 6), count=st.integers(1, 3)
)
def test_the_projector_is_what_is_written(side: int, width: int, out: int, count: int) -> None:
    torch.manual_seed(side)
    projector = Projector(width, out).double()
    patches = torch.randn(count, side * side, width, dtype=torch.float64)
    weights = {name: tensor.numpy() for name, tensor in projector.state_dict().items()}
    with torch.no_grad():
        found = projector(patches).numpy()
    np.testing.assert_allclose(found, written_projector(patches.numpy(), weights), atol=1e-6)


def test_the_real_grid_gives_196_positions() -> None:
    assert Downsample()(torch.ones(1, 27 * 27, 2)).shape == (1, 196, 8)


def written_resize(values: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Shrink or stretch the second axis to `size`, bicubic (a = −0.5) as Pillow defines it.

    The kernel is as wide as the picture is shrunk; weights have 22 binary digits.
    """
    length = values.shape[1]
    scale = length / size
    stretch = max(scale, 1.0)
    result = np.zeros((values.shape[0], size, values.shape[2]), dtype=np.int64)
    for i in range(size):
        center = (i + 0.5) * scale
        first = max(int(center - 2 * stretch + 0.5), 0)
        last = min(int(center + 2 * stretch + 0.5), length)
        weights = []
        for j in range(first, last):
            x = abs((j - center + 0.5) / stretch)
            if x < 1:
                weights.append((1.5 * x - 2.5) * x * x + 1)
            elif x < 2:
                weights.append(((-0.5 * x + 2.5) * x - 4) * x + 2)
            else:
                weights.append(0.0)
        whole = [math.floor(abs(w / sum(weights)) * 2**22 + 0.5) for w in weights]
        signed = [n if w >= 0 else -n for n, w in zip(whole, weights, strict=True)]
        total = np.tensordot(np.array(signed), values[:, first:last], axes=(0, 1))
        result[:, i] = np.clip((total + 2**21) >> 22, 0, 255)
    return result


def turned(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return values.transpose(1, 0, 2)


@pytest.mark.parametrize(("width", "height"), [(50, 30), (7, 90), (42, 42), (1, 1), (200, 43)])
def test_image_processing_is_what_is_written(width: int, height: int) -> None:
    shown = picture(width, width, height)
    raw = np.asarray(Pictures.open(io.BytesIO(shown.data)), dtype=np.int64)
    rows_first = written_resize(turned(written_resize(raw, IMAGE_SIZE)), IMAGE_SIZE)
    columns_first = written_resize(turned(written_resize(turned(raw), IMAGE_SIZE)), IMAGE_SIZE)
    found = pixels(shown, IMAGE_SIZE)
    assert found.dtype == np.float32
    # Values are rounded between the passes, and Pillow's versions differ in which one comes first.
    differences = [
        np.abs(found - (square.transpose(2, 0, 1) / 255 - 0.5) / 0.5).max()
        for square in (turned(rows_first), columns_first)
    ]
    assert min(differences) <= 1e-6


def test_image_processing_equals_that_of_transformers() -> None:
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    reference = SiglipImageProcessorPil(size={"height": 384, "width": 384})
    shown = picture(3, 640, 480, "JPEG")
    raw = Pictures.open(io.BytesIO(shown.data))
    expected = reference(raw, return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(pixels(shown, 384), expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_pictures_of_every_colour_mode_are_read(mode: str) -> None:
    written = io.BytesIO()
    Pictures.new(mode, (9, 5)).save(written, "JPEG" if mode == "CMYK" else "PNG")
    assert pixels(Image(written.getvalue()), 28).shape == (3, 28, 28)


@pytest.mark.parametrize(
    "data", [b"", b"<html>not found</html>", picture(0).data[:200], b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_an_image_that_is_none_is_one_clear_error(backbone: VilaBackbone, data: bytes) -> None:
    with pytest.raises(ArmapError, match=r"image [0-9a-f]{12}… .* cannot be read") as told:
        encoded(backbone, bought(Image(data)))
    assert "\n" not in str(told.value)


def test_a_picture_too_large_to_be_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pictures, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ArmapError, match="DecompressionBombError"):
        pixels(picture(0), 28)
