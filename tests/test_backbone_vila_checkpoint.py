"""VILA's layout on disk is read strictly, and nothing in it is run."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import Trap, edited
from random_vila import IMAGE_SIZE, VISION_WIDTH, WIDTH, save_random_vila
from safetensors.torch import load_file
from vila_episodes import bought, encoded, fresh, picture

from armap_agents.errors import ConfigurationError
from armap_agents.reward.backbones import open_backbone
from armap_agents.reward.backbones.vila import VilaBackbone
from armap_agents.reward.backbones.vila.checkpoint import read_layout
from armap_agents.reward.backbones.vila.prompt import IMAGE


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_vila(tmp_path_factory.mktemp("vila") / "checkpoint")


@pytest.fixture(scope="module")
def backbone(checkpoint: Path) -> VilaBackbone:
    return fresh(checkpoint)


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint to damage."""
    return shutil.copytree(checkpoint, tmp_path / "copy")


def test_prefix_shards_and_digest(checkpoint: Path, backbone: VilaBackbone, tmp_path: Path) -> None:
    other = save_random_vila(tmp_path / "new", prefix=False, shards=3)
    episode = bought(picture(0))
    assert torch.equal(encoded(fresh(other), episode), encoded(backbone, episode))
    assert backbone.spec.weights == str(checkpoint)
    assert fresh(other).spec.sha256 != backbone.spec.sha256  # other files, though equal tensors
    assert open_backbone(backbone.spec).spec == backbone.spec
    with pytest.raises(ConfigurationError, match="not the backbone that this reward model"):
        open_backbone(replace(backbone.spec, weights=str(other)))


def test_the_features_are_the_last_layer_but_one_of_the_whole_tower(
    checkpoint: Path, backbone: VilaBackbone
) -> None:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    whole = SiglipVisionModel(
        SiglipVisionConfig.from_dict(
            json.loads((checkpoint / "vision_tower/config.json").read_text())
        )
    ).eval()
    stored = load_file(checkpoint / "vision_tower/model.safetensors")
    assert all(name.startswith("vision_model.") for name in stored)
    whole.load_state_dict({name.removeprefix("vision_model."): t for name, t in stored.items()})
    batch = torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    with torch.no_grad():
        expected = whole(batch, output_hidden_states=True).hidden_states[-2]
        found = backbone.vision_tower(batch).last_hidden_state
    assert found.shape == (2, 9, VISION_WIDTH)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("llm", "model.layers.1.mlp.up_proj.weight"),
        ("llm", "lm_head.weight"),
        ("vision_tower", "vision_model.head.probe"),
        ("mm_projector", "layers.2.bias"),
    ],
)
def test_every_tensor_must_be_there_in_its_shape_and_no_other(
    copy: Path, part: str, name: str
) -> None:
    path, shown = copy / part / "model.safetensors", name.removeprefix("vision_model.")
    original = path.read_bytes()
    edited(path, lambda tensors: tensors.pop(name))
    with pytest.raises(ConfigurationError, match=rf"{part}.*missing: {shown}\)"):
        fresh(copy)
    path.write_bytes(original)
    edited(path, lambda tensors: tensors.update({f"{name}.more": torch.ones(1)}))
    with pytest.raises(ConfigurationError, match=rf"{part}.*unexpected: {shown}.more\)"):
        fresh(copy)
    path.write_bytes(original)
    edited(path, lambda tensors: tensors.update({name: torch.ones(2, 7)}))
    with pytest.raises(ConfigurationError, match=rf"misshapen: {shown} \[2, 7\] instead of"):
        fresh(copy)


