"""VILA reads whole trajectories, is moved by no padding, and trains by LoRA alone."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_vila import save_random_vila
from tiny_data import TinyData
from torch import Tensor
from vila_episodes import OPTIONS, bought, encoded, fresh, parts, picture, trained

from armap_agents.errors import ConfigurationError
from armap_agents.reward import load_reward
from armap_agents.reward.backbones import new_backbone, open_backbone
from armap_agents.reward.backbones.tokens import padded
from armap_agents.reward.backbones.vila import VilaBackbone
from armap_agents.reward.backbones.vila.prompt import IMAGE
from armap_agents.reward.model import RewardNetwork, load_network, save_network
from armap_agents.reward.render import Rendered, RenderedStep, Rendering
from armap_agents.reward.settings import EnvironmentSettings, Settings
from armap_agents.training.config import TrainConfig
from armap_agents.training.records import load_dataset
from armap_agents.training.train import train

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "vila.py"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_vila(tmp_path_factory.mktemp("vila") / "checkpoint")


@pytest.fixture(scope="module")
def backbone(checkpoint: Path) -> VilaBackbone:
    return fresh(checkpoint)


def test_every_step_has_its_own_picture_in_order(backbone: VilaBackbone) -> None:
    first, second = picture(1), picture(2)
    (part,) = backbone.parts(bought(first, None, second))
    assert part.images == (first, second)
    assert part.ids.count(IMAGE) == 2
    assert part.length == len(part.ids) + 2 * (backbone.image_length - 1)
    assert backbone.image_length == 4  # 3 × 3 patches, padded to 4 × 4, merged
    same = encoded(
        backbone,
        bought(first, None, second),
        bought(second, None, first),
        bought(first, second, None),
        bought(first, None, None),
        bought(None, None, None),
    )
    distances = torch.cdist(same, same) + torch.eye(5)
    assert distances.min() > 1e-3


def test_a_picture_passes_the_tower_once_a_call(backbone: VilaBackbone) -> None:
    shown: list[int] = []
    hook = backbone.vision_tower.register_forward_pre_hook(
        lambda _module, inputs: shown.append(len(inputs[0]))
    )
    try:
        encoded(backbone, bought(picture(1), picture(2)), bought(picture(2), picture(1)))
        many = encoded(backbone, *(bought(picture(seed)) for seed in range(18)))
        encoded(backbone, bought(None))
    finally:
        hook.remove()
    assert shown == [2, 16, 2]
    torch.testing.assert_close(many[17:], encoded(backbone, bought(picture(17))), rtol=0, atol=1e-5)


def test_padding_moves_nothing(backbone: VilaBackbone) -> None:
    episodes = [
        bought(picture(1), picture(2), picture(3), asked="buy two green chairs and a red lamp"),
        bought(None),
        bought(picture(2)),
        bought(None, picture(1)),
    ]
    together = encoded(backbone, *episodes)
    assert together.dtype == torch.float32
    for i, episode in enumerate(episodes):
        torch.testing.assert_close(encoded(backbone, episode)[0], together[i], rtol=0, atol=1e-5)


def test_left_padding_moves_nothing(backbone: VilaBackbone) -> None:
    episodes = [bought(picture(1), picture(2)), bought(None), bought(picture(3))]
    items = parts(backbone, *episodes)
    images = [image for part in items for image in part.images]
    rows = [backbone._spread(part.ids) for part in items]
    flipped, mask = padded([row[::-1] for row in rows], 0)
    with torch.no_grad():
        left = backbone.vectors(flipped.flip(1), mask.flip(1), backbone.features(images))
    torch.testing.assert_close(left, encoded(backbone, *episodes), rtol=0, atol=1e-5)


@pytest.mark.parametrize("limit", [256, 1024])
def test_a_trajectory_longer_than_any_budget_is_shortened(checkpoint: Path, limit: int) -> None:
    made = fresh(checkpoint, max_tokens=limit)
    steps = [RenderedStep("", "the page shows lamps " * 300, picture(0))]
    steps += [
        RenderedStep(f"click[{i}]", f"page {i} shows lamps" * (i % 7), picture(i % 5))
        for i in range(300)
    ]
    steps.append(RenderedStep("click[buy now]", "open the door " * 2000, picture(7)))
    (part,) = made.parts(Rendered("buy a red lamp " * 500, tuple(steps)))
    assert limit // 2 < part.length <= limit
    assert part.images[-1] == picture(7)
    assert part.ids.count(IMAGE) == len(part.images)
    with torch.no_grad():
        assert made.encode([part]).isfinite().all()


@settings(deadline=None, max_examples=30)
@given(
    texts=st.lists(
        st.tuples(st.text(max_size=80), st.text(max_size=200), st.booleans()), max_size=12
    ),
    asked=st.text(max_size=300),
    limit=st.integers(220, 500),
)
def test_parts_keep_every_limit(
    backbone: VilaBackbone, texts: list[tuple[str, str, bool]], asked: str, limit: int
) -> None:
    shown = picture(0)
    steps = [RenderedStep(a, o, shown if seen else None) for a, o, seen in texts]
    kept, backbone.limit = backbone.limit, limit
    try:
        (part,) = backbone.parts(Rendered(asked, tuple(steps) or (RenderedStep("", ""),)))
    finally:
        backbone.limit = kept
    assert part.length <= limit
    assert part.length == len(backbone._spread(part.ids))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_token": 9}, "no option 'max_token': use max_tokens, rank, alpha"),
        ({"rank": 0}, "whole number above 0"),
        ({"rank": True}, "whole number above 0"),
        ({"max_tokens": "many"}, "whole number above 0"),
        ({"max_tokens": 60}, "60 tokens are too few"),
    ],
)
def test_wrong_options_are_named(checkpoint: Path, options: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        new_backbone("vila", str(checkpoint), options)


def test_without_weights_it_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--weights FOLDER"):
        new_backbone("vila", None, {})
    with pytest.raises(ConfigurationError, match="there is no folder"):
        new_backbone("vila", str(tmp_path / "nothing"), {})


def test_lora_alone_trains_saves_and_comes_back(checkpoint: Path, tmp_path: Path) -> None:
    made = fresh(checkpoint)
    network = RewardNetwork(made)
    trainable = {name for name, weight in made.named_parameters() if weight.requires_grad}
    assert len(trainable) == 2 * 7 * 2  # layers, matrices in each, A and B
    assert all(".lora_" in name and name.startswith("llm.") for name in trainable)
    before = {name: weight.clone() for name, weight in made.named_parameters()}
    made.checkpointing()
    losses = trained(network, 40)
    assert losses[-1] < 0.2 < losses[0]
    for name, weight in made.named_parameters():
        if name not in trainable:
            assert torch.equal(weight, before[name]), name
        elif "lora_B" in name:
            assert not torch.equal(weight, before[name]), name
    webshop = EnvironmentSettings(Rendering(images=True))
    save_network(network, Settings(asdict(made.spec), {"webshop": webshop}), tmp_path)
    kept = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == {".json", ".safetensors"}
    again, _ = load_network(tmp_path, "cpu")
    assert not any(weight.requires_grad for weight in again.parameters())
    assert not any("lora" in name for name, _ in again.named_parameters())
    episodes = [bought(picture(1)), bought(None, picture(2)), bought(picture(5))]
    items = [made.parts(episode) for episode in episodes]
    with torch.no_grad():
        scores, reloaded = network(items), again(items)
    torch.testing.assert_close(reloaded, scores, rtol=0, atol=1e-5)
    assert scores[0, 0] - scores[1, 0] > 0.5


def test_recomputed_gradients_are_the_same(checkpoint: Path) -> None:
    gradients: list[list[Tensor]] = []
    passes: list[int] = []
    for recompute in (False, True):
        made = fresh(checkpoint).train()
        if recompute:
            made.checkpointing()
        calls: list[int] = []
        layer = made.llm.get_base_model().layers[0].mlp
        layer.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        episodes = parts(made, bought(picture(1)), bought(None))
        made.encode(episodes).square().sum().backward()
        gradients.append([w.grad for w in made.parameters() if w.grad is not None])
        passes.append(len(calls))
    assert passes == [1, 2]
    assert len(gradients[0]) == 2 * 7 * 2
    assert any(gradient.any() for gradient in gradients[0])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_bfloat16_on_request(checkpoint: Path, backbone: VilaBackbone) -> None:
    half = new_backbone("vila", str(checkpoint), OPTIONS, dtype=torch.bfloat16)
    assert isinstance(half, VilaBackbone)
    assert {(w.dtype, w.requires_grad) for w in half.parameters()} == {
        (torch.bfloat16, False),
        (torch.float32, True),
    }
    episode = bought(picture(1), None)
    rough, exact = encoded(half, episode), encoded(backbone, episode)
    assert rough.dtype == torch.float32
    assert torch.cosine_similarity(rough, exact).item() > 0.98
    half.encode(half.parts(episode)).sum().backward()


def test_another_models_adapter_is_refused(
    checkpoint: Path, backbone: VilaBackbone, tmp_path: Path
) -> None:
    fresh(checkpoint, rank=3).save(tmp_path)
    with pytest.raises(ConfigurationError, match="damaged"):
        open_backbone(backbone.spec).load(tmp_path)
    with pytest.raises(ConfigurationError, match="missing"):
        open_backbone(backbone.spec).load(tmp_path / "nothing")


@pytest.mark.slow
def test_it_learns_what_pictures_alone_show(checkpoint: Path, tmp_path: Path) -> None:
    data = TinyData(pictures=True).save(tmp_path / "data")
    asked = TrainConfig(
        backbone="vila",
        weights=str(checkpoint),
        options={"rank": 8, "alpha": 16, "max_tokens": 512},
        steps=60,
        minutes=60,
        rows=12,
        warmup=5,
        learning_rate=1e-2,
        held_out=0.2,
        checkpointing=True,
    )
    written = train([data], tmp_path / "model", asked, threads=1)
    assert written.accuracy["all"] > 0.9
    reward = load_reward(str(tmp_path / "model"))
    trajectories = list(load_dataset(data).trajectories.values())[:12]
    together = reward.score(trajectories)
    alone = [reward.score([trajectory])[0] for trajectory in trajectories]
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.slow
def test_the_benchmark_runs_in_small() -> None:
    command = [sys.executable, BENCHMARK, "--tiny", "--pairs", "1", "--steps", "2", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rates = re.findall(r"^(training step|scoring): .* (\d+)% of the", done.stdout, re.MULTILINE)
    assert [name for name, _ in rates] == ["training step", "scoring"]
    assert all(0 <= int(share) < 100 for _, share in rates)
