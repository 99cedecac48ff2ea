"""The frozen image encoder: pads as its weights were trained, refuses what is no picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pictures
from safetensors.torch import save_file

from armap_agents.errors import ArmapError, ConfigurationError
from armap_agents.reward.backbones import pictures, vision
from armap_agents.reward.backbones.vision import ImageEncoder, open_vision
from armap_agents.trajectory import Image


def picture(colour: tuple[int, int, int], side: int = 40) -> Image:
    file = io.BytesIO()
    Pictures.new("RGB", (side, side), colour).save(file, "PNG")
    return Image(file.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    made = tmp_path_factory.mktemp("eyes")
    state = ImageEncoder().state_dict()
    save_file(
        {k: v for k, v in state.items() if "num_batches" not in k}, made / "model.safetensors"
    )
    return made


@given(st.integers(5, 23), st.sampled_from([1, 3, 5]), st.sampled_from([1, 2]))
@settings(max_examples=40, deadline=None)
def test_convolutions_pad_to_the_input_over_the_stride(size: int, kernel: int, stride: int) -> None:
    torch.manual_seed(size)
    convolution = vision._Conv(1, 1, kernel, stride, bias=False)
    x = torch.randn(1, 1, size, size)
    found = convolution(x)[0, 0].detach().numpy()
    outputs = -(-size // stride)
    missing = max(0, (outputs - 1) * stride + kernel - size)
    before = missing // 2
    padded = np.pad(x[0, 0].numpy(), (before, missing - before))
    weight = convolution.weight[0, 0].detach().numpy()
    expected = [
        [
            (
                padded[i * stride : i * stride + kernel, j * stride : j * stride + kernel] * weight
            ).sum()
            for j in range(outputs)
        ]
        for i in range(outputs)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_vector_depends_on_its_picture_alone(folder: Path) -> None:
    red, green = picture((250, 0, 0)), picture((0, 250, 0))
    encoder = open_vision(str(folder))
    together = encoder([red, green, red])
    assert together.shape == (3, encoder.width)
    assert together.dtype == torch.float32
    assert torch.equal(together[0], together[2])
    assert not torch.allclose(together[0], together[1])
    torch.testing.assert_close(open_vision(str(folder))([green])[0], together[1])
    torch.testing.assert_close(encoder([picture((250, 0, 0), 224)])[0], together[0])


def test_it_is_never_trained(folder: Path) -> None:
    encoder = open_vision(str(folder)).train()
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder([picture((1, 2, 3))]).requires_grad


@pytest.mark.parametrize("data", [b"", b"no picture", picture((1, 2, 3)).data[:60]])
def test_what_is_no_picture_is_named(folder: Path, data: bytes) -> None:
    broken = Image(data)
    with pytest.raises(ArmapError, match=broken.sha256[:12]):
        open_vision(str(folder))([picture((1, 2, 3)), broken])


def test_rare_readers_are_closed_to_foreign_bytes() -> None:
    written = io.BytesIO()
    Pictures.new("RGB", (8, 8)).save(written, "TIFF")
    with pytest.raises(ArmapError, match="UnidentifiedImageError"):
        pictures.open_picture(Image(written.getvalue()))


def test_absurd_sizes_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_PIXELS", 100)
    with pytest.raises(ArmapError, match="40 × 40 pixels"):
        open_vision(str(folder))([picture((1, 2, 3))])


def test_other_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="pull it again"):
        open_vision(str(tmp_path))
    save_file({"other": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigurationError, match="pull it again"):
        open_vision(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ConfigurationError, match="pull it again"):
        open_vision(str(tmp_path))
