"""Reflexion: it learns from its notes, stops where it should, answers with the best, survives."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver

from armap_agents import (
    ArmapError,
    FunctionReward,
    Guide,
    Observation,
    Status,
    Step,
    StepResult,
    Task,
    Trajectory,
    register_environment,
    register_reward,
    resources,
)
from armap_agents.graphs import reflexion, sampling
from armap_agents.policy import prompts
from armap_agents.testing import Fault, ScriptedRequest, ScriptedServer, scripted_policy
from armap_agents.tools.game24 import Game24
from armap_agents.tools.game24.environment import puzzle_task
from armap_agents.trace import read_events

DOORS = 6
REFLECTION = "That attempt was not good enough."


class Doors:
    """Two steps: walk to a door, open it. Door 4 hides a treasure; door 5 breaks the world."""

    name = "doors"
    guide = Guide("Open the door with the treasure.")
    resets = 0

    async def reset(self, task: Task) -> Observation:
        Doors.resets += 1
        self.door: str | None = None
        return Observation("A hall.", tuple(f"go to door {k}" for k in range(DOORS)))

    async def step(self, action: str) -> StepResult:
        if self.door is None:
            self.door = action[-1]
            return StepResult(Observation(f"At door {self.door}.", ("open", "knock")))
        if self.door == "5":
            raise OSError("the world ended")
        found = "the treasure" if self.door == "4" else "nothing"
        facts = {"price": 10 * int(self.door), "price_limit": 50}
        seen = Observation(f"Behind door {self.door} is {found}.", (), facts=facts)
        return StepResult(seen, done=True)

    def tasks(self, split: str) -> list[Task]:
        return [HALL]

    def true_score(self) -> float:
        raise AssertionError("a planner asked for the true score")

    async def close(self) -> None:
        pass


HALL = Task("hall", "doors", instruction="Find the treasure.", max_steps=4)
INPUT = {"task": HALL.to_dict()}


def door_of(text: str) -> int | None:
    """The door that a text names last."""
    named = [k for k in text.split("door ")[1:] if k[:1].isdecimal()]
    return int(named[-1][0]) if named else None


def seeker(doors: Sequence[int]) -> Callable[[ScriptedRequest], str]:
    """A policy that goes to the door of its newest note, and notes the one after it in `doors`."""

    def answer(request: ScriptedRequest) -> str:
        prompt = request.prompt
        if REFLECTION in prompt:
            at = doors.index(door_of(prompt.split("Your last attempt:")[1]) or 0)
            return f"Go to\n door {doors[at + 1]}."
        if "At door" in prompt:
            return "open"
        notes = [line for line in prompt.splitlines() if line.startswith("- ")]
        return f"go to door {door_of(notes[-1]) if notes else doors[0]}"

    return answer


def treasure(trajectory: Trajectory) -> float:
    """1 for the treasure, else the closer the door is to it the better, never above 0."""
    text = trajectory.last.text
    return 1.0 if "treasure" in text else -abs(4 - (door_of(text) or 0)) / 10


class Sure(FunctionReward):
    """Says for sure whether the treasure was found."""

    def probability(self, scores: list[float]) -> list[float]:
        return [0.93 if score > 0.5 else 0.5 + score for score in scores]


@pytest.fixture(autouse=True)
def _registered() -> None:
    register_environment("doors", Doors)
    register_reward("treasure", lambda: FunctionReward(treasure, "treasure-1"))
    register_reward("sure", lambda: Sure(treasure, "sure-1"))


def context(server: ScriptedServer, **options: Any) -> dict[str, Any]:
    return {
        "policy_url": server.url,
        "policy_model": "scripted",
        "policy_retries": 0,
        "reward": "treasure",
        "rollouts": 10,
    } | options


def opened(out: dict[str, Any]) -> list[int | None]:
    """The door of each attempt."""
    return [
        door_of(c["trajectory"]["steps"][0]["action"]) if c["trajectory"]["steps"] else None
        for c in out["candidates"]
    ]


def reflections_asked(server: ScriptedServer) -> list[ScriptedRequest]:
    return [request for request in server.requests if REFLECTION in request.prompt]


def events(folder: Path, out: dict[str, Any]) -> list[dict[str, Any]]:
    return list(read_events(folder / out["run"] / "trace.jsonl"))


async def test_it_learns_from_its_notes_and_stops_when_it_passes(tmp_path: Path) -> None:
    async with scripted_policy(seeker([0, 1, 2, 4])) as server, resources(tmp_path):
        out = await reflexion.graph.ainvoke(INPUT, context=context(server))
        asked = reflections_asked(server)
    assert opened(out) == [0, 1, 2, 4]
    assert out["score"] == 1.0
    assert out["trajectory"] == out["candidates"][3]["trajectory"]
    assert out["stopped"] == (
        "attempt 3 passes: objective 1 ≥ 1 (plain threshold, the reward model is not calibrated)"
    )
    assert [note["text"] for note in out["reflections"]] == [f"Go to door {k}." for k in (1, 2, 4)]
    assert "Open the door with the treasure." in asked[0].prompt
    assert "Action: go to door 0\nObservation: At door 0." in asked[0].prompt
    assert "- Go to door 1." in asked[1].prompt
    json.dumps(out)


async def test_the_journal_tells_the_whole_story_and_the_stream_the_same(tmp_path: Path) -> None:
    streamed: list[dict[str, Any]] = []
    async with scripted_policy(seeker([0, 4])) as server, resources(tmp_path):
        stream: Any = reflexion.graph.astream(
            INPUT, context=context(server, run="told"), stream_mode=["custom", "values"]
        )
        async for mode, event in stream:
            if mode == "custom":
                streamed.append(event)
            else:
                out = event
    recorded = events(tmp_path, out)
    assert [e["kind"] for e in recorded if e["kind"] not in ("policy", "step")] == [
        "run",
        *["rollout", "score", "attempt", "reflection"],
        *["rollout", "score", "attempt", "answer"],
    ]
    assert streamed == recorded[1:]
    answer = recorded[-1]
    assert answer["id"] == "answer/2/2"
    assert answer["trajectory"] == Trajectory.from_dict(out["trajectory"]).id
    assert (answer["score"], answer["objective"], answer["node"]) == (1.0, 1.0, None)
    assert answer["usage"] == out["usage"]
    assert answer["stopped"] == out["stopped"]
    attempts = [e for e in recorded if e["kind"] == "attempt"]
    assert [e["objective"] for e in attempts] == [-0.4, 1.0]
    assert attempts[-1]["spent"] == out["usage"]


async def test_usage_counts_everything_reflections_included(tmp_path: Path) -> None:
    resets = Doors.resets
    async with scripted_policy(seeker([0, 1, 4])) as server, resources(tmp_path):
        out = await reflexion.graph.ainvoke(INPUT, context=context(server))
        usage = out["usage"]
        assert usage["completions"] == len(server.requests) == 3 * 2 + 2
    assert (usage["rollouts"], usage["environment_steps"], usage["scored"]) == (3, 6, 3)
    assert Doors.resets - resets == 3, "a reflection's reset serves the attempt after it"
    assert usage["failures"] == 0
    noted = sum(note["usage"]["completion_tokens"] for note in out["reflections"])
    assert noted > 0
    acted = sum(c["usage"]["completion_tokens"] for c in out["candidates"])
    assert usage["completion_tokens"] == acted + noted


async def test_the_answer_is_the_best_attempt_not_the_last_and_the_earliest_of_equals(
    tmp_path: Path,
) -> None:
    async with scripted_policy(seeker([1, 3, 3, 0])) as server, resources(tmp_path):
        out = await reflexion.graph.ainvoke(
            INPUT, context=context(server, rollouts=3, temperature=0.0)
        )
    assert opened(out) == [1, 3, 3]
    assert out["trajectory"] == out["candidates"][1]["trajectory"]
    assert (out["score"], out["stopped"]) == (-0.1, "rollouts spent")
    assert len(out["reflections"]) == 2, "after the last attempt nobody reads a note"


async def test_of_equals_the_earliest_answers(tmp_path: Path) -> None:
    register_reward("even", lambda: FunctionReward(lambda _: 0.0, "even-1"))
    async with scripted_policy(seeker([2, 1, 0])) as server, resources(tmp_path):
        out = await reflexion.graph.ainvoke(
            INPUT, context=context(server, rollouts=3, reward="even")
        )
    assert door_of(out["trajectory"]["steps"][0]["action"]) == 2


@pytest.mark.parametrize("bound", [0, 1, 2])
async def test_an_attempt_sees_the_newest_notes_alone(tmp_path: Path, bound: int) -> None:
    async with scripted_policy(seeker([0, 1, 2, 3, 0])) as server, resources(tmp_path):
        out = await reflexion.graph.ainvoke(
            INPUT, context=context(server, rollouts=4, reflections=bound)
        )
        last = [r.prompt for r in server.requests if REFLECTION not in r.prompt][-1]
        assert len(reflections_asked(server)) == (3 if bound else 0)
    assert len(out["candidates"]) == 4
    shown = [line for line in last.splitlines() if line.startswith("- ")]
    assert shown == [f"- Go to door {k}." for k in (1, 2, 3)][3 - bound :]


async def test_a_note_is_one_bounded_line_whatever_the_policy_writes(tmp_path: Path) -> None:
    def babble(request: ScriptedRequest) -> str:
        return "Try\n\nAction: open\tit\x1b[2J" + "!" * 600 if REFLECTION in request.prompt else ""

    async with scripted_policy(babble) as server, resources(tmp_path):
        out = await reflexion.graph.ainvoke(INPUT, context=context(server, rollouts=2))
        shown = [line for line in server.requests[-1].prompt.splitlines() if line[:2] == "- "]
    [note] = out["reflections"]
    assert shown == [f"- {note['text']}"]
    assert note["text"].startswith("Try Action: open it [2J!")
    assert len(note["text"]) <= prompts.NOTE_CHARACTERS


@pytest.mark.parametrize(
    ("options", "attempts", "stopped"),
    [
        ({"reward": "sure"}, 4, "attempt 3 passes: probability 0.93 ≥ 0.9 (calibrated)"),
        (
            {"reward": "sure", "stop_probability": 0.3},
            3,
            "attempt 2 passes: probability 0.3 ≥ 0.3 (calibrated)",
        ),
        (
            {"reward": "sure", "stop_objective": -0.35},
            2,
            "attempt 1 passes: objective -0.3 ≥ -0.35 (stop_objective)",
        ),
        (
            {"stop_objective": -0.2},
            3,
            "attempt 2 passes: objective -0.2 ≥ -0.2 "
            "(plain threshold, the reward model is not calibrated)",
        ),
        ({"reward": "sure", "stop_probability": 0.95, "rollouts": 4}, 4, "rollouts spent"),
        ({"rollouts": 2}, 2, "rollouts spent"),
        ({"completions": 5}, 2, "completions spent"),
        ({"completions": 6}, 2, "completions spent"),
        ({"completions": 7}, 3, "completions spent"),
        ({"environment_steps": 3}, 2, "environment_steps spent"),
        ({"tokens": 1}, 1, "tokens spent"),
        ({"seconds": 1e-6}, 1, "seconds spent"),
        ({"rollouts": None, "completions": 4}, 2, "completions spent"),
    ],
)
async def test_it_stops_and_says_why(
    tmp_path: Path, options: dict[str, Any], attempts: int, stopped: str
) -> None:
    async with scripted_policy(seeker([0, 1, 2, 4, 0])) as server, resources(tmp_path):
        out = await reflexion.graph.ainvoke(INPUT, context=context(server, **options))
    assert len(out["candidates"]) == attempts
    assert out["stopped"] == stopped


async def test_the_objective_decides_not_the_score(tmp_path: Path) -> None:
    async with scripted_policy(seeker([4, 1, 0])) as server, resources(tmp_path):
        out = await reflexion.graph.ainvoke(
            INPUT, context=context(server, objective={"price": 2.5}, rollouts=2)
        )
    assert [c["score"] for c in out["candidates"]] == [1.0, -0.3]
    assert [c["objective"] for c in out["candidates"]] == pytest.approx([-1.0, -0.8])
    assert out["trajectory"] == out["candidates"][1]["trajectory"]
    assert (out["score"], out["stopped"]) == (-0.3, "rollouts spent")


async def test_a_rollout_that_the_endpoint_failed_costs_one_attempt(tmp_path: Path) -> None:
    def faults(number: int) -> Fault | None:
        return Fault("status", 500) if number == 3 else None  # the first action of attempt 1

    async with scripted_policy(seeker([0, 1, 4]), faults=faults) as server, resources(tmp_path):
        out = await reflexion.graph.ainvoke(INPUT, context=context(server))
        assert len(reflections_asked(server)) == 2, "there was nothing to reflect on"
    assert [c["trajectory"]["status"] for c in out["candidates"]] == [
        "ended",
        "failed",
        *["ended"] * 2,
    ]
    assert opened(out) == [0, None, 1, 4]
    assert "answered 500" in out["candidates"][1]["trajectory"]["error"]
    assert out["candidates"][1]["score"] is None
    assert out["usage"]["failures"] == 1
    assert out["usage"]["rollouts"] == 4


async def test_an_attempt_that_died_on_its_way_is_reflected_on(tmp_path: Path) -> None:
    async with scripted_policy(seeker([5, 4])) as server, resources(tmp_path):
        out = await reflexion.graph.ainvoke(INPUT, context=context(server))
        [asked] = reflections_asked(server)
    assert "Observation: At door 5.\nThe attempt was cut off here." in asked.prompt
    assert "the world ended" in out["candidates"][0]["trajectory"]["error"]
    assert opened(out) == [5, 4]
    assert out["score"] == 1.0


async def test_three_failures_in_a_row_end_the_run(tmp_path: Path) -> None:
    async with scripted_policy(seeker([5, 5, 5, 4])) as server, resources(tmp_path):
        with pytest.raises(ArmapError, match="every attempt failed: OSError: the world") as caught:
            await reflexion.graph.ainvoke(INPUT, context=context(server, run="doomed"))
    assert "\n" not in str(caught.value)
    kinds = [e["kind"] for e in read_events(tmp_path / "doomed" / "trace.jsonl")]
    assert kinds.count("failure") == 3


async def test_three_failures_after_a_finished_attempt_answer_with_that(tmp_path: Path) -> None:
    def faults(number: int) -> Fault | None:
        return Fault("malformed") if number > 2 else None

    async with scripted_policy(seeker([3, 4]), faults=faults) as server, resources(tmp_path):
        out = await reflexion.graph.ainvoke(INPUT, context=context(server))
    assert len(out["candidates"]) == 4
    assert out["stopped"].startswith("3 attempts in a row failed: the policy at")
    assert out["score"] == -0.1
    assert out["usage"]["failures"] == 3


async def test_after_three_failures_a_run_that_goes_on_tries_again(tmp_path: Path) -> None:
    down = True

    def faults(number: int) -> Fault | None:
        return Fault("status", 503) if down else None

    async with scripted_policy(seeker([4]), faults=faults) as server:
        async with resources(tmp_path):
            with pytest.raises(ArmapError, match="every attempt failed"):
                await reflexion.graph.ainvoke(INPUT, context=context(server, run="down"))
        down = False
        async with resources(tmp_path):
            out = await reflexion.graph.ainvoke(INPUT, context=context(server, run="down"))
    assert opened(out) == [None, None, 4]


@pytest.mark.parametrize("kind", ["status", "malformed", "empty", "cut"])
async def test_a_reflection_that_fails_costs_that_note_alone(tmp_path: Path, kind: Any) -> None:
    def faults(number: int) -> Fault | None:
        return Fault(kind) if number == 2 else None  # what is asked after the first attempt

    async with scripted_policy(seeker([0, 1, 4]), faults=faults) as server, resources(tmp_path):
        out = await reflexion.graph.ainvoke(INPUT, context=context(server))
    assert opened(out) == [0, 0, 1, 4]
    assert out["reflections"][0]["text"] == ""
    assert out["usage"]["failures"] == 1
    [failed] = [e for e in events(tmp_path, out) if e["kind"] == "reflection" and "error" in e]
    assert failed["id"] == "reflection/0"
    assert failed["error"].startswith("the policy at")


async def test_a_policy_that_notes_nothing_is_a_failed_reflection(tmp_path: Path) -> None:
    def silent(request: ScriptedRequest) -> str:
        return " \n" if REFLECTION in request.prompt else seeker([0])(request)

    async with scripted_policy(silent) as server, resources(tmp_path):
        out = await reflexion.graph.ainvoke(INPUT, context=context(server, rollouts=2))
        assert "What you noted" not in server.requests[-1].prompt
    assert out["usage"]["failures"] == 1
    assert out["usage"]["completions"] == len(server.requests)


class Fragile(Game24):
    """Dies on every division."""

    name = "fragile"

    async def step(self, action: str) -> StepResult:
        if "/" in action:
            raise OSError("the world ended")
        return await super().step(action)


def unlike(trajectory: Trajectory) -> float:
    """Any number below 0 that tells trajectories apart."""
    return -random.Random(trajectory.id).random()


def outcome(out: dict[str, Any]) -> dict[str, Any]:
    """An output without what the clock decides."""
    return json.loads(
        json.dumps({key: value for key, value in out.items() if key != "run"}),
        object_hook=lambda item: {k: v for k, v in item.items() if k != "seconds"},
    )


async def test_wherever_it_is_cut_off_a_run_ends_the_same_and_repeats_nothing(
    tmp_path: Path,
) -> None:
    register_environment("fragile", Fragile)
    register_reward("unlike", lambda: FunctionReward(unlike, "unlike-1"))
    task = puzzle_task([1, 5, 7, 12]).to_dict() | {"environment": "fragile"}
    options = {"reward": "unlike", "rollouts": 5, "temperature": 1.0, "seed": 4}

    def think(request: ScriptedRequest) -> str:
        return f"Plan {request.random.random()}" if REFLECTION in request.prompt else ""

    async with scripted_policy(think) as server:
        async with resources(tmp_path):
            whole = await reflexion.graph.ainvoke(
                {"task": task}, context=context(server, run="whole", **options)
            )
        lines = (tmp_path / "whole" / "trace.jsonl").read_bytes().splitlines(keepends=True)
        asking = [json.loads(line)["kind"] in ("policy", "reflection") for line in lines]
        failed = [c["trajectory"]["status"] == "failed" for c in whole["candidates"]]
        assert any(failed[:-1])
        assert not failed[-1], "a failure that nothing followed is tried again"
        assert sum(asking) == len(server.requests)
        for cut in range(1, len(lines) + 1):
            folder = tmp_path / f"cut-{cut}"
            folder.mkdir()
            torn = lines[cut][: len(lines[cut]) // 2] if cut < len(lines) else b""
            (folder / "trace.jsonl").write_bytes(b"".join(lines[:cut]) + torn)
            before = len(server.requests)
            async with resources(tmp_path):
                out = await reflexion.graph.ainvoke(
                    {"task": task}, context=context(server, run=folder.name, **options)
                )
            assert len(server.requests) - before == sum(asking[cut:]), f"after line {cut}"
            assert outcome(out) == outcome(whole), f"after line {cut}"


async def test_a_finished_run_goes_on_with_a_larger_budget(tmp_path: Path) -> None:
    async with scripted_policy(seeker([0, 1, 2, 4])) as server, resources(tmp_path):
        shared = context(server, run="longer")
        first = await reflexion.graph.ainvoke(INPUT, context=shared | {"rollouts": 2})
        asked = len(server.requests)
        second = await reflexion.graph.ainvoke(INPUT, context=shared)
        assert len(server.requests) - asked == 1 + 2 + 1 + 2
    assert second["candidates"][:2] == first["candidates"]
    assert second["score"] == 1.0
    answers = [e["id"] for e in events(tmp_path, second) if e["kind"] == "answer"]
    assert answers == ["answer/2/2", "answer/4/4"]


async def test_the_first_attempt_is_the_first_draw_of_sampling(tmp_path: Path) -> None:
    task = puzzle_task([4, 9, 10, 13]).to_dict()
    register_reward("unlike", lambda: FunctionReward(unlike, "unlike-1"))
    async with scripted_policy() as server, resources(tmp_path):
        options = context(server, reward="unlike", n=1, rollouts=1)
        drawn = await sampling.graph.ainvoke({"task": task}, context=options)
        tried = await reflexion.graph.ainvoke({"task": task}, context=options)
    assert tried["trajectory"] == drawn["trajectory"]


@pytest.mark.parametrize(
    ("node", "newest"), [("rollout", "reflection/1"), ("reflect", "attempt/1")]
)
async def test_a_changed_context_forks_and_keeps_what_came_before(
    tmp_path: Path, node: str, newest: str
) -> None:
    graph = reflexion.builder.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    async with scripted_policy(seeker([0, 1, 2, 4])) as server, resources(tmp_path):
        first = await graph.ainvoke(INPUT, config, context=context(server, run="first"))
        before = events(tmp_path, first)
        history = [state async for state in graph.aget_state_history(config)]
        [after] = [s for s in history if s.next == (node,) and len(s.values["attempts"]) == 2]
        changed: Any = context(server, run="first", reflections=1, rollouts=3)
        fork = await graph.ainvoke(None, after.config, context=changed)
    assert fork["run"] != first["run"]
    assert fork["candidates"][:2] == first["candidates"][:2]
    assert len(fork["candidates"]) == 3
    assert events(tmp_path, first) == before
    recorded = events(tmp_path, fork)
    assert recorded[0]["parent"] == {"run": "first", "event": newest}
    ids = [event["id"] for event in before]
    assert [e["id"] for e in recorded[: ids.index(newest) + 1]] == ids[: ids.index(newest) + 1]


async def test_a_fork_keeps_what_its_attempts_were_judged_by(tmp_path: Path) -> None:
    graph = reflexion.builder.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    async with scripted_policy(seeker([0, 1, 4])) as server, resources(tmp_path):
        await graph.ainvoke(INPUT, config, context=context(server, run="first"))
        history = [state async for state in graph.aget_state_history(config)]
        [after] = [s for s in history if s.next == ("reflect",) and len(s.values["attempts"]) == 1]
        changed: Any = context(server, objective={"length": 1.0}, reward="sure")
        with pytest.raises(ArmapError, match="has to keep its objective, reward"):
            await graph.ainvoke(None, after.config, context=changed)


async def test_checkpoints_hold_no_trajectories_until_the_answer(tmp_path: Path) -> None:
    graph = reflexion.builder.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    async with scripted_policy(seeker([0, 1, 4])) as server, resources(tmp_path):
        out = await graph.ainvoke(INPUT, config, context=context(server))
        history = [state async for state in graph.aget_state_history(config)]
    assert "A hall." in json.dumps(out["candidates"])
    assert not any("A hall." in json.dumps(state.values) for state in history[1:])
    phases = [state.next for state in reversed(history)]
    loop = [("rollout",), ("score",), ("reflect",)]
    assert phases == [("__start__",), ("begin",), *loop, *loop, *loop[:2], ("answer",), ()]


async def test_a_checkpoint_without_its_journal_says_so(tmp_path: Path) -> None:
    graph = reflexion.builder.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    async with scripted_policy(seeker([4])) as server:
        async with resources(tmp_path / "here"):
            await graph.ainvoke(INPUT, config, context=context(server))
            history = [state async for state in graph.aget_state_history(config)]
        for node in ("rollout", "score", "answer"):
            [at] = [state for state in history if state.next == (node,)]
            async with resources(tmp_path / "elsewhere"):
                with pytest.raises(ArmapError, match="set ARMAP_RUNS to where it was written"):
                    await graph.ainvoke(None, at.config, context=context(server))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rollouts": None}, "may never end: set one of rollouts, completions"),
        ({"reward": ""}, "no reward model"),
        ({"objective": {"colour": 1.0}}, "no penalty is called colour"),
        ({"objective": {"length": float("nan")}}, "weight of penalty length is nan"),
    ],
)
async def test_bad_options_get_one_line_before_any_request(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    async with scripted_policy() as server, resources(tmp_path):
        with pytest.raises(ArmapError, match=message) as caught:
            await reflexion.graph.ainvoke(INPUT, context=context(server, **options))
        assert not server.requests
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


async def test_a_run_is_held_to_its_memory_and_its_reward_model(tmp_path: Path) -> None:
    async with scripted_policy(seeker([4])) as server, resources(tmp_path):
        await reflexion.graph.ainvoke(INPUT, context=context(server, run="held"))
        with pytest.raises(ArmapError, match="another reflections, reward"):
            await reflexion.graph.ainvoke(
                INPUT, context=context(server, run="held", reflections=1, reward="sure")
            )


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=900), st.text(max_size=900)), max_size=40),
    st.sampled_from([Status.ENDED, Status.LIMIT, Status.FAILED]),
)
def test_a_transcript_is_bounded_and_keeps_the_newest_steps(
    turns: list[tuple[str, str]], status: Status
) -> None:
    steps = tuple(Step(action, Observation(seen)) for action, seen in turns)
    attempt = Trajectory(HALL, "do", Observation("start"), steps, status, "SECRET")
    [asked] = prompts.reflection(attempt, None)
    transcript = asked["content"].split("Your last attempt:\n")[1].split(f"\n\n{REFLECTION}")[0]
    assert len(transcript) <= prompts.TRANSCRIPT_CHARACTERS + 100
    assert transcript.startswith("Observation: start")
    assert "SECRET" not in transcript
    if turns and max(map(len, turns[-1])) <= prompts.OBSERVATION_CHARACTERS:
        action, seen = turns[-1]
        assert f"Action: {action}\nObservation: {seen}" in transcript


def test_a_reflection_reads_rules_task_notes_and_attempt_in_this_order() -> None:
    seen = Observation("At door 1.", ("open", "knock"))
    attempt = Trajectory(HALL, "Find it.", seen, (Step("open", seen),), Status.LIMIT)
    rules, asked = prompts.reflection(attempt, Doors.guide, ["an older note", "a note"])
    assert rules == {"role": "system", "content": "Open the door with the treasure."}
    assert asked["content"].startswith(
        "Task: Find it.\n\n"
        "What you noted after earlier attempts at this task:\n- an older note\n- a note\n\n"
        "Your last attempt:\nObservation: At door 1.\nAction: open\nObservation: At door 1.\n"
        f"No steps were left.\n\n{REFLECTION}"
    )
    assert asked["content"].endswith("Plan:")
