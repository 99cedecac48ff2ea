"""What LLMs make of a good trajectory: only what was really done counts, and it is executed."""

from __future__ import annotations

from collections import Counter
from random import Random

import httpx
import pytest
from toy_shop import ToyShop

from armap_agents.errors import PolicyError
from armap_agents.policy import Policy, PolicyConfig
from armap_agents.testing import scripted_policy
from armap_agents.training.explore import extend, opening
from armap_agents.training.llm_negatives import actions, written
from armap_agents.trajectory import Status, Task, Trajectory

INSTRUCTION = "Buy apple and egg."
GOOD = ["hum", "take apple", "take egg", "pay"]
SAME = "dropped: the LLM wrote no other actions"
IMPOSSIBLE = "dropped: what the LLM changed is impossible"


async def played(actions: list[str], max_steps: int = 8) -> Trajectory:
    shop = ToyShop(render=False)
    trajectory = await opening(shop, Task("train-0", "toyshop", "train", max_steps=max_steps))
    for action in actions:
        trajectory = await extend(shop, trajectory, action)
    return trajectory


async def answered(
    answer: str, good: Trajectory | None = None
) -> tuple[Trajectory | None, Counter[str], str]:
    """Return what comes of a writer's answer, what was counted, and what it had been asked."""
    counts: Counter[str] = Counter()
    good = good or await played(GOOD)
    async with scripted_policy(lambda _: answer) as server, httpx.AsyncClient() as http:
        writer = Policy(PolicyConfig(server.url, "scripted"), http)
        shop = ToyShop(render=False)
        made = await written(shop, good, INSTRUCTION, writer, Random(0), counts)
        (request,) = server.requests
    assert counts["policy: completions"] == 1
    return made, counts, request.prompt


async def test_what_the_writer_wrote_is_executed() -> None:
    made, counts, prompt = await answered("1. hum\n2. take apple\n\n3) take bread\n4. pay\n")
    assert made is not None
    assert made == await played(["hum", "take apple", "take bread", "pay"])
    assert made.last.text == "You paid for apple, bread."
    assert not {SAME, IMPOSSIBLE} & counts.keys()
    assert INSTRUCTION in prompt
    assert "take egg -> Shop train-0. In the basket: apple, egg." in prompt


async def test_what_it_says_would_be_seen_is_left_out() -> None:
    made, _, _ = await answered("- take bread -> You paid for apple, egg.\nAction: look\n* pay")
    assert made is not None
    assert made.actions == ["take bread", "look", "pay"]
    assert made.last.text == "You paid for bread."


@pytest.mark.parametrize(
    ("line", "action"),
    [
        ("8 - 3 = 5", "8 - 3 = 5"),
        ("1) 8 * 3 = 24", "8 * 3 = 24"),
        ("2. -3 + 5 = 2", "-3 + 5 = 2"),
        ("* click[black - large] -> A page.", "click[black - large]"),
        ("3. Action: click[1. box]", "click[1. box]"),
        ("- - look", "look"),
        ("  focus on Action: lamp ", "focus on Action: lamp"),
    ],
)
def test_marks_are_taken_off_and_nothing_else(line: str, action: str) -> None:
    assert actions(f"{line}\nlook") == [action, "look"]
    assert actions(f"Of course:\n```text\n{line}\n```") == [action]


async def test_one_who_stops_too_early_has_not_ended() -> None:
    made, _, _ = await answered("hum\ntake apple")
    assert made is not None
    assert made.actions == ["hum", "take apple"]
    assert made.status == Status.LIMIT


async def test_what_becomes_impossible_gives_way_to_what_is_possible() -> None:
    made, _, _ = await answered("take apple\ntake apple\npay")
    assert made is not None
    assert made.actions[0] == "take apple"
    assert made.done


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", SAME),
        ("Here you are:\n```\n" + "\n".join(GOOD) + "\n```", SAME),
        ("\n \n", SAME),
        ("\n".join(GOOD), SAME),
        ("Sure! The person takes bread.\ntake bread\npay", IMPOSSIBLE),
        ("hum\ntake moon\npay", IMPOSSIBLE),
        ("\n".join([*GOOD, "hum"]), IMPOSSIBLE),
        ("hum\n" + "take apple " * 5000, IMPOSSIBLE),
    ],
)
async def test_an_answer_that_is_no_counterpart_is_dropped_and_counted(
    answer: str, reason: str
) -> None:
    made, counts, _ = await answered(answer)
    assert made is None
    assert counts[reason] == 1


async def test_of_a_long_trajectory_the_end_is_rewritten() -> None:
    long = await played([*["hum", "look"] * 8, *GOOD], max_steps=40)
    made, _, prompt = await answered("take bread\npay", long)
    assert made is not None
    assert made.actions == [*["hum", "look"] * 4, "take bread", "pay"]
    assert prompt.count("hum ->") == 5


async def test_no_more_than_an_episodes_steps_are_taken() -> None:
    made, _, _ = await answered("\n".join(["look"] * 500))
    assert made is not None
    assert len(made) == 8


async def test_a_writer_that_fails_is_counted() -> None:
    counts: Counter[str] = Counter()
    async with httpx.AsyncClient() as http:
        writer = Policy(PolicyConfig("http://127.0.0.1:9/v1", "scripted", retries=0), http)
        with pytest.raises(PolicyError):
            await written(ToyShop(), await played(GOOD), INSTRUCTION, writer, Random(0), counts)
    assert counts["policy: failures"] == 1
