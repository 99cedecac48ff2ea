"""What docs/environments.md shows runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

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
