"""The judge prompt that reward models are compared with: its question, and what an answer means."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from armap_agents.tools.game24 import Game24
from armap_agents.tools.game24.environment import play

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def judging() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("judge_prompt")


def test_every_spelling_counts(judging: ModuleType) -> None:
    told = {"Yes": 0.5, " yes": 0.1, "No": 0.2, "Well": 0.05}
    logprobs = {token: math.log(p) for token, p in told.items()}
    assert judging.log_odds(logprobs) == pytest.approx(math.log(0.6 / 0.2))


def test_a_word_that_is_not_told_is_as_likely_as_the_last_one(judging: ModuleType) -> None:
    assert judging.log_odds({"Yes": math.log(0.9), "Well": math.log(0.1)}) == pytest.approx(
        math.log(0.9 / 0.1)
    )


def test_the_newest_steps_are_shown_and_the_others_counted(
    judging: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Game24().tasks("dev")[0]
    first = play(task, ())
    action = first.last.actions[0]
    trajectory = play(task, (action,))
    whole = judging.question(trajectory)
    assert whole.startswith(f"Task: {trajectory.instruction}\n")
    assert trajectory.observation.text in whole
    assert f"Action: {action}\nObservation: {trajectory.last.text}" in whole
    assert whole.endswith(judging.QUESTION)
    monkeypatch.setattr(judging, "CHARACTERS", len(trajectory.last.text) + len(action) + 25)
    shortened = judging.question(trajectory)
    assert "(1 earlier steps)" in shortened
    assert trajectory.observation.text not in shortened.split("What the agent did:")[1]
    assert f"Action: {action}" in shortened
