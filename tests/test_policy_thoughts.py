"""Thoughts before actions: prompts, reading, both kinds of servers, what a run keeps of them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from maze import TASK as MAZE
from maze import register_maze
from plan_command import Plan, asking, plan, served

from armap_agents import resources
from armap_agents.environment import Guide
from armap_agents.errors import ConfigurationError
from armap_agents.graphs import mcts, sampling
from armap_agents.policy import Policy, PolicyConfig, PolicyFailure
from armap_agents.policy.actions import LABEL, constraint, longest
from armap_agents.policy.prompts import chat, plain, reflection
from armap_agents.policy.question import Question
from armap_agents.policy.thoughts import (
    THOUGHT_CHARACTERS,
    THOUGHT_TOKENS,
    divided,
    satisfies_with_thought,
    thought_constraint,
    thought_of,
    turn,
)
from armap_agents.reward.render import Rendering, render
from armap_agents.testing import ScriptedRequest, ScriptedServer, scripted_policy
from armap_agents.trace import read_events
from armap_agents.trajectory import Observation, Step, Task, Trajectory

__all__ = ["plan"]  # a fixture

ACTIONS = ("go north", "go south", "open door", "open door to kitchen", "wait")
STYLES = pytest.mark.parametrize("style", ["chat", "completion"])

HALL = Observation("A hall.", ACTIONS)
WORKED = Trajectory(
    Task("7", "house"),
    "Leave.",
    HALL,
    (
        Step("go south", Observation("A yard.", ACTIONS), False, "The yard lies south."),
        Step("wait", Observation("Evening."), True),
    ),
)
GUIDE = Guide("You walk through a house.", (WORKED,))


def state(observation: Observation = HALL) -> Trajectory:
    return Trajectory(Task("1", "house"), "Find the kitchen.", observation)


def allowed(request: ScriptedRequest) -> list[str]:
    """The actions, abbreviated, in the regex that a request came with."""
    regex = request.body["structured_outputs"]["regex"]
    listed = re.fullmatch(r".*\\nAction: \((.*)\)", regex)
    assert listed
    return [re.sub(r"\\(.)", r"\1", part) for part in listed[1].split("|")]


def thinker(request: ScriptedRequest) -> str:
    """A model that keeps to the regex: thinks of a number, and takes the action of that number."""
    chosen = request.random.choice(allowed(request))
    thought = f" I think of {request.random.randrange(10**6)}."
    opening = "" if request.path.endswith("/v1/completions") else "Thought:"
    return f"{opening}{thought}\nAction: {chosen}"


@asynccontextmanager
async def policy_for(
    answer: Callable[[ScriptedRequest], str] = thinker, style: str = "chat", **options: Any
) -> AsyncIterator[tuple[Policy, ScriptedServer]]:
    async with scripted_policy(answer, **options) as server, httpx.AsyncClient() as http:
        config = {"style": style, "thoughts": True, "timeout": 20.0}
        yield Policy(PolicyConfig(server.url, "scripted", **config), http), server  # type: ignore[arg-type]


# --- prompts ------------------------------------------------------------------------------------

LINES = st.text("ab: é.", min_size=1, max_size=12).map(str.strip).filter(bool)
STEPS = st.lists(
    st.builds(Step, LINES, st.builds(Observation, LINES), thought=st.none() | LINES), max_size=4
).map(tuple)
TRAJECTORY = st.builds(Trajectory, st.just(Task("1", "house")), LINES, st.just(HALL), STEPS)


@given(TRAJECTORY, st.data(), st.booleans())
def test_prompts_with_thoughts_grow_at_their_end_only(
    trajectory: Trajectory, data: st.DataObject, listed: bool
) -> None:
    k = data.draw(st.integers(0, len(trajectory)))
    whole = chat(trajectory, GUIDE, list_actions=listed, thoughts=True)
    part = chat(trajectory.prefix(k), GUIDE, list_actions=listed, thoughts=True)
    assert whole[: len(part)] == part
    assert plain(whole, thoughts=True).startswith(plain(part, thoughts=True))
    assert plain(whole, thoughts=True).endswith("\nThought:")


@given(TRAJECTORY)
def test_without_thoughts_prompts_know_of_none(trajectory: Trajectory) -> None:
    bare = replace(trajectory, steps=tuple(replace(s, thought=None) for s in trajectory.steps))
    silent = Guide(
        GUIDE.text, (replace(WORKED, steps=tuple(replace(s, thought=None) for s in WORKED.steps)),)
    )
    assert chat(trajectory, GUIDE, list_actions=True) == chat(bare, silent, list_actions=True)
    assert "Thought" not in str(chat(trajectory, GUIDE, list_actions=True))


def test_the_prompt_shows_thoughts_of_examples_and_of_earlier_steps() -> None:
    later = state().extended(Step("wait", HALL, thought="Nothing is urgent."))
    messages = chat(later, GUIDE, list_actions=False, thoughts=True)
    assert "You walk through a house." in messages[0]["content"]
    assert (
        "Leave.\n\nA hall.\nThought: The yard lies south.\nAction: go south\n"
        "A yard.\nAction: wait\nEvening."
    ) in messages[0]["content"]
    assert messages[2]["content"] == "Thought: Nothing is urgent.\nAction: wait"
    text = plain(messages, thoughts=True)
    assert text.endswith("A hall.\nThought: Nothing is urgent.\nAction: wait\nA hall.\nThought:")
    [asked] = reflection(later, None)
    assert "Thought: Nothing is urgent.\nAction: wait\nObservation: A hall." in asked["content"]


# --- constraint and reading ---------------------------------------------------------------------

UNTRUSTED = st.text(st.characters(exclude_characters="\n"), min_size=1, max_size=THOUGHT_CHARACTERS)


@given(UNTRUSTED, st.sampled_from(ACTIONS), st.booleans(), st.booleans())
def test_a_constrained_answer_divides_into_itself(
    thought: str, action: str, begun: bool, templates: bool
) -> None:
    shop = Observation("", ("click[Buy]",), templates=("search[{query}]",))
    observation = shop if templates else HALL
    action = "search[red shoes]" if templates else action
    found = thought_constraint(observation, begun=begun)
    assert found is not None
    written = f"{thought if begun else f'Thought: {thought}'}\nAction: {action}"
    word = {"open door to kitchen": "open door to"}.get(action, action)
    assert re.fullmatch(found["regex"], written.removesuffix(action) + word)
    assert satisfies_with_thought(written.removesuffix(action) + word, observation, begun=begun)
    assert not satisfies_with_thought(written + "!", observation, begun=begun)
    assert not satisfies_with_thought(action, observation, begun=begun)
    labelled = written if not begun else f"Thought:{written}"
    kept, rest = divided(labelled, constrained=True, begun=begun)
    assert rest == action
    assert kept == thought_of(thought)
    shown = turn(kept, rest)
    assert len(shown.splitlines()) == 1 + (kept is not None)


def test_the_tokens_asked_for_hold_the_longest_thought_and_action() -> None:
    longest_one = turn("é" * THOUGHT_CHARACTERS, max(ACTIONS, key=len))
    assert len(longest_one.encode()) <= THOUGHT_TOKENS + longest(HALL)


def test_no_constraint_where_any_text_may_be_an_action() -> None:
    assert thought_constraint(Observation("Say something."), begun=False) is None
    assert constraint(Observation("Say something.")) is None


@pytest.mark.parametrize(
    ("text", "begun", "thought", "rest"),
    [
        ("Thought: The door is shut.\nAction: open door", False, "The door is shut.", "open door"),
        ("I go.\n\nThat is it.\nNext action: go south", False, "I go. That is it.", "go south"),
        (
            "Action: wait\nNo, rather\nAction: go south",
            False,
            "Action: wait No, rather",
            "go south",
        ),
        ("thought: hm Action: wait", False, "hm", "wait"),
        ("Action: wait", False, None, "wait"),
        ("wait", False, None, "wait"),
        ("Thought: I could go north", False, "I could go north", ""),
        ("Thought: I could go north.\nAction:", False, "I could go north. Action:", ""),
        ("Thought: x\nAction: wait\nA hall.\nAction: go south", True, "x", "wait"),
        ("Thought:\nAction: wait", True, None, "wait"),
        ("Thought: a Action: wait", True, "a", "wait"),
        ("Thought: and on and on", True, "and on and on", ""),
    ],
)
def test_free_text_is_divided(text: str, begun: bool, thought: str | None, rest: str) -> None:
    said, found = divided(text, constrained=False, begun=begun)
    assert said == thought
    assert LABEL.sub("", found) == rest


def test_a_thought_is_one_bounded_line() -> None:
    assert thought_of("Thought:  a\r\n\u2028b\x00\ud800c \u202e") == "a b c"
    assert thought_of("Thought: \t ") is None
    long = thought_of("x" * 1000)
    assert long is not None
    assert len(long) == THOUGHT_CHARACTERS


# --- policy -------------------------------------------------------------------------------------


@STYLES
async def test_thought_and_action_are_one_constrained_draw(style: str) -> None:
    async with policy_for(style=style) as (policy, server):
        answer = await policy.act(state(), guide=GUIDE, seed=3)
        assert answer.constrained
        assert answer.action in ACTIONS
        assert re.fullmatch(r"I think of \d+\.", answer.thought or "")
        assert answer.text == f"Thought: {answer.thought}\nAction: {answer.action}"
        assert answer.usage.completions == 1
        (request,) = server.requests
        body = request.body
        opening = "" if style == "completion" else "Thought: "
        assert body["structured_outputs"] == {
            "regex": opening
            + r"[^\n]{1,300}\nAction: (go north|go south|open door|open door to|wait)"
        }
        limit = body.get("max_completion_tokens") or body["max_tokens"]
        assert limit == 64 + THOUGHT_TOKENS
        if style == "completion":
            assert body["stop"] == ["\nThought:"]
            assert request.prompt.endswith("A hall.\nThought:")


@STYLES
async def test_free_text_with_thoughts(style: str) -> None:
    # Too long a thought, no action, then what a base model goes on to imagine.
    begun = style == "completion"
    opening = "" if begun else "Thought:"
    said = iter(
        [
            f"{opening} I should not go north, nor should I wait",
            f"{opening} So be it.\nAction: **Open door**"
            + ("\nThe door opens.\nAction: wait" if begun else ""),
        ]
    )
    async with policy_for(lambda _: next(said), style, constrains=False) as (policy, server):
        policy._sampler.constrains = False
        answer = await policy.act(state(), seed=1)
        assert (answer.action, answer.thought) == ("open door", "So be it.")
        assert (answer.usage.completions, answer.usage.repairs) == (2, 1)
        assert "Valid actions: go north; " in server.requests[0].prompt
        asked = server.requests[1].prompt.removesuffix("\nThought:").splitlines()[-1]
        assert asked.endswith("Answer with exactly one of: " + "; ".join(ACTIONS))


@STYLES
async def test_a_server_that_ignores_the_regex_is_found_out(
    style: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with policy_for(lambda _: "I would wait.\nAction: wait", style, constrains=False) as (
        policy,
        server,
    ):
        answer = await policy.act(state(), seed=1)
        assert (answer.action, answer.thought) == ("wait", "I would wait.")
        # In the completion style this happens to be what the regex allows.
        assert answer.constrained is (style == "completion")
        assert len(server.requests) == (1 if style == "completion" else 2)
    assert len(caplog.records) == (0 if style == "completion" else 1)


@STYLES
async def test_proposals_with_thoughts_are_shares_of_samples(style: str) -> None:
    async with policy_for(style=style) as (policy, server):
        found = await policy.propose(state(), 12, guide=GUIDE, seed=3)
        (request,) = server.requests
        assert request.body["n"] == 12
        written = [thinker(replace(request, draw=k)) for k in range(12)]
        drawn = [text.rpartition("Action: ")[2] for text in written]
        short = {"open door to kitchen": "open door to"}
        for item in found.items:
            word = short.get(item.action, item.action)
            assert item.prior == pytest.approx(drawn.count(word) / 12)
            # The thought of the first sample that came to it.
            assert item.thought is not None
            assert item.thought in written[drawn.index(word)]
        assert found.usage.completions == 12
        again = await policy.propose(state(), 12, guide=GUIDE, seed=3)
        assert again == replace(found, usage=again.usage)
        assert len(server.requests) == 1
        alone = await policy.propose(state(Observation("", ("wait",))), 3)
        assert [(i.action, i.prior, i.thought) for i in alone.items] == [("wait", 1.0, None)]


def household(things: int) -> tuple[str, ...]:
    names = [f"thing{k}" for k in range(things)]
    return (*(f"take {n}" for n in names), *(f"put {n} on {m}" for n in names for m in names))


@STYLES
async def test_a_long_list_takes_one_draw_where_the_server_constrains(style: str) -> None:
    actions = household(20)
    async with policy_for(style=style) as (policy, server):
        answer = await policy.act(state(Observation("A room.", actions)), seed=1)
        assert answer.action in actions
        assert (answer.beginnings, answer.usage.completions) == ((), 1)
        assert len(allowed(server.requests[0])) == len(actions)
        found = await policy.propose(state(Observation("A room.", actions)), 9, seed=1)
        assert found.usage.completions == 9
        assert len(server.requests) == 2
        assert all(item.thought for item in found.items)


@STYLES
async def test_a_long_list_is_thought_about_at_each_stage_in_free_text(style: str) -> None:
    actions = household(20)
    opening = "" if style == "completion" else "Thought:"
    words = ["put", "put thing3 on", "put thing3 on thing4"]

    def answer(request: ScriptedRequest) -> str:
        return f"{opening} Thought {request.number}.\nAction: {words[request.number % 3]}"

    async with policy_for(answer, style, constrains=False) as (policy, server):
        policy._sampler.constrains = False
        trajectory = state(Observation("A room.", actions))
        found = await policy.act(trajectory, seed=1)
        assert (found.action, found.beginnings) == (words[2], ("put", "put thing3 on"))
        assert found.thought == "Thought 0."
        assert found.usage.completions == 3
        last = server.requests[-1].prompt
        for k, word in enumerate(words[:2]):
            assert f"Thought: Thought {k}.\nAction: {word}\n" in last
        assert last.count("take; put") == 1
        proposed = await policy.propose(trajectory, 1, seed=2)
        [item] = proposed.items
        assert (item.action, item.thought) == (words[2], "Thought 3.")


# --- trajectories and runs ----------------------------------------------------------------------


@given(TRAJECTORY)
def test_a_thought_is_stored_and_changes_nothing_else(trajectory: Trajectory) -> None:
    bare = replace(trajectory, steps=tuple(replace(s, thought=None) for s in trajectory.steps))
    assert trajectory.id == bare.id
    assert render(trajectory, Rendering()) == render(bare, Rendering())
    assert "thought" not in json.dumps(bare.to_dict()["steps"])
    assert Trajectory.from_dict(json.loads(json.dumps(trajectory.to_dict()))) == trajectory


def thoughts_of(run: Path) -> dict[str, list[str | None]]:
    """Thoughts of every rollout's steps."""
    return {
        event["id"]: [step.get("thought") for step in event["trajectory"]["steps"]]
        for event in read_events(run / "trace.jsonl")
        if event["kind"] == "rollout"
    }


