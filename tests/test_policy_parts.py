"""Prompts, the reading of actions and the prior's arithmetic, without a server."""

import asyncio
import math
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armap_agents.environment import Guide
from armap_agents.policy.actions import (
    abbreviations,
    complaint,
    constraint,
    read_action,
    satisfies,
)
from armap_agents.policy.endpoint import TOP_LOGPROBS, Position
from armap_agents.policy.prior import Members, choose, walk
from armap_agents.policy.prompts import chat, document, plain
from armap_agents.testing import END, next_token_logprobs
from armap_agents.tools.game24 import Game24
from armap_agents.tools.game24.environment import play, puzzle_task
from armap_agents.trajectory import Observation, Step, Task, Trajectory

WORDS = st.sampled_from(["go", "gone", "goner", "1", "13", "door", "open", "é", " ", "-"])
TEXT = st.lists(WORDS, min_size=1, max_size=5).map("".join).filter(str.strip)
OBSERVATION = st.builds(
    Observation, TEXT, actions=st.none() | st.lists(TEXT, max_size=3).map(tuple)
)
STEPS = st.lists(st.builds(Step, TEXT, OBSERVATION), max_size=4).map(tuple)
TRAJECTORY = st.builds(Trajectory, st.just(Task("1", "house")), TEXT, OBSERVATION, STEPS)


