"""The true score and hidden goals reach nobody but evaluation."""

import json
from pathlib import Path
from typing import Any

import pytest

from armap_agents import FunctionReward, register_environment, register_reward, resources
from armap_agents.graphs import best_of_n
from armap_agents.testing import scripted_policy
from armap_agents.tools.game24 import Game24
from armap_agents.tools.game24.environment import puzzle_task
from armap_agents.training.domains.game24 import Game24Domain
from armap_agents.training.generate import GenerateConfig, generate_data

GOAL = "SENTINEL-GOAL-5b1f"
SCORE = 0.6180339887


class Guarded(Game24):
    """Game of 24 with a secret goal and a telling score."""

    name = "guarded"

    def __init__(self, score: float = SCORE) -> None:
        super().__init__()
        self.secret_goal = GOAL
        self.score = score

    def true_score(self) -> float:
        return self.score


class Raising(Guarded):
    """Nobody may ask."""

    def true_score(self) -> float:
        raise AssertionError("somebody asked for the true score")


async def plan(tmp_path: Path, **options: Any) -> tuple[dict[str, Any], str]:
    """Run Best-of-N; return its output and everything that it wrote or sent, as one text."""
    register_reward("length", lambda: FunctionReward(lambda t: len(t.last.text), "length"))
    task = puzzle_task([4, 9, 10, 13]).to_dict() | {"environment": "guarded"}
    async with scripted_policy() as server, resources(tmp_path):
        out = await best_of_n.graph.ainvoke(
            {"task": task},
            context={
                "policy_url": server.url,
                "policy_model": "scripted",
                "reward": "length",
                "n": 6,
                "environment_options": options,
            },
        )
        sent = [request.body for request in server.requests]
    written = [path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    assert sent
    return out, json.dumps([out, sent]) + "".join(written)


async def test_sentinels_are_found_nowhere(tmp_path: Path) -> None:
    register_environment("guarded", Guarded)
    _, everything = await plan(tmp_path)
    assert GOAL not in everything
    assert str(SCORE) not in everything


async def test_planners_run_unchanged_whatever_the_true_scores_are(tmp_path: Path) -> None:
    register_environment("guarded", Guarded)
    answers = [(await plan(tmp_path / str(s), score=s))[0]["trajectory"] for s in (0.0, 1.0)]
    register_environment("guarded", Raising)
    answers.append((await plan(tmp_path / "raising"))[0]["trajectory"])
    assert answers[0]["steps"] == answers[1]["steps"] == answers[2]["steps"]


@pytest.mark.parametrize("environment", [Guarded, Raising])
async def test_training_data_knows_no_true_score(tmp_path: Path, environment: type) -> None:
    config = GenerateConfig(pairs=100, continuations=64)
    await generate_data(Game24Domain(), environment, tmp_path, config)
    everything = "".join(path.read_text("utf-8") for path in tmp_path.iterdir() if path.is_file())
    assert "pairs" in everything
    assert GOAL not in everything
    assert str(SCORE) not in everything
