"""Model folders: what is in them, and one line for each that is damaged or foreign."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_reward import GAME, GAME24, MAZE, save_random_reward

from armap_agents.errors import ArmapError, ConfigurationError
from armap_agents.reward import load_reward
from armap_agents.reward.render import Rendering


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random model of one environment."""
    return save_random_reward(tmp_path_factory.mktemp("reward") / "model", {"game24": GAME24})


def test_a_model_outlives_its_files(tmp_path: Path) -> None:
    folder = save_random_reward(tmp_path / "model", {"game24": GAME24})
    script = (
        "import sys; from pathlib import Path; from armap_agents.reward import load_reward;"
        "sys.path.insert(0, 'tests'); from tiny_reward import GAME;"
        "model = load_reward(sys.argv[1]);"
        "[p.write_bytes(b'') for p in Path(sys.argv[1]).parent.rglob('*.safetensors')];"
        "print(model.score([GAME]))"
    )
    expected = load_reward(folder).score([GAME])
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr  # a mapped file that shrinks is a bus error
    assert json.loads(done.stdout) == pytest.approx(expected, abs=1e-5)


def test_scores_that_are_no_numbers_are_an_error(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    heads = load_file(copy / "heads.safetensors")
    save_file({**heads, "bias": heads["bias"] * math.nan}, copy / "heads.safetensors")
    with pytest.raises(ArmapError, match=rf"trajectory {GAME.id} .* no finite number"):
        load_reward(copy).score([GAME])


def rewritten(**changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        value = json.loads((folder / "reward.json").read_text())
        (folder / "reward.json").write_text(json.dumps({**value, **changes}))

    return damage


WRITTEN = Rendering().to_dict()


def for_the_maze(**changes: Any) -> Callable[[Path], None]:
    return rewritten(environments={"maze": {**MAZE.to_dict(), **changes}})


def truncated(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])

    return damage


def reshaped(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = {key: tensor[..., :1].clone() for key, tensor in load_file(folder / name).items()}
        save_file(tensors, folder / name)

    return damage


def pickled(name: str) -> Callable[[Path], None]:
    """Leave a pickle where the loaders of old looked for one."""

    def damage(folder: Path) -> None:
        import torch
        from safetensors.torch import load_file

        path = folder / name
        torch.save(load_file(path), path.with_suffix(".bin"))
        path.unlink()

    return damage


ADAPTER = "adapter/adapter_model.safetensors"


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda f: shutil.rmtree(f), "there is no reward model in"),
        (lambda f: (f / "reward.json").unlink(), "is not a reward model"),
        (lambda f: (f / "reward.json").write_text("{"), r"reward\.json is damaged"),
        (lambda f: (f / "reward.json").write_text("[]"), r"reward\.json is damaged"),
        (lambda f: (f / "reward.json").write_text("[" * 100_000), r"reward\.json is damaged"),
        (lambda f: (f / "export.json").write_text("{}"), "is an export, which vLLM serves"),
        (for_the_maze(mean=math.nan), "settings are damaged"),
        (for_the_maze(std=0.0), "settings are damaged"),
        (for_the_maze(rendering={**WRITTEN, "shorten": [["a", r"\9"]]}), "rendering .* damaged"),
        (rewritten(schema_version=1), "schema version 1, .*train the model again"),
        (rewritten(environments={}), "names no environment"),
        (rewritten(backbone={"kind": "minilm"}), "train the model again"),
        (lambda f: (f / "heads.safetensors").write_bytes(b"x"), "is damaged"),
        (lambda f: (f / "heads.safetensors").unlink(), "is damaged or missing"),
        (truncated("heads.safetensors"), "is damaged"),
        (truncated("pooling.safetensors"), "is damaged"),
        (truncated(ADAPTER), "is damaged"),
        (reshaped("heads.safetensors"), "is damaged"),
        (reshaped("pooling.safetensors"), "is damaged"),
        (reshaped(ADAPTER), "is damaged"),
        (pickled("heads.safetensors"), "is damaged or missing"),
        (pickled("pooling.safetensors"), "is damaged or missing"),
        (pickled(ADAPTER), "is damaged or missing"),
        (lambda f: shutil.rmtree(f / "adapter"), "is damaged or missing"),
        (
            lambda f: shutil.copy(f / "heads.safetensors", f / ADAPTER),
            "is another model's adapter",
        ),
    ],
)
def test_bad_folders_get_one_line(
    folder: Path, tmp_path: Path, damage: Callable[[Path], object], complaint: str
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    damage(copy)
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        load_reward(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"sha256": "0" * 64}, "is not the backbone"),
        ({"kind": "gpt"}, "there is no backbone 'gpt'"),
        ({"options": {"rank": 3}}, "train the model again"),
        ({"options": {"fancy": 3}}, "no option fancy"),
        ({"options": None}, "options are none"),
        ({"options": {"rank": 10**9}}, r"reward\.json is damaged"),
        ({"weights": 5}, "no backbone"),
        ({"weights": "/nowhere/at/all"}, "put its weights back there"),
    ],
)
def test_another_backbone_is_refused(
    folder: Path, tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    settings = json.loads((copy / "reward.json").read_text())
    settings["backbone"] |= change
    (copy / "reward.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        load_reward(copy)
    assert "\n" not in str(caught.value)


def test_a_model_folder_holds_tensors_and_json_alone(folder: Path) -> None:
    assert {p.suffix for p in folder.rglob("*") if p.is_file()} == {".json", ".safetensors"}
