"""What docs/environments.md and docs/reward.md show runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from armap_agents.testing import ScriptedRequest, scripted_policy

ROOT = Path(__file__).parents[1]


def blocks(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / name).read_text("utf-8"), re.S)


def said(request: ScriptedRequest) -> str:
    """A judge who likes long drafts; actions are drawn by the server itself."""
    draft = re.search(r"Draft: (.*)", request.prompt)
    return "not an action" if request.spelled else str(len(draft[1]) if draft else 0)


async def test_an_environment_of_ones_own_takes_forty_lines(tmp_path: Path) -> None:
    _, environment, use = blocks("environments.md")
    code = [line for line in environment.splitlines() if line.strip()]
    assert len(code) <= 40
    async with scripted_policy(said) as server:
        shown = subprocess.run(
            [sys.executable, "-c", environment + use],
            cwd=tmp_path,
            env=os.environ | {"ARMAP_POLICY_URL": server.url, "ARMAP_POLICY_MODEL": "scripted"},
            capture_output=True,
            text=True,
        )
    assert shown.returncode == 0, shown.stderr
    printed = re.fullmatch(r"(\d+)\.0 Draft: (.+)\n", shown.stdout)
    assert printed is not None, shown.stdout
    assert int(printed[1]) == len(printed[2])


def test_the_shop_can_be_used_by_tools(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", blocks("environments.md")[0]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr
    assert "Back to Search" in shown.stdout
    assert "Mug" in shown.stdout


@pytest.mark.slow
def test_a_reward_model_is_asked_from_python(tmp_path: Path) -> None:
    from tiny_reward import trained_reward

    made = trained_reward(tmp_path / "made")
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    (tmp_path / "runs" / "demo" / "reward").symlink_to(made)
    (code,) = blocks("reward.md")
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    assert re.fullmatch(r"\[.+, .+\] \[0\..+, 0\..+\]\n\[0\..+, 0\..+\] 0\.\d+\n", shown.stdout)