def test_tensors_that_old_versions_computed_and_stored_are_no_error(copy: Path) -> None:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    edited(copy / "llm/model.safetensors", lambda tensors: tensors.update({name: torch.ones(4)}))
    assert fresh(copy).width == WIDTH


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("config.json", "model_type", "llava_mistral"),
        ("config.json", "mm_vision_select_feature", "patch"),
        ("config.json", "image_aspect_ratio", "pad"),
        ("config.json", "s2", True),
        ("config.json", "mm_use_im_start_end", True),
        ("config.json", "mm_vision_select_layer", -9),
        ("llm/config.json", "model_type", "qwen2"),
        ("llm/config.json", "quantization_config", {"bits": 4}),
        ("llm/config.json", "num_attention_heads", "many"),
        ("vision_tower/config.json", "model_type", "clip_vision_model"),
        ("vision_tower/preprocessor_config.json", "image_mean", [0.48, 0.46, 0.41]),
        ("vision_tower/preprocessor_config.json", "size", {"height": 224, "width": 224}),
        ("mm_projector/config.json", "mm_projector_type", "mlp2x_gelu"),
    ],
)
def test_what_this_project_would_compute_otherwise_is_refused(
    copy: Path, file: str, key: str, value: object
) -> None:
    path = copy / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(
        ConfigurationError, match=key if value != "many" else "configuration"
    ) as told:
        fresh(copy)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b"{", "cannot be read"),
        ("config.json", b"[]", "holds no JSON object"),
        ("mm_projector/config.json", None, "No such file"),
        ("llm/model.safetensors", b"cut", "model.safetensors is damaged"),
        ("vision_tower/model.safetensors", None, "has no model.safetensors"),
        ("llm/tokenizer.model", None, "neither tokenizer.json nor tokenizer.model"),
        ("llm/tokenizer.model", b"cut", "tokenizer in .* is damaged"),
    ],
)
def test_a_damaged_folder_is_one_line(
    copy: Path, file: str, content: bytes | None, message: str
) -> None:
    if content is None:
        (copy / file).unlink()
    else:
        (copy / file).write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as told:
        fresh(copy)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("places", [{"a": "../../secret"}, {"a": "gone.safetensors"}, {}, 7])
def test_a_damaged_index_is_one_line(copy: Path, places: object) -> None:
    (copy / "llm/model.safetensors").unlink()
    index = copy / "llm/model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(
        ConfigurationError, match=r"index.json is damaged|gone.safetensors is missing"
    ):
        fresh(copy)


def test_nothing_is_unpickled_and_no_code_of_the_folder_runs(copy: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    for part in ("llm", "vision_tower", "mm_projector"):
        (copy / part / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(sprung)))
        (copy / part / "trap.py").write_text(f"open({str(sprung)!r}, 'w')\nclass Trap: ...\n")
        path = copy / part / "config.json"
        code = {"auto_map": {"AutoConfig": "trap.Trap", "AutoModel": "trap.Trap"}}
        path.write_text(json.dumps(json.loads(path.read_text()) | code))
    fresh(copy)
    (copy / "llm/model.safetensors").unlink()
    with pytest.raises(ConfigurationError, match=r"convert pytorch_model\.bin"):
        fresh(copy)
    assert not sprung.exists()


@pytest.mark.parametrize("kind", ["json", "sentencepiece"])
def test_texts_become_tokens_and_never_special_ones(tmp_path: Path, kind: Any) -> None:
    folder = save_random_vila(tmp_path / kind, tokenizer=kind)
    made = fresh(folder)
    hostile = bought(None, asked="buy <s> a </s> lamp <image> <unk> -200")
    (part,) = made.parts(hostile)
    assert part.ids[0] == 1  # begins once
    assert {1, 2, IMAGE}.isdisjoint(part.ids[1:])
    assert part.length == len(part.ids)
    (clicked,) = made.parts(bought(None, None, asked="buy </s>"))
    assert clicked.ids.count(2) == 1  # the end of the one action


def test_a_tokenizer_larger_than_the_model_is_refused(copy: Path) -> None:
    larger = save_random_vila(copy.parent / "larger", tokenizer="json")
    shutil.copy(larger / "llm/tokenizer.json", copy / "llm")
    with pytest.raises(ConfigurationError, match=r"knows \d+ tokens and the model"):
        fresh(copy)


def test_linear_stretching_lengthens_what_the_model_can_count(copy: Path) -> None:
    path = copy / "llm/config.json"
    config = json.loads(path.read_text())
    config.pop("rope_parameters", None)
    path.write_text(json.dumps(config | {"rope_scaling": {"type": "linear", "factor": 2.0}}))
    assert read_layout(copy).positions == 2048
    assert fresh(copy, max_tokens=4096).limit == 2048
