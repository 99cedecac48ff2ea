"""Bad input gets one clear line that names the cure, and a status of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from armap_agents.testing import scripted_policy

ARMAP = str(Path(sys.executable).parent / "armap")


def armap(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ARMAP_")}
    return subprocess.run(
        [ARMAP, *arguments], cwd=cwd, capture_output=True, text=True, env=environment
    )


def error_of(shown: subprocess.CompletedProcess[str]) -> str:
    assert shown.returncode != 0
    assert "Traceback" not in shown.stderr, shown.stderr
    *above, line = shown.stderr.splitlines()  # a bar may stand above, but no empty line
    assert all(above)
    return line


POLICY = ["--policy-url", "http://127.0.0.1:9/v1", "--policy-model", "m"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "game24", "901", "--reward", "r"], "no policy_url"),
        (["plan", "game24", "901", "--reward", "r", *POLICY], "armap serve policy"),
        (["plan", "game24", "nine", *POLICY], "no task 'nine'"),
        (["plan", "game42", "901", *POLICY], "no environment is called 'game42'"),
        (["plan", "game24", "901", "--planner", "magic", *POLICY], "no planner is called 'magic'"),
        (["plan", "game24", "901", "-E", "colour", *POLICY], "is not KEY=VALUE"),
        (["plan", "game24", "901", "-E", "colour=red", *POLICY], "does not take"),
        (["plan", "game24", "901", "--objective", "length=much", *POLICY], "must be a number"),
        (["plan", "game24", "901", "--n", "0", *POLICY], "greater than or equal to 1"),
        (["tasks", "game24", "--split", "tset"], "no split 'tset'"),
        (["train", "no-data", "--out", "x"], "no-data"),
        (["generate", "game24", "--out", "x", "--policy-url", "http://x/v1"], "--policy-model"),
        (["generate", "game24", "--out", "x", "--policy-share", "0.5"], "0.5 needs a policy"),
        (["generate", "game24", "--out", "x", "--uniform-share", "0.95", *POLICY], "lower one"),
        (["evaluate", "game24", "--tasks", "1", "--out", "x", *POLICY], "no tasks '1'"),
    ],
)
def test_bad_input_names_the_cure(arguments: list[str], words: str, tmp_path: Path) -> None:
    assert words in error_of(armap(*arguments, cwd=tmp_path))


@pytest.mark.slow
async def test_a_wrong_model_name_and_a_missing_reward(tmp_path: Path) -> None:
    async with scripted_policy(models=("right",)) as server:
        url = ["--policy-url", server.url]
        wrong = armap("plan", "game24", "901", *url, "--policy-model", "wrong", cwd=tmp_path)
        missing = armap(
            *("plan", "game24", "901", *url, "--policy-model", "right", "--reward", "nowhere"),
            cwd=tmp_path,
        )
    assert "right" in error_of(wrong)
    assert "armap train" in error_of(missing)


@pytest.mark.slow
def test_an_endpoint_that_nothing_is_asked_of_need_not_answer(tmp_path: Path) -> None:
    command = ["generate", "game24", "--pairs", "5", *POLICY]
    command += ["--written-share", "0", "--llm-share", "0", "--policy-share"]
    shown = armap(*command, "0", "--out", "data", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    failed = armap(*command, "0.5", "--out", "more", cwd=tmp_path)
    assert "cannot be reached" in error_of(failed)


@pytest.mark.slow
async def test_plan_shows_the_answer_step_by_step(tmp_path: Path) -> None:
    async with scripted_policy() as server:
        shown = armap(
            *("plan", "game24", "901", "--planner", "sampling", "--n", "3"),
            *("--policy-url", server.url, "--policy-model", "scripted"),
            cwd=tmp_path,
        )
    assert shown.returncode == 0, shown.stderr
    assert "Number left:" in shown.stdout
    assert "3 rollouts (0 failures), " in shown.stdout
    assert "different candidate" in shown.stdout
    assert ", 9 completions, " in shown.stdout
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name in shown.stdout
