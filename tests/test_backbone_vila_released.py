"""The authors' adapter and head are placed where their layout allows, or refused by name."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from damage import Trap, edited
from random_vila import WIDTH, save_random_vila
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner
from vila_episodes import OPTIONS, bought, encoded, fresh, picture, trained

from armap_agents.cli import app
from armap_agents.errors import ConfigurationError
from armap_agents.reward import load_reward
from armap_agents.reward.backbones.vila import VilaBackbone
from armap_agents.reward.backbones.vila.released import released
from armap_agents.reward.model import RewardNetwork
from armap_agents.reward.render import render
from armap_agents.trajectory import Observation, Task, Trajectory


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_vila(tmp_path_factory.mktemp("vila") / "checkpoint")


def released_files(
    made: VilaBackbone, folder: Path, rename: Callable[[str], str]
) -> dict[str, Tensor]:
    """Write a trained adapter and a head as LLaVA's code names them; return the head."""
    made.save(folder)
    (folder / "adapter").rename(folder / "lora_default")
    path = folder / "lora_default/adapter_model.safetensors"
    save_file({rename(name): tensor for name, tensor in load_file(path).items()}, path)
    head = {"weight": torch.randn(1, made.width), "bias": torch.tensor([0.5])}
    save_file(head, folder / "reward_head.safetensors")
    return head


def through_wrappers(name: str) -> str:
    return name.replace("base_model.model.", "base_model.model.llm.model.")


@pytest.mark.parametrize(
    "rename",
    [
        through_wrappers,
        lambda name: name.replace("base_model.model.", "base_model.model.model."),
        lambda name: name.replace(".weight", ".lora_default.weight"),
    ],
)
def test_released_adapter_and_head_are_placed(
    checkpoint: Path, tmp_path: Path, rename: Callable[[str], str]
) -> None:
    made = fresh(checkpoint)
    trained(RewardNetwork(made), 3)
    head = released_files(made, tmp_path, rename)
    path = tmp_path / "lora_default/adapter_model.safetensors"
    idle = "base_model.model.vision_tower.vision_tower.encoder.layers.0.self_attn.q_proj.lora_"
    edited(
        path,
        lambda t: t.update(
            {f"{idle}A.weight": torch.ones(4, 9), f"{idle}B.weight": torch.zeros(9, 4)}
        ),
    )
    got = released(tmp_path, str(checkpoint), max_tokens=512)
    assert got.backbone.spec.options == {"max_tokens": 512, **OPTIONS}
    assert torch.equal(got.weight, head["weight"][0])
    assert got.bias == 0.5
    episode = bought(picture(1))
    assert torch.equal(encoded(got.backbone.eval(), episode), encoded(made, episode))


def test_the_command_makes_a_model_folder_that_scores(checkpoint: Path, tmp_path: Path) -> None:
    made = fresh(checkpoint)
    trained(RewardNetwork(made), 3)
    head = released_files(made, tmp_path / "released", through_wrappers)
    out = tmp_path / "model"
    command = ["reward", "import", str(tmp_path / "released"), "--weights", str(checkpoint)]
    command += ["--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    model = load_reward(out)
    shown = Observation("the page shows lamps", image=picture(1))
    bare = Trajectory(Task("1", "webshop"), "buy a red lamp", shown)
    vector = encoded(made, render(bare, model.settings.of("webshop").rendering))[0]
    expected = float(head["weight"][0] @ vector + head["bias"][0])
    assert model.score([bare]) == pytest.approx([expected], abs=1e-5)
    assert model.value([bare]) == [0.5]
    assert not hasattr(model, "probability")
    again = CliRunner().invoke(app, command)
    assert isinstance(again.exception, ConfigurationError)


def test_released_files_that_have_no_place_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    released_files(fresh(checkpoint), tmp_path, through_wrappers)
    path = tmp_path / "lora_default/adapter_model.safetensors"
    config, head = path.with_name("adapter_config.json"), tmp_path / "reward_head.safetensors"
    good = {file: file.read_bytes() for file in (path, config, head)}
    tower = "base_model.model.vision_tower.layers.0.q_proj.lora_"
    layer = "base_model.model.llm.model.layers.0.self_attn.q_proj.lora_A.weight"
    plain = json.loads(config.read_text())
    tensor = torch.ones(1, WIDTH)
    for file, change, message in (
        (
            path,
            {f"{tower}A.weight": torch.ones(1), f"{tower}B.weight": torch.ones(1)},
            "vision_tower",
        ),
        (path, {"base_model.model.mm_projector.weight": torch.ones(1)}, "mm_projector.weight"),
        (path, {layer: torch.ones(9, WIDTH)}, "misshapen"),
        (head, {"weight": torch.ones(1, 3)}, "3 numbers"),
        (head, {"weight": torch.ones(2, WIDTH)}, r"weight \[2, 32\]"),
        (head, {"score.weight": tensor}, "one weight"),
        (config, {"use_dora": True}, "use_dora"),
        (config, {"bias": "all"}, "bias"),
        (config, {"r": 8}, "misshapen"),
    ):
        if file == config:
            config.write_text(json.dumps(plain | change))
        else:
            edited(file, lambda tensors, new=change: tensors.update(new))  # type: ignore[misc]
        with pytest.raises(ConfigurationError, match=message):
            released(tmp_path, str(checkpoint))
        file.write_bytes(good[file])
    edited(path, lambda tensors: tensors.pop(layer))
    with pytest.raises(
        ConfigurationError, match=r"missing: base_model\.model\.layers\.0\.self_attn\.q"
    ):
        released(tmp_path, str(checkpoint))
    path.unlink()
    path.with_name("adapter_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(
        ConfigurationError, match=r"adapter_model.bin is a pickle.*weights_only=True"
    ):
        released(tmp_path, str(checkpoint))
    head.rename(tmp_path / "reward_head")
    with pytest.raises(ConfigurationError, match="reward_head is a pickle"):
        released(tmp_path, str(checkpoint))
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(ConfigurationError, match=r"no adapter_config.json"):
        released(checkpoint, str(checkpoint))