@pytest.mark.parametrize(
    "planner",
    ["best_of_n[n=4;{}]", "mcts[rollouts=12;parallel=4;proposals=4;{}]", "beam[width=2;{}]"],
)
def test_a_run_keeps_its_thoughts_goes_on_and_is_replayed(
    tmp_path: Path, plan: Plan, planner: str
) -> None:
    planner = planner.format("policy_thoughts=true")
    with served(scripted_policy(thinker)) as server:
        chosen = ["--planner", planner, "--reward", "luck-and-value", "--run", "first"]
        chosen += asking(server)
        status, _, said = plan("maze", "0", *chosen)
        assert status == 0, said
        kept = thoughts_of(tmp_path / "first")
        assert all(kept.values())
        assert all(thought for thoughts in kept.values() for thought in thoughts)
        told = [request.prompt for request in server.requests if "\nAction: go" in request.prompt]
        assert told
        assert all("\nThought: I think of " in prompt for prompt in told)
        # Killed in the middle, it goes on to the same end.
        path = tmp_path / "first" / "trace.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: len(lines) // 2]))
        status, _, said = plan("--resume", "first")
        assert status == 0, said
    assert thoughts_of(tmp_path / "first") == kept
    status, _, said = plan("--replay", "first")
    assert status == 0, said
    assert "every decision is the recorded one" in said
    [replayed] = {folder.name for folder in tmp_path.iterdir() if folder.is_dir()} - {"first"}
    assert thoughts_of(tmp_path / replayed) == kept


