"""What the README shows runs as it stands there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from armap_agents.testing import scripted_policy

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
ARMAP = str(Path(sys.executable).parent / "armap")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def commands() -> list[list[str]]:
    """Every `armap …` command line, without comments."""
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    parts = [part for line in lines for part in line.split(" -- ") if "/armap " in part]
    return [shlex.split(part, comments=True)[1:] for part in parts]


def test_there_is_something_to_test() -> None:
    assert len(blocks("python")) == 1
    assert len(commands()) >= 6


@pytest.mark.slow
@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_and_option_exists(command: list[str]) -> None:
    names = []
    for word in command:
        if word.startswith("-") or "/" in word or len(names) == 2:
            break
        shown = subprocess.run([ARMAP, *names, word, "--help"], capture_output=True, text=True)
        if shown.returncode:
            break
        names.append(word)
    assert names, f"armap {command[0]} does not exist"
    text = subprocess.run(
        [ARMAP, *names, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200", "PATH": "/usr/bin:/bin", "TERM": "dumb"},
    ).stdout
    for option in (word for word in command if word.startswith("--")):
        assert option in text, f"armap {' '.join(names)} has no {option}"


@pytest.mark.slow
async def test_the_python_example_prints_a_scored_answer(tmp_path: Path) -> None:
    from tiny_backbone import save_tiny_backbone

    backbone = save_tiny_backbone(tmp_path / "backbone")
    data, reward = tmp_path / "runs" / "demo" / "data", tmp_path / "runs" / "demo" / "reward"
    for command in (
        ["generate", "game24", "--out", str(data), "--pairs", "300"],
        ["train", str(data), "--out", str(reward), "--weights", str(backbone), "--steps", "5"],
    ):
        subprocess.run([ARMAP, *command], check=True, capture_output=True)
    (code,) = blocks("python")
    async with scripted_policy(models=("smollm2-135m-instruct",)) as server:
        code = code.replace("http://127.0.0.1:8000/v1", server.url)
        shown = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
        )
    assert shown.returncode == 0, shown.stderr
    assert re.fullmatch(r"-?\d+\.\d+ \['.* = .*', '.* = .*', '.* = .*'\]\n", shown.stdout)
