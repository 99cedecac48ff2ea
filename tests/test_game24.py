import csv
import itertools
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armap_agents import ArmapError, Task, make_environment
from armap_agents.tools.game24.arithmetic import (
    IllegalStep,
    calculate,
    legal_steps,
    numbers_left,
    take_step,
)
from armap_agents.tools.game24.environment import SPLITS, play, puzzle_task, puzzles
from armap_agents.tools.game24.tool import arithmetic

numbers = st.lists(st.fractions(-50, 50, max_denominator=6), min_size=2, max_size=4).map(
    numbers_left
)
DATA = Path(__file__).parents[2] / "shared" / "data" / "game24" / "24.csv"


def independent_successors(left: tuple[Fraction, ...]) -> set[tuple[Fraction, ...]]:
    """Every state that one operation on two positions leads to, from the definition."""
    found = set()
    for i, j in itertools.permutations(range(len(left)), 2):
        a, b = left[i], left[j]
        rest = [n for k, n in enumerate(left) if k not in (i, j)]
        results = [a + b, a - b, a * b, *([a / b] if b else [])]
        found |= {tuple(sorted([*rest, r])) for r in results}
    return found


@given(numbers)
def test_legal_steps_reach_exactly_the_successors(left: tuple[Fraction, ...]) -> None:
    assert {state for _, state in legal_steps(left)} == independent_successors(left)


@given(numbers)
def test_listed_steps_are_distinct_and_taken_as_listed(left: tuple[Fraction, ...]) -> None:
    steps = legal_steps(left)
    assert len({step for step, _ in steps}) == len(steps)
    for step, state in steps:
        assert take_step(left, step) == state


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("13 - 9 = 5", "is 4, not 5"),
        ("13 - 8 = 5", "8 is not among"),
        ("9 + 9 = 18", "9 is not among"),
        ("make 24", "write it like"),
        ("4 / 0 = 4", "0 is not among"),
        ("1/0 + 4 = 4", "divides by zero"),
        ("9" * 500, "write it like"),
        ("", "write it like"),
    ],
)
def test_illegal_steps_say_why(step: str, reason: str) -> None:
    with pytest.raises(IllegalStep, match=reason):
        take_step(numbers_left([4, 9, 10, 13]), step)


def test_sums_are_taken_in_either_order() -> None:
    left = numbers_left([4, 9])
    assert take_step(left, "4+9=13") == take_step(left, " 9 + 4 = 13 ") == (Fraction(13),)


@given(st.integers(-99, 99), st.integers(-99, 99), st.integers(1, 99))
def test_calculate_is_exact(a: int, b: int, c: int) -> None:
    assert calculate(f"({a} + {b}) / {c} * ({a} - -{abs(b)})") == Fraction(a + b, c) * (a + abs(b))


@pytest.mark.parametrize(
    "text",
    [
        "2 ** 9",
        "__import__('os')",
        "1 if 1 else 2",
        "a + 1",
        "1.5 + 1",
        "1 /",
        "(" * 150,
        "True",
        "1" * 300,
    ],
)
def test_calculate_refuses_everything_else(text: str) -> None:
    with pytest.raises(ArmapError):
        calculate(text)


def test_tool_answers_in_words() -> None:
    assert arithmetic.invoke({"expression": "(13 - 9) * 6"}) == "(13 - 9) * 6 = 24"
    assert arithmetic.invoke({"expression": "1 / 0"}).startswith("error:")


def test_splits_partition_the_ranks() -> None:
    ranks = [rank for ranges in SPLITS.values() for r in ranges for rank in r]
    assert sorted(ranks) == list(range(1, len(puzzles()) + 1))
    assert [t.id for t in make_environment("game24").tasks("test")] == [
        str(k) for k in range(901, 1001)
    ]


@pytest.mark.skipif(
    not DATA.exists(), reason=f"{DATA.name} of the Tree of Thoughts release is not here"
)
def test_puzzles_equal_the_published_list() -> None:
    with DATA.open() as file:
        published = {
            int(r["Rank"]): tuple(map(int, r["Puzzles"].split())) for r in csv.DictReader(file)
        }
    assert dict(enumerate(puzzles(), 1)) == published


async def test_an_episode() -> None:
    env = make_environment("game24")
    task = puzzle_task([4, 9, 10, 13])
    obs = await env.reset(task)
    assert obs.text == "Numbers left: 4 9 10 13"
    assert "13 - 9 = 4" in (obs.actions or ())
    result = await env.step("13 - 9 = 4")
    assert not result.done
    assert (await env.restore(task, ["13 - 9 = 4"])) == result.observation  # type: ignore[attr-defined]
    assert not (await env.step("10 - 4 = 6")).done
    last = await env.step("6 * 4 = 24")
    assert last.done
    assert last.observation.actions == ()
    assert env.true_score() == 1.0  # type: ignore[attr-defined]
    await env.close()


async def test_an_illegal_step_changes_nothing() -> None:
    env = make_environment("game24")
    obs = await env.reset(Task("901", "game24"))
    result = await env.step("1 + 1 = 3")
    assert result.observation.actions == obs.actions
    assert "Not a legal step" in result.observation.text
    assert env.true_score() == 0.0  # type: ignore[attr-defined]


async def test_bad_tasks_and_options_name_the_cure() -> None:
    env = make_environment("game24")
    with pytest.raises(ArmapError, match="rank from 1 to 1362"):
        await env.reset(Task("9999", "game24"))
    with pytest.raises(ArmapError, match="no split 'tset'"):
        env.tasks("tset")
    with pytest.raises(ArmapError, match="does not take"):
        make_environment("game24", colour="red")
    with pytest.raises(ArmapError, match="no environment is called 'game42'"):
        make_environment("game42")


def test_guide_examples_are_solved_train_puzzles() -> None:
    env = make_environment("game24")
    held_out = {tuple(t.data["numbers"]) for s in ("dev", "test") for t in env.tasks(s)}
    for example in env.guide.examples:  # type: ignore[attr-defined]
        assert example.last.text == "Number left: 24"
        assert tuple(example.task.data["numbers"]) not in held_out
        assert play(example.task, example.actions).id == example.id
        assert all(step.thought for step in example.steps)
