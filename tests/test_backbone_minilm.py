"""The default backbone: each step read beside the instruction, pooled from the newest step."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pictures
from tiny_backbone import save_tiny_backbone
from tiny_reward import random_network
from torch import Tensor

from armap_agents.errors import ArmapError, ConfigurationError
from armap_agents.reward.backbones import Part
from armap_agents.reward.backbones.pretrained import read_encoder, read_tokenizer
from armap_agents.reward.backbones.stepwise import StepwiseBackbone
from armap_agents.reward.batching import PADDING, SLACK, batches
from armap_agents.reward.model import RewardNetwork, load_network, new_network, save_network
from armap_agents.reward.render import Rendered, RenderedStep, Rendering
from armap_agents.reward.settings import EnvironmentSettings, Settings
from armap_agents.trajectory import Image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def network(folder: Path) -> RewardNetwork:
    """Return a network all of whose trained weights are random."""
    made: RewardNetwork = random_network(folder)
    return made


def rendered(instruction: str, *steps: str) -> Rendered:
    return Rendered(instruction, tuple(RenderedStep("", step) for step in steps))


def counting(count: int) -> Rendered:
    return rendered("1 2 3", *(f"{i} : {i + 1} {i + 2}" for i in range(count)))


def outputs(network: RewardNetwork, items: Sequence[Rendered]) -> Tensor:
    with torch.inference_mode():
        found: Tensor = network([network.backbone.parts(item) for item in items])
    return found


def settings_of(network: RewardNetwork) -> Settings:
    return Settings(asdict(network.backbone.spec), {"e": EnvironmentSettings(Rendering())})


NUMBERS = st.lists(st.integers(0, 399), max_size=40).map(lambda n: " ".join(map(str, n)))
TRAJECTORIES = st.builds(
    lambda asked, steps: rendered(asked, *steps), NUMBERS, st.lists(NUMBERS, min_size=1, max_size=6)
)


@settings(max_examples=25, deadline=None)
@given(items=st.lists(TRAJECTORIES, min_size=2, max_size=8), data=st.data())
def test_a_score_depends_neither_on_its_batch_nor_on_the_order(
    network: RewardNetwork, items: list[Rendered], data: st.DataObject
) -> None:
    together = outputs(network, items)
    alone = torch.cat([outputs(network, [item]) for item in items])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    order = data.draw(st.permutations(range(len(items))))
    shuffled = outputs(network, [items[i] for i in order])
    torch.testing.assert_close(shuffled, together[order], atol=1e-5, rtol=0)


def test_padding_in_one_batch_moves_nothing(network: RewardNetwork) -> None:
    parts = network.backbone.parts(rendered("1", "2", "3 " * 200, "4 5"))
    with torch.inference_mode():
        together = network.backbone.encode(parts)
        alone = torch.cat([network.backbone.encode([part]) for part in parts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert not torch.allclose(together[0], together[2], atol=1e-3)


def test_scores_tell_steps_order_and_instruction(network: RewardNetwork) -> None:
    items = [
        rendered("1", "2", "3", "4"),
        rendered("1", "3", "2", "4"),
        rendered("1", "2", "4", "3"),
        rendered("5", "2", "3", "4"),
        rendered("1", "2", "3"),
    ]
    scores = outputs(network, items)[:, 0].tolist()
    assert len({round(score, 4) for score in scores}) == len(items)


def test_with_one_step_pooling_starts_as_the_identity(folder: Path) -> None:
    backbone = new_network("minilm", str(folder), {}, seed=0).backbone
    vectors = torch.randn(3, backbone.width)
    assert torch.equal(backbone.pool(vectors, [1, 1, 1]), vectors)


def test_before_training_a_step_weighs_one_over_its_distance(folder: Path) -> None:
    backbone = new_network("minilm", str(folder), {"distances": 3}, seed=0).backbone
    vectors = torch.randn(5, backbone.width)
    weights = torch.tensor([1 / 3, 1 / 3, 1 / 3, 1 / 2, 1])  # the last distance is shared
    expected = (weights / weights.sum()) @ vectors
    torch.testing.assert_close(backbone.pool(vectors, [5])[0], expected, atol=1e-6, rtol=1e-5)


def test_pooling_sees_distances_up_to_the_last_one(network: RewardNetwork) -> None:
    vectors = torch.randn(40, network.backbone.width)
    pooled = network.backbone.pool(vectors, [40])
    near = vectors[[*range(38), 39, 38]]
    far = vectors[[1, 0, *range(2, 40)]]  # both beyond the 32 that are told apart
    assert not torch.allclose(network.backbone.pool(near, [40]), pooled, atol=1e-3)
    torch.testing.assert_close(network.backbone.pool(far, [40]), pooled, atol=1e-5, rtol=0)


@pytest.mark.parametrize("count", [1, 7])
def test_a_longer_prefix_costs_one_more_part(network: RewardNetwork, count: int) -> None:
    shorter = [part.key for part in network.backbone.parts(counting(count))]
    longer = [part.key for part in network.backbone.parts(counting(count + 1))]
    assert longer[:-1] == shorter
    assert longer[-1] not in shorter


def test_equal_parts_are_encoded_once(
    network: RewardNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = spied(network, monkeypatch)
    outputs(network, [counting(3), counting(5), counting(5), rendered("1 2 3", "9", "9")])
    assert len(encoded) == 6


def spied(network: RewardNetwork, monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """Return a list that every part goes into as it is encoded."""
    encoded: list[Part] = []
    encode: Callable[[Sequence[Part]], Tensor] = network.backbone.encode

    def noted(parts: Sequence[Part]) -> Tensor:
        encoded.extend(parts)
        return encode(parts)

    monkeypatch.setattr(network.backbone, "encode", noted)
    return encoded


def test_a_part_is_what_the_tokenizer_makes_of_a_pair(network: RewardNetwork, folder: Path) -> None:
    expected = read_tokenizer(folder)("7 8 9", "10 11 : 12")
    [part] = network.backbone.parts(rendered("7 8 9", "10 11 : 12"))
    assert list(part.ids) == expected["input_ids"]
    tokens: Any = network.backbone.tokens
    segments = tokens.segments(torch.tensor([part.ids]))[0].tolist()
    assert segments == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]


def test_text_that_spells_a_special_token_is_text(network: RewardNetwork) -> None:
    [part] = network.backbone.parts(rendered("7 [SEP] 8 [PAD]", "9 [CLS] 10"))
    assert [part.ids.count(special) for special in (0, 2, 3)] == [0, 1, 2]


@settings(max_examples=60, deadline=None)
@given(
    asked=st.integers(0, 200),
    done=st.integers(0, 4000),
    budget=st.integers(6, 40),
    instruction=st.integers(1, 60),
)
def test_every_part_keeps_the_budgets_and_marks_what_it_loses(
    folder: Path, asked: int, done: int, budget: int, instruction: int
) -> None:
    backbone = shared_backbone(folder)
    tokens = type(backbone.tokens)(read_tokenizer(folder), budget, instruction)
    left_out = 1  # "…" is no word of the tiny vocabulary: [UNK]
    ids = tokens(" ".join(["7"] * asked), " ".join(["8", *["9"] * done, "10"]))
    assert len(ids) <= budget
    first, second = ids.index(3), len(ids) - 1
    assert ids[second] == 3
    told, seen = ids[1:first], ids[first + 1 : second]
    room = min(instruction, (budget - 3) // 2)
    assert (left_out in told) == (asked > room)
    assert len(told) == min(asked, room)
    space = budget - 3 - len(told)
    assert (left_out in seen) == (done + 2 > space)
    assert len(seen) == min(done + 2, space)
    if space >= 3:
        assert (seen[0], seen[-1]) == (18, 20), "both ends stay"


_backbones: dict[Path, StepwiseBackbone] = {}


def shared_backbone(folder: Path) -> StepwiseBackbone:
    """Return one backbone for all examples of a property."""
    if folder not in _backbones:
        made = new_network("minilm", str(folder), {}, seed=0).backbone
        assert isinstance(made, StepwiseBackbone)
        _backbones[folder] = made
    return _backbones[folder]


def test_an_encoder_of_few_positions_takes_any_text(tmp_path: Path) -> None:
    short = random_network(save_tiny_backbone(tmp_path, positions=16))
    item = rendered("1 " * 5000, "2 " * 50_000, "x" * 1_000_000, "")
    parts = short.backbone.parts(item)
    assert [part.length for part in parts] == [16, 12, 9], "x … x are three tokens"
    assert outputs(short, [item]).isfinite().all()


def test_weights_may_lie_in_shards_and_never_in_a_pickle(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "shards"
    shutil.copytree(folder, mine)
    (mine / "model.safetensors").unlink()
    with pytest.raises(ConfigurationError, match=r"no model\.safetensors"):
        random_network(mine)
    (mine / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"convert pytorch_model\.bin"):
        random_network(mine)
    read_encoder(folder).save_pretrained(mine, max_shard_size="20KB")
    assert not (mine / "model.safetensors").exists()
    item = rendered("1 2", "3 4")
    assert torch.equal(
        outputs(random_network(mine), [item]), outputs(random_network(folder), [item])
    )


def test_options_are_checked_and_noted(folder: Path, tmp_path: Path) -> None:
    network = new_network("minilm", str(folder), {"part_tokens": 32, "rank": 2}, seed=0)
    assert network.backbone.spec.options["part_tokens"] == 32
    assert network.backbone.spec.options["alpha"] == 32
    for options, complaint in (
        ({"colour": 1}, "no option colour: use instruction_tokens"),
        ({"rank": 0}, "option rank is 0"),
        ({"rank": "many"}, "option rank is 'many'"),
        ({"part_tokens": 4}, "holds no instruction and no step"),
        ({"vision": 3}, "option vision is 3"),
        ({"layers": 0}, "option layers is 0"),
        ({"layers": 99}, r"option layers is 99: the encoder has \d"),
    ):
        with pytest.raises(ConfigurationError, match=complaint):
            new_network("minilm", str(folder), options, seed=0)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"has no model\.safetensors"):
        new_network("minilm", str(tmp_path), {}, seed=0)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ConfigurationError, match="cannot be read") as caught:
        new_network("minilm", str(tmp_path), {}, seed=0)
    assert "\n" not in str(caught.value)


def test_the_last_layers_alone_can_be_adapted(folder: Path, tmp_path: Path) -> None:
    network = new_network("minilm", str(folder), {"layers": 1}, seed=0)
    last = read_encoder(folder).config.num_hidden_layers - 1
    adapted = [name for name, weight in network.named_parameters() if "lora_A" in name]
    assert last > 0
    assert adapted
    assert all(f".layer.{last}." in name for name in adapted)
    item = rendered("1 2", "3 4")
    save_network(network, settings_of(network), tmp_path)
    loaded, _ = load_network(tmp_path)
    assert torch.allclose(outputs(loaded, [item]), outputs(network, [item]), atol=1e-6)


def test_a_tokenizer_that_joins_no_pairs_is_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "tokenizer.json"
    value = json.loads(path.read_text())
    value["post_processor"]["pair"] = [
        {"Sequence": {"id": name, "type_id": 0}} for name in ("A", "B")
    ]
    path.write_text(json.dumps(value))
    with pytest.raises(ConfigurationError, match="hf-text"):
        new_network("minilm", str(tmp_path), {}, seed=0)


def test_only_adapter_pooling_and_heads_learn(folder: Path) -> None:
    network = new_network("minilm", str(folder), {}, seed=0)
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    kinds = ("lora_", "backbone.pooling.", "heads.")
    assert all(any(kind in name for kind in kinds) for name in learning)
    assert all(any(kind in name for name in learning) for kind in kinds)
    assert not any("pooler" in name for name in learning)


def test_the_seed_alone_draws_the_weights(folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = new_network("minilm", str(folder), {}, seed=3)
    assert torch.equal(torch.rand(1), expected), "the caller's draws go on as if nothing had been"
    second = new_network("minilm", str(folder), {}, seed=3)
    other = new_network("minilm", str(folder), {}, seed=4)
    assert torch.equal(first.heads.weight, second.heads.weight)
    assert not torch.equal(first.heads.weight, other.heads.weight)


def test_the_draws_of_gpus_are_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise AssertionError("the GPUs were seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    new_network("minilm", str(folder), {}, seed=3)


def loss_of(network: RewardNetwork) -> Tensor:
    good = [network.backbone.parts(counting(n)) for n in range(1, 5)]
    bad = [network.backbone.parts(rendered("1 2 3", "7", "9", f"{n}")) for n in range(4)]
    found: Tensor = network([*good, *bad])[:, 0]
    return -torch.nn.functional.logsigmoid(found[:4] - found[4:]).mean()


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_it_learns_in_both_precisions(folder: Path, dtype: torch.dtype | None) -> None:
    network = new_network("minilm", str(folder), {}, dtype=dtype, seed=0)
    assert network.heads.weight.dtype == torch.float32
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(30):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
            loss = loss_of(network)
        assert loss.dtype == torch.float32
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(math.log(2), abs=0.2)
    assert losses[-1] < 0.3


def test_checkpointing_changes_memory_and_no_gradient(folder: Path) -> None:
    gradients = []
    for recompute in (False, True):
        network = random_network(folder)
        if recompute:
            network.backbone.checkpointing()
        items = [network.backbone.parts(counting(n)) for n in range(1, 5)]
        network(items).square().sum().backward()
        gradients.append({n: p.grad for n, p in network.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4)


def test_a_saved_model_scores_as_before_with_its_adapter_merged(
    network: RewardNetwork, tmp_path: Path
) -> None:
    save_network(network, settings_of(network), tmp_path)
    loaded, read = load_network(tmp_path)
    assert read == settings_of(network)
    assert not any("lora_" in name for name, _ in loaded.named_parameters())
    assert not any(p.requires_grad for p in loaded.parameters())
    items = [counting(n) for n in range(1, 8)]
    expected = outputs(network, items)
    assert len({round(float(score), 4) for score in expected[:, 0]}) == 7
    torch.testing.assert_close(outputs(loaded, items), expected, atol=1e-5, rtol=0)
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {
        "reward.json",
        "heads.safetensors",
        "pooling.safetensors",
        "adapter_config.json",
        "adapter_model.safetensors",
    }


def test_the_adapter_is_what_peft_reads(
    network: RewardNetwork, folder: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    save_network(network, settings_of(network), tmp_path)
    peft = PeftModel.from_pretrained(read_encoder(folder), str(tmp_path / "adapter")).eval()
    [part] = network.backbone.parts(rendered("7 8", "9 : 10"))
    ids = torch.tensor([part.ids])
    with torch.inference_mode():
        segments = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]])
        expected = peft(input_ids=ids, token_type_ids=segments).last_hidden_state.mean(1)
        found = network.backbone.encode([part])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80), st.integers(1, 2000))
def test_batches_hold_everything_once_within_bounds(lengths: list[int], positions: int) -> None:
    made = batches(lengths, positions)
    assert sorted(i for batch in made for i in batch) == list(range(len(lengths)))
    for batch in made:
        padded = len(batch) * max(lengths[i] for i in batch)
        assert padded <= positions or len(batch) == 1
        assert padded - sum(lengths[i] for i in batch) <= max(SLACK, PADDING * padded)
    assert batches([5] * 20, 100) == [list(range(20))]


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an image encoder with random weights."""
    from safetensors.torch import save_file

    from armap_agents.reward.backbones.vision import ImageEncoder

    torch.manual_seed(0)
    made = tmp_path_factory.mktemp("eyes")
    encoder = ImageEncoder()
    for weight in encoder.parameters():
        if weight.dim() == 4:  # else nothing of an image is left after 16 layers
            torch.nn.init.kaiming_normal_(weight)
    state = encoder.state_dict()
    tensors = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    save_file(tensors, made / "model.safetensors")
    return made