@given(TRAJECTORY, st.data(), st.booleans(), st.booleans())
def test_prompts_grow_at_the_end_only(
    trajectory: Trajectory, data: st.DataObject, guided: bool, listed: bool
) -> None:
    guide = Guide("Rules.", (trajectory, trajectory)) if guided else None
    k = data.draw(st.integers(0, len(trajectory)))
    whole = chat(trajectory, guide, list_actions=listed)
    part = chat(trajectory.prefix(k), guide, list_actions=listed)
    assert whole[: len(part)] == part
    assert plain(whole).startswith(plain(part))
    roles = [message["role"] for message in whole]
    assert roles[0] == "system"
    assert roles[1:] == ["user", "assistant"] * (len(roles) // 2 - 1) + ["user"]


def test_the_plain_prompt_of_game24() -> None:
    environment = Game24()
    trajectory = play(puzzle_task([4, 9, 10, 13]), ["13 - 9 = 4"])
    text = plain(chat(trajectory, environment.guide, list_actions=False))
    assert text.endswith("Action: 13 - 9 = 4\nNumbers left: 4 4 10\nAction:")
    assert text.count("make 24.") == 4
    assert "Valid actions" not in text
    assert (
        document([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]) == "a\n\nb\n"
    )


LISTED = Observation("", actions=("go north", "open door", "open door to kitchen", "4 - 1 = 3"))
MIXED = Observation("", actions=("click[Buy Now]",), templates=("search[{query}]", "say: {words}"))


@pytest.mark.parametrize(
    ("text", "observation", "action"),
    [
        ("go north", LISTED, "go north"),
        ("  Go  NORTH. ", LISTED, "go north"),
        ("I think.\nAction: `open door`", LISTED, "open door"),
        ("1. open door to kitchen", LISTED, "open door to kitchen"),
        ("You should open door to kitchen now", LISTED, "open door to kitchen"),
        ("go north or open door", LISTED, None),
        ("going northward", LISTED, None),
        ("14 - 1 = 3", LISTED, None),
        ("4 - 1 = 32", LISTED, None),
        ("4 - 1 = 3", LISTED, "4 - 1 = 3"),
        ("Action:", LISTED, None),
        ("", LISTED, None),
        ("search[red shoes]", MIXED, "search[red shoes]"),
        ("I will search[red shoes] first", MIXED, "search[red shoes]"),
        ("click[buy now]", MIXED, "click[Buy Now]"),
        ("search[]", MIXED, None),
        ("Action: say: hello", MIXED, "say: hello"),
        ("anything\nelse", Observation(""), "anything"),
        ("\n\n", Observation(""), None),
        ('Sure: {"go": 1} ok', Observation("", schema={"type": "object"}), '{"go": 1}'),
        ("no JSON", Observation("", schema={"type": "object"}), None),
    ],
)
def test_read_action(text: str, observation: Observation, action: str | None) -> None:
    assert read_action(text, observation) == action
    assert "\n" not in complaint(text, observation)


@given(st.lists(TEXT, min_size=1, max_size=5, unique_by=str.strip), st.data())
def test_constrained_answers_are_read_as_themselves(texts: list[str], data: st.DataObject) -> None:
    actions = tuple(text.strip() for text in texts)
    action = data.draw(st.sampled_from(actions))
    for templates in ((), ("search[{query}]",)):
        observation = Observation("", actions=actions, templates=templates)
        allowed = constraint(observation, " ")
        assert allowed is not None
        words = {full: short for short, full in abbreviations(actions).items()}
        asked = action if templates else words[action]
        assert satisfies(" " + asked, allowed)
        assert not satisfies(action + "!?", allowed)
        assert read_action(" " + action, observation) == action


@given(st.lists(st.text("ab ", min_size=1, max_size=9), min_size=1, max_size=12))
def test_abbreviations_tell_every_action_apart_by_whole_words(texts: list[str]) -> None:
    actions = sorted({" ".join(text.split()) for text in texts} - {""})
    found = abbreviations(tuple(actions))
    assert sorted(found.values()) == actions
    for short, action in found.items():
        assert action == short or action.startswith(short + " ")
        others = [other for other in actions if other != action]
        assert short == action or not any(f"{o} ".startswith(f"{short} ") for o in others)
        shorter = short.rpartition(" ")[0]
        assert not shorter or any(o.startswith(shorter) for o in others)


def test_a_step_is_decided_before_its_result() -> None:
    steps = ["13 - 9 = 4", "13 - 4 = 9", "13 * 4 = 52", "9 / 4 = 9/4"]
    assert list(abbreviations(tuple(steps))) == ["13 - 9", "13 - 4", "13 *", "9"]


@given(st.text(alphabet=".^$*+?()[]{}|\\/- a\u00e9#&~", min_size=1, max_size=12))
def test_any_action_is_escaped_to_match_itself(action: str) -> None:
    allowed = constraint(Observation("", actions=(action,), templates=("x[{y}]",)))
    assert allowed is not None
    assert re.fullmatch(allowed["regex"], action)
    assert not re.search(r"[^\\][*+]", re.sub(r"\\.", "", allowed["regex"]))


class Scripted:
    """Answers `walk` from the distribution of a score, as the scripted server does."""

    def __init__(self, scores: dict[str, float], top: int = TOP_LOGPROBS) -> None:
        self.scores, self.top, self.asked = scores, top, list[Members]()

    async def __call__(self, members: Members, tokens: int) -> Sequence[Position]:
        self.asked.append(members)
        path: list[Position] = []
        while len(path) < tokens and (not path or path[-1].token != END):
            walked = [position.token for position in path]
            here = next_token_logprobs(members, self.scores.__getitem__, [*walked, END])[-1]
            best = sorted(here.items(), key=lambda item: -item[1])[: self.top]
            path.append(Position(best[0][0], dict(best)))
        return path


@given(st.dictionaries(TEXT, st.floats(-6, 6), min_size=1, max_size=14))
def test_the_walk_finds_the_exact_distribution(scores: dict[str, float]) -> None:
    server = Scripted(scores)
    found = asyncio.run(walk(list(scores), server))
    total = sum(map(math.exp, scores.values()))
    for choice, score in scores.items():
        assert math.exp(found[choice]) == pytest.approx(math.exp(score) / total, abs=2e-3)
    assert sum(map(math.exp, found.values())) == pytest.approx(1)
    assert len(server.asked) <= max(len(scores) - 1, 0)
    assert len(set(server.asked)) == len(server.asked)


def test_the_walk_sees_beyond_the_most_likely_tokens() -> None:
    scores = {f"{chr(97 + k)} word": -k / 5 for k in range(26)}
    found = asyncio.run(walk(list(scores), Scripted(scores, top=5)))
    total = sum(map(math.exp, scores.values()))
    for choice, score in scores.items():
        assert math.exp(found[choice]) == pytest.approx(math.exp(score) / total, abs=2e-3)


async def test_the_walk_adds_up_several_spellings() -> None:
    # `open` is one token or two; `go` one: what begins with `o` has 0.3 + 0.5 of it.
    first = {"o": 0.5, "open": 0.3, "go": 0.2}

    async def ask(members: Members, tokens: int) -> Sequence[Position]:
        assert set(members) == {"open", "go"}
        return [
            Position("o", {t: math.log(p) for t, p in first.items()}),
            Position("pen", {"pen": 0.0}),
        ]

    found = await walk(["open", "go"], ask)
    assert math.exp(found["open"]) == pytest.approx(0.8)


async def test_what_cannot_be_told_apart_is_shared() -> None:
    async def ask(members: Members, tokens: int) -> Sequence[Position]:
        return [Position("", {"": 0.0})] * tokens

    found = await walk(["é", "ü", "a"], ask)
    assert [math.exp(p) for p in found.values()] == pytest.approx([1 / 3] * 3)


@given(
    st.dictionaries(TEXT, st.floats(-20, 0), min_size=1, max_size=8),
    st.integers(1, 10),
    st.floats(0.05, 3),
    st.integers(0, 2**40),
)
def test_choose_is_without_replacement(
    logprobs: dict[str, float], k: int, temperature: float, seed: int
) -> None:
    drawn = choose(logprobs, k, temperature, seed)
    assert len(drawn) == min(k, len(logprobs))
    assert drawn == choose(logprobs, k, temperature, seed)
    assert all(p == logprobs[action] / temperature for action, p in drawn.items())
    likely = choose(logprobs, k, 0.0, seed)
    assert sorted(likely.values()) == sorted(logprobs.values())[-len(likely) :]


def test_choose_follows_the_tempered_prior() -> None:
    logprobs = {"a": math.log(0.8), "b": math.log(0.2)}
    for temperature in (1.0, 2.0):
        first = [next(iter(choose(logprobs, 1, temperature, seed))) for seed in range(4000)]
        weight = 0.8 ** (1 / temperature)
        expected = weight / (weight + 0.2 ** (1 / temperature))
        assert first.count("a") / 4000 == pytest.approx(expected, abs=0.03)