def context(url: str, **more: Any) -> dict[str, Any]:
    return {"policy_url": url, "policy_model": "scripted", "n": 2, "run": "r", **more}


async def test_runs_with_and_without_thoughts_do_not_mix(tmp_path: Path) -> None:
    register_maze()
    async with scripted_policy() as server, resources(tmp_path):
        await sampling.graph.ainvoke({"task": MAZE}, context=context(server.url))
        with pytest.raises(ConfigurationError, match="recorded with another policy_thoughts"):
            await sampling.graph.ainvoke(
                {"task": MAZE}, context=context(server.url, policy_thoughts=True)
            )
    events = list(read_events(tmp_path / "r" / "trace.jsonl"))
    assert not any("thought" in event for event in events if event["kind"] == "policy")


async def test_a_journal_from_before_there_were_thoughts_goes_on(tmp_path: Path) -> None:
    register_maze()
    async with scripted_policy() as server:
        async with resources(tmp_path):
            first = await sampling.graph.ainvoke({"task": MAZE}, context=context(server.url))
        path = tmp_path / "r" / "trace.jsonl"
        events = [json.loads(line) for line in path.read_text().splitlines()]
        for part in ("settings", "context"):
            del events[0][part]["policy_thoughts"]
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        asked = len(server.requests)
        async with resources(tmp_path):
            again = await sampling.graph.ainvoke({"task": MAZE}, context=context(server.url))
        assert again["candidates"] == first["candidates"]
        assert len(server.requests) == asked


