"""`armap generate` in the real worlds: what is written replays and needs no order of the work."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
from typer.testing import CliRunner

from armap_agents.cli import app
from armap_agents.environment import Environment, make_environment, restore
from armap_agents.training.domain import domain
from armap_agents.training.generate import GenerateConfig, generate_data
from armap_agents.training.records import Dataset, load_dataset

SMALL = GenerateConfig(pairs=40, episodes=4, seed=2)


async def replays(environment: Environment, data: Dataset, most: int) -> None:
    """Make sure that trajectories are what the environment shows."""
    for trajectory in list(data.trajectories.values())[:most]:
        seen = await restore(environment, trajectory.task, trajectory.actions)
        assert seen.text == trajectory.last.text
    await environment.close()


async def test_webshop_files_depend_on_the_configuration_alone(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "four"]
    for folder, concurrency in zip(folders, (1, 4), strict=True):
        make = partial(make_environment, "webshop", render=False)
        await generate_data(domain("webshop"), make, folder, SMALL, concurrency=concurrency)
    for name in ("trajectories.jsonl", "pairs.jsonl", "values.jsonl"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    data = load_dataset(folders[0])
    assert len(data.pairs) >= 40
    assert len({pair.kind for pair in data.pairs}) >= 4
    await replays(make(), data, 20)


@pytest.mark.slow
@pytest.mark.browser
def test_webshop_in_a_browser_brings_its_screenshots(tmp_path: Path) -> None:
    from PIL import Image

    command = ["generate", "webshop", "--out", str(tmp_path), "--pairs", "5"]
    command += ["--episodes", "3", "--values", "0", "--partial-share", "0", "-E", "render=true"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    data = load_dataset(tmp_path)
    shown = [
        step.observation.image
        for trajectory in data.trajectories.values()
        for step in trajectory.steps
        if not step.done
    ]
    assert len(shown) > 5
    for image in shown:
        assert image is not None
        assert Image.open(BytesIO(image.data)).size[0] > 100
    counted = json.loads((tmp_path / "report.json").read_text())["counts"]["images"]
    assert counted == len(list((tmp_path / "images").iterdir())) > 5


@pytest.mark.slow
@pytest.mark.java
async def test_scienceworld_gives_pairs_that_replay(tmp_path: Path) -> None:
    knowledge = domain("scienceworld")
    config = replace(SMALL, pairs=5, episodes=2, values=0, partial_share=0.0)
    make = partial(make_environment, "scienceworld", **knowledge.options)
    await generate_data(knowledge, make, tmp_path, config, concurrency=1)
    data = load_dataset(tmp_path)
    assert len(data.pairs) >= 5
    await replays(make(), data, 3)
