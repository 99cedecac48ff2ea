"""The judge prompt that reward models are compared with: its question, and what an answer means."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
from benchmark_modules import benchmark

from armap_agents.tools.game24 import Game24
from armap_agents.tools.game24.environment import play


@pytest.fixture(scope="module")
def judging() -> ModuleType:
    return benchmark("judge_prompt")


def test_every_spelling_counts(judging: ModuleType) -> None:
    told = {"Yes": 0.5, " yes": 0.1, "No": 0.2, "Well": 0.05}
    logprobs = {token: math.log(p) for token, p in told.items()}
    assert judging.log_odds(logprobs) == pytest.approx(math.log(0.6 / 0.2))


def test_a_word_that_is_not_told_is_as_likely_as_the_last_one(judging: ModuleType) -> None:
    assert judging.log_odds({"Yes": math.log(0.9), "Well": math.log(0.1)}) == pytest.approx(
        math.log(0.9 / 0.1)
    )


def test_the_judge_reads_task_attempt_and_question(judging: ModuleType) -> None:
    task = Game24().tasks("dev")[0]
    action = play(task, ()).last.actions[0]
    trajectory = play(task, (action,))
    asked = judging.question(trajectory)
    assert asked.startswith(f"Task: {trajectory.instruction}\n")
    assert f"Action: {action}\nObservation: {trajectory.last.text}" in asked
    assert asked.endswith(judging.QUESTION)