def picture(seed: int) -> Image:
    """Return a noisy picture."""
    file = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    Pictures.fromarray(noise).save(file, "PNG")
    return Image(file.getvalue())


def pictured(*seeds: int | None) -> Rendered:
    steps = tuple(
        RenderedStep("go", "seen", None if seed is None else picture(seed)) for seed in seeds
    )
    return Rendered("1 2", steps)


def test_images_add_nothing_until_their_gate_opens(folder: Path, eyes: Path) -> None:
    network = new_network("minilm", str(folder), {"vision": str(eyes)}, seed=0)
    blind = new_network("minilm", str(folder), {}, seed=0)
    parts = network.backbone.parts(pictured(10, None))
    assert [len(part.images) for part in parts] == [1, 0]
    assert parts[0].key != parts[1].key
    with torch.inference_mode():
        expected = blind.backbone.encode(blind.backbone.parts(pictured(10, None)))
        torch.testing.assert_close(network.backbone.encode(parts), expected)
    loss = network([parts]).square().sum()
    loss.backward()
    images: Any = network.backbone.images
    assert images.trained.gate.grad.abs() > 0, "closed, yet it learns to open"
    assert not any(p.requires_grad for p in images.encoder.parameters())


def test_scores_with_an_open_gate_depend_on_the_image(
    folder: Path, eyes: Path, tmp_path: Path
) -> None:
    network = random_network(folder, {"vision": str(eyes)})
    network.backbone.images.trained.gate.data.fill_(1.0)
    items = [pictured(10), pictured(200), pictured(None), pictured(10, 200), pictured(200, 10)]
    scores = outputs(network, items)
    assert len({round(float(score), 3) for score in scores[:, 0]}) == len(items)
    alone = torch.cat([outputs(network, [item]) for item in items])
    torch.testing.assert_close(scores, alone, atol=1e-5, rtol=0)
    save_network(network, settings_of(network), tmp_path / "model")
    loaded, _ = load_network(tmp_path / "model")
    torch.testing.assert_close(outputs(loaded, items), scores, atol=1e-5, rtol=0)
    size = (tmp_path / "model" / "images.safetensors").stat().st_size
    assert size < 4 * (1280 * 34 + 34 + 1280 * 2) + 1000, "the frozen encoder is not written"