async def test_completions_left_pay_for_samples_and_not_for_scoring(tmp_path: Path) -> None:
    register_maze()
    async with scripted_policy(thinker) as server, resources(tmp_path):
        options = {"rollouts": None, "completions": 30, "proposals": 3, "parallel": 1}
        out = await mcts.graph.ainvoke(
            {"task": MAZE},
            context=context(server.url, policy_thoughts=True, reward="luck-and-value", **options),
        )
    assert 20 <= out["usage"]["completions"] <= 40
    events = read_events(tmp_path / "r" / "trace.jsonl")
    spent = [e["usage"]["completions"] for e in events if e["kind"] == "proposals"]
    assert len(spent) > 1
    assert set(spent) == {3}


async def test_no_thought_without_an_answer() -> None:
    async with policy_for(lambda _: "Thought: hm", constrains=False) as (policy, _):
        policy._sampler.constrains = False
        with pytest.raises(PolicyFailure, match="no action could be read"):
            await policy.act(state())


def asked_for(policy: Policy, trajectory: Trajectory) -> Sequence[Any]:
    return policy._sampler.prompt(Question(trajectory))


async def test_answers_come_back_in_later_prompts() -> None:
    async with policy_for() as (policy, server):
        answer = await policy.act(state(), seed=1)
        later = state().extended(Step(answer.action, HALL, thought=answer.thought))
        await policy.act(later, seed=2)
        assert answer.text in server.requests[1].prompt
        before, after = asked_for(policy, state()), asked_for(policy, later)
        assert after[: len(before)] == before
