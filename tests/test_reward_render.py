"""What the scorer reads: nothing leaks, nothing is lost silently, every budget is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armap_agents.errors import ConfigurationError
from armap_agents.reward.render import (
    LEFT_OUT,
    Rendered,
    RenderedStep,
    Rendering,
    cut,
    fitted,
    render,
)
from armap_agents.tools.game24.environment import play, puzzle_task
from armap_agents.trajectory import Image, Observation, Status, Step, Task, Trajectory

GAME = play(puzzle_task([1, 4, 8, 8]), ("8 / 4 = 2", "2 + 1 = 3", "8 * 3 = 24"))
NEWEST = Rendering("newest", ((r"^(?s:.*)Numbers? left: ", ""), (r"^.*make (\S+)\.$", r"\1")))
PICTURE = Image(b"not looked at here")


def words(text: str) -> int:
    """Length of a text in words, as a tokenizer would count them."""
    return len(text.split())


def words_and_separator(text: str) -> int:
    """Length of a text where even an empty one takes a position."""
    return len(text.split()) + 1


LENGTHS: list[Callable[[str], int]] = [len, words, words_and_separator]


def test_all_and_newest_history_are_written_so() -> None:
    assert render(GAME, NEWEST).text == "24 ; 24"
    assert render(GAME.prefix(1), NEWEST).text == "24 ; 1 2 8"
    assert render(GAME.prefix(2), Rendering()).text == (
        "Use the numbers 1 4 8 8, each exactly once, with + - * / to make 24. ; "
        "Numbers left: 1 4 8 8 ; 8 / 4 = 2 : Numbers left: 1 2 8"
        " ; 2 + 1 = 3 : Numbers left: 3 8"
    )


@pytest.mark.parametrize("rendering", [Rendering(), NEWEST, Rendering(images=True)])
def test_done_status_limit_error_and_hidden_fields_never_show(rendering: Rendering) -> None:
    task = Task("SENTINEL-id", "e", "SENTINEL-split", "do", 7919, {"goal": "SENTINEL-data"})
    seen = Observation(
        "seen",
        ("SENTINEL-action",),
        ("SENTINEL-template",),
        {"title": "SENTINEL-schema"},
        attachments={"SENTINEL-name": PICTURE},
        facts={"score": "SENTINEL-fact"},
    )
    plain = Trajectory(task, "do", seen, (Step("act", seen),))
    expected = render(plain, rendering)
    assert "SENTINEL" not in str(expected)
    assert "7919" not in str(expected)
    for status in Status:
        for done in (False, True):
            step = Step("act", seen, done, thought="SENTINEL-thought")
            ended = replace(plain, steps=(step,), status=status, error="SENTINEL-error")
            assert render(ended, rendering) == expected


def test_the_opening_is_a_step_unless_it_shows_nothing() -> None:
    blank, seen = Observation(" "), Observation("a room", image=PICTURE)
    walk = Trajectory(Task("t", "e"), "go", blank, (Step("north", seen),))
    assert render(walk, Rendering()).steps == (RenderedStep("north", "a room"),)
    assert render(walk.prefix(0), Rendering()).steps == (RenderedStep("", ""),)
    pictured = replace(walk, observation=replace(blank, image=PICTURE))
    assert len(render(pictured, Rendering(images=True)).steps) == 2
    assert len(render(pictured, Rendering()).steps) == 1


def test_images_are_shown_where_the_rendering_says_so() -> None:
    walk = Trajectory(Task("t", "e"), "go", Observation("a room", image=PICTURE))
    assert render(walk, Rendering(images=True)).steps[0].image == PICTURE
    assert render(walk, Rendering("newest", images=True)).steps[0].image == PICTURE
    assert render(walk, Rendering()).steps[0].image is None


def test_what_is_known_follows_the_instruction_that_it_is_about() -> None:
    rules = (("red|blue", "Colours are on the lid."), ("ball", "Balls roll."), ("cube", "no"))
    walk = Trajectory(Task("t", "e"), "find the red ball", Observation("a room"))
    known = render(walk, Rendering(shorten=(("find ", ""),), knowledge=rules))
    assert known.instruction == "the red ball Colours are on the lid. Balls roll."
    assert known.steps == render(walk, Rendering()).steps


def test_halves_of_characters_become_whole_or_are_replaced() -> None:
    halves = Trajectory(Task("t", "e"), "a \ud83d\ude00", Observation("\ud83d!"))
    whole = render(halves.extended(Step("\ude00", Observation("ok"))), Rendering())
    assert whole.instruction == "a 😀"
    assert whole.text.encode() == "a 😀 ; �! ; � : ok".encode()


def test_rendering_settings_round_trip_and_damage_is_named() -> None:
    full = replace(NEWEST, knowledge=(("a", "b"),), images=True)
    for rendering in (NEWEST, full):
        assert Rendering.from_dict(json.loads(json.dumps(rendering.to_dict()))) == rendering
    for damage in (
        {"history": "some"},
        {"shorten": [["(", ""]]},
        {"knowledge": [["a"]]},
        {"knowledge": None},
        {"images": "yes"},
    ):
        with pytest.raises(ConfigurationError, match="train it again"):
            Rendering.from_dict({**NEWEST.to_dict(), **damage})
    with pytest.raises(ConfigurationError, match="train it again"):
        Rendering.from_dict({"history": "all"})


TEXTS = st.text("ab c\n", max_size=60)


@given(TEXTS, st.integers(-2, 70), st.sampled_from(LENGTHS))
def test_a_cut_keeps_both_ends_within_the_budget(
    text: str, budget: int, length: Callable[[str], int]
) -> None:
    short = cut(text, budget, length)
    if length(text) <= budget:
        assert short == text
        return
    assert length(short) <= max(budget, length(""))
    if length(LEFT_OUT) > budget:
        assert short == ""
        return
    head, tail = short.split(LEFT_OUT)
    assert text.startswith(head.rstrip())
    assert text.endswith(tail.lstrip())
    if length is len and len(short) < budget - 4:
        assert text.count(" ") + text.count("\n") > 0, "only space around the gap is given up"


STEPS = st.lists(
    st.builds(
        RenderedStep,
        st.text("xyz", max_size=6),
        st.text("ab ", max_size=60).map(str.strip),
        st.sampled_from([None, None, PICTURE]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=400)
@given(
    st.text("do it", max_size=40),
    STEPS,
    st.integers(0, 300),
    st.sampled_from(LENGTHS),
    st.integers(0, 30),
)
def test_fitting_keeps_every_budget_and_loses_nothing_silently(
    instruction: str,
    steps: list[RenderedStep],
    budget: int,
    length: Callable[[str], int],
    image_length: int,
) -> None:
    def cost(step: RenderedStep) -> int:
        return length(step.text) + (image_length if step.image else 0)

    whole = Rendered(instruction, tuple(steps))
    short = fitted(whole, budget, length, image_length)
    assert short.steps
    total = length(short.instruction) + sum(map(cost, short.steps))
    assert total <= max(budget, 2 * length("")), "instruction and newest step are always there"
    if length(instruction) + sum(map(cost, steps)) <= budget:
        assert short == whole
        return
    missing = len(steps) - len(short.steps)
    note = short.steps[0].text
    counted = note == f"({missing + 1} earlier steps)"
    if missing > 0 or counted:
        # Only where not even a dot fits is a step left out without a word.
        assert counted or note == LEFT_OUT or budget <= 4 * length(LEFT_OUT) + 4 * length("")
    if counted or missing == 0:
        told = len(short.steps) - counted
        for original, kept in zip(steps[-told:], short.steps[-told:], strict=True):
            assert original.text == kept.text or LEFT_OUT in kept.text or budget <= 8
            assert kept.image in (None, original.image)
            assert not original.image or kept.image or LEFT_OUT in kept.text or budget <= 8


@given(STEPS, st.integers(0, 100))
def test_the_newest_step_stays_whole_where_it_fits(steps: list[RenderedStep], spare: int) -> None:
    needed = len(steps[-1].text) + len(f"({len(steps)} earlier steps)")
    short = fitted(Rendered("", tuple(steps)), 2 * needed + spare, len)
    assert short.steps[-1].text == steps[-1].text


def test_actions_come_before_older_observations() -> None:
    steps = tuple(RenderedStep(f"go {i}", "a long hall with doors") for i in range(4))
    texts = [step.text for step in fitted(Rendered("out", steps), 22, words).steps]
    assert texts == [
        "go 0 : …",
        "go 1 : …",
        "go 2 : …",
        "go 3 : a long hall with doors",
    ]
    texts = [step.text for step in fitted(Rendered("out", steps), 26, words).steps]
    assert texts[2] == "go 2 : a long hall with doors"
    texts = [step.text for step in fitted(Rendered("out", steps), 15, words).steps]
    assert texts == ["(3 earlier steps)", "go 3 : a long hall with doors"]