def test_another_image_encoder_is_refused(folder: Path, eyes: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    mine = tmp_path / "eyes"
    mine.mkdir()
    tensors = load_file(eyes / "model.safetensors")
    save_file(tensors, mine / "model.safetensors")
    network = random_network(folder, {"vision": str(mine)})
    save_network(network, settings_of(network), tmp_path / "model")
    load_network(tmp_path / "model")
    changed = {name: tensor + 1 if "stem" in name else tensor for name, tensor in tensors.items()}
    save_file(changed, mine / "model.safetensors")
    with pytest.raises(ConfigurationError, match="is not the backbone"):
        load_network(tmp_path / "model")


def test_without_an_image_encoder_images_are_no_part_of_parts(network: RewardNetwork) -> None:
    seen, blind = pictured(10), pictured(None)
    assert network.backbone.parts(seen) == network.backbone.parts(blind)


def test_what_is_no_image_is_an_error_of_one_line(folder: Path, eyes: Path) -> None:
    network = random_network(folder, {"vision": str(eyes)})
    broken = replace(picture(1), data=b"GIF89a, not quite")
    with pytest.raises(ArmapError, match="cannot be read") as caught:
        outputs(network, [Rendered("1", (RenderedStep("", "2", broken),))])
    assert "\n" not in str(caught.value)
