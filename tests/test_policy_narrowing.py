"""Lists that are too long to be shown: in stages, verb first."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armap_agents.policy import Policy, PolicyConfig, PolicyFailure
from armap_agents.policy.narrowing import NARROW_ABOVE, is_long, offered, stages
from armap_agents.policy.question import Draw, Question
from armap_agents.testing import Fault, ScriptedRequest, ScriptedServer, scripted_policy
from armap_agents.trajectory import Observation, Step, Task, Trajectory

THINGS = tuple(
    f"{colour} {thing}"
    for colour in ("red", "blue", "old")
    for thing in ("cup", "box", "key", "lamp", "book", "pot", "jar", "shoe", "coin", "bag")
)
ACTIONS = (
    "look",
    "look around",
    *(f"look at {thing}" for thing in THINGS),
    *(f"focus on {thing}" for thing in THINGS),
    *(f"move {thing} to {other}" for thing in THINGS for other in THINGS if thing != other),
    "wait",
)
"""933 actions: `move` alone has 870."""

STYLES = pytest.mark.parametrize("style", ["chat", "completion"])


def state(actions: Sequence[str] = ACTIONS, text: str = "A room.") -> Trajectory:
    return Trajectory(Task("1", "house"), "Tidy up.", Observation(text, tuple(actions)))


@asynccontextmanager
async def policy_for(
    answer: Callable[[ScriptedRequest], str] | None = None, **options: Any
) -> AsyncIterator[tuple[Policy, ScriptedServer]]:
    config = {key: options.pop(key) for key in ("style", "thoughts") if key in options}
    async with scripted_policy(answer, **options) as server, httpx.AsyncClient() as http:
        yield Policy(PolicyConfig(server.url, "scripted", timeout=20.0, **config), http), server


def offers(request: ScriptedRequest) -> list[str]:
    """What stands at the end of a prompt for free text."""
    line = request.prompt.removesuffix("\nAction:").removesuffix("\nThought:").splitlines()[-1]
    return line.partition(": ")[2].split("; ")


def following(action: str) -> Callable[[ScriptedRequest], str]:
    """A model that goes for one action, whatever part of it is offered."""

    def answer(request: ScriptedRequest) -> str:
        ways = [w for w in offers(request) if f"{action} ".startswith(f"{w} ")]
        return max(ways, key=len)

    return answer


def way(actions: Sequence[str], action: str) -> list[str]:
    """The beginnings that lead to an action."""
    members, chosen = tuple(actions), list[str]()
    while len(members) > 1 or not chosen:
        stage = offered(members)
        [beginning] = [b for b, those in stage.items() if action in those]
        members = stage[beginning]
        chosen.append(beginning)
    return chosen


WORDS = st.sampled_from(["go", "gone", "to", "red", "cup", "1", "13", "é"])
LISTS = st.lists(st.lists(WORDS, min_size=1, max_size=5).map(" ".join), min_size=1, unique=True)


@given(LISTS, st.integers(1, 8))
def test_stages_part_every_list_into_its_actions(actions: list[str], above: int) -> None:
    from armap_agents.policy import narrowing

    # The rule at a bound that lists of this size exceed.
    bound, narrowing.NARROW_ABOVE = narrowing.NARROW_ABOVE, above
    offered.cache_clear()
    try:
        left = [tuple(actions)]
        while left:
            members = left.pop()
            stage = offered(members)
            assert Counter(a for those in stage.values() for a in those) == Counter(members)
            for beginning, those in stage.items():
                assert all(f"{a} ".startswith(f"{beginning} ") for a in those)
                assert len(those) > 1 or beginning == those[0]
                assert len(those) < len(members) or len(members) == 1
                # No more is chosen at a time than one word and what follows from it.
                if len(members) > above and len(those) > 1:
                    longer = [f"{a} ".split(" ")[: len(beginning.split()) + 1] for a in those]
                    assert len({tuple(words) for words in longer}) > 1
            if len(members) <= above:
                assert list(stage) == list(members)
            left += [those for those in stage.values() if len(those) > 1]
        assert stages(tuple(actions)) == max(len(way(actions, a)) for a in actions)
    finally:
        narrowing.NARROW_ABOVE = bound
        offered.cache_clear()


def test_the_verb_comes_first() -> None:
    assert list(offered(ACTIONS)) == ["look", "focus on", "move", "wait"]
    assert len(offered(ACTIONS)["look"]) == 32
    assert list(offered(offered(ACTIONS)["move"])) == ["move red", "move blue", "move old"]
    assert way(ACTIONS, "move red cup to old bag") == [
        "move",
        "move red",
        "move red cup to",
        "move red cup to old bag",
    ]
    assert stages(ACTIONS) == 4
    assert offered(ACTIONS * 2) == offered(ACTIONS)


def test_what_is_long() -> None:
    assert is_long(Observation("", ACTIONS))
    assert not is_long(Observation("", ACTIONS[:NARROW_ABOVE]))
    assert not is_long(Observation("", ACTIONS, templates=("say {words}",)))
    assert not is_long(Observation(""))


@STYLES
async def test_stages_are_constraints_on_one_prompt(style: str) -> None:
    async with policy_for(style=style, score=lambda text: 9.0 * ("move" in text)) as (
        policy,
        server,
    ):
        answer = await policy.act(state(), seed=5)
        assert answer.action in ACTIONS
        assert answer.constrained
        assert list(answer.beginnings) == way(ACTIONS, answer.action)[:-1]
        assert answer.beginnings[0] == "move"
        assert len(server.requests) == answer.usage.completions == 1 + len(answer.beginnings)
        assert len({request.prompt for request in server.requests}) == 1
        assert "look around" not in server.requests[0].prompt
        assert all(len(request.choices or ()) <= NARROW_ABOVE for request in server.requests)
        assert len({request.seed for request in server.requests}) == len(server.requests)
        assert server.requests[0].seed == 5
        again = await policy.act(state(), seed=5)
        assert (again.action, again.beginnings) == (answer.action, answer.beginnings)


@STYLES
@pytest.mark.parametrize("action", ["move blue key to old bag", "look", "look around", "wait"])
async def test_free_text_is_offered_each_stage_at_the_end(style: str, action: str) -> None:
    async with policy_for(following(action), style=style, constrains=False) as (policy, server):
        policy._sampler.constrains = False
        trajectory = state(text="A hall.").extended(Step("wait", Observation("A room.", ACTIONS)))
        answer = await policy.act(trajectory, seed=1)
        assert answer.action == action
        assert not answer.constrained
        assert list(answer.beginnings) == way(ACTIONS, action)[:-1]
        assert answer.usage.completions == len(server.requests) == 1 + len(answer.beginnings)
        assert answer.usage.repairs == 0
        before = ""
        for request, beginning in zip(server.requests, way(ACTIONS, action), strict=True):
            prompt = request.prompt
            assert beginning in offers(request)
            assert prompt.count("focus on") == 1  # of this observation, not of the one before it
            assert prompt.startswith(before.removesuffix("\nAction:"))
            before = prompt
        # What is offered now is gone later.
        further = trajectory.extended(Step(action, Observation("Done.", ("wait", "go"))))
        shown = policy._sampler.prompt(Question(further))
        assert "focus on" not in str(shown)
        assert "Valid actions: wait; go" in shown[-1]["content"]


async def test_a_whole_action_may_be_said_at_once() -> None:
    said = ["Action: Move red cup to old bag."]
    async with policy_for(lambda _: said[0], constrains=False) as (policy, server):
        policy._sampler.constrains = False
        answer = await policy.act(state())
        assert (answer.action, answer.beginnings) == ("move red cup to old bag", ())
        assert len(server.requests) == 1


async def test_a_stage_is_asked_again_with_what_it_offers() -> None:
    said = iter(["fly", "I would move something", "up", "move red", "move red cup to", "hm"])
    async with policy_for(lambda _: next(said), constrains=False) as (policy, server):
        policy._sampler.constrains = False
        with pytest.raises(PolicyFailure, match="no action could be read from 3 answers") as failed:
            await policy.act(state(), seed=1)
        usage = failed.value.usage
        assert (usage.completions, usage.repairs, usage.failures) == (6, 2, 1)
        assert len({request.seed for request in server.requests}) == 6
    assert (
        "'fly' is not a valid action. Answer with exactly one of: look; focus on; move; wait"
        in (server.requests[1].prompt)
    )
    assert "fly" not in server.requests[2].prompt
    assert server.requests[3].prompt.endswith("exactly one of: move red; move blue; move old")


async def test_a_server_that_ignores_a_later_stage_is_read_from_there() -> None:
    async with policy_for(following("focus on red key"), constrains=False) as (policy, server):

        def answer(request: ScriptedRequest) -> str:
            return "focus on" if request.number == 0 else free(request)

        def free(request: ScriptedRequest) -> str:
            return "no idea" if request.choices else following("focus on red key")(request)

        server.answer = answer
        found = await policy.act(state(), seed=1)
        assert (found.action, found.beginnings) == ("focus on red key", ("focus on",))
        assert not found.constrained
        # The first stage, two strays of the second, and that again with the first one's choice.
        roles = [message["role"] for message in server.requests[-1].body["messages"]]
        assert roles == ["system", "user", "assistant", "user"]
        assert server.requests[-1].body["messages"][2]["content"] == "focus on"


@STYLES
async def test_proposals_go_through_the_stages_side_by_side(style: str) -> None:
    async with policy_for(style=style) as (policy, server):
        found = await policy.propose(state(), 12, seed=3)
        priors = {item.action: item.prior for item in found.items}
        assert set(priors) <= set(ACTIONS)
        assert sum(priors.values()) == pytest.approx(1)
        assert all(prior * 12 == pytest.approx(round(prior * 12)) for prior in priors.values())
        drawn = [request.body.get("n", 1) for request in server.requests]
        assert drawn[0] == 12
        assert found.usage.completions == sum(drawn)
        assert found.usage.completions <= 12 * stages(ACTIONS)
        asked = [tuple(request.choices or ()) for request in server.requests]
        assert len(set(asked)) == len(asked)  # no stage twice
        again = await policy.propose(state(), 12, seed=3)
        assert again.items == found.items
        assert again.usage.completions == found.usage.completions
        assert len(server.requests) == len(drawn)
    async with policy_for(style=style) as (policy, _):
        elsewhere = await policy.propose(state(), 12, seed=3)
        assert elsewhere.items == found.items


async def test_greedy_proposals_are_one_action() -> None:
    async with policy_for(score=lambda text: 9.0 * ("focus" in text)) as (policy, _):
        found = await policy.propose(state(), 5, temperature=0.0)
        assert [(item.action, item.prior) for item in found.items] == [("focus on red cup", 1.0)]
        assert found.usage.completions == 2


async def test_a_stage_that_fails_fails_the_proposals_with_all_that_they_cost() -> None:
    broken = Fault("status", 400, message="too long")
    async with policy_for(faults={2: broken}.get) as (policy, server):
        with pytest.raises(PolicyFailure, match="too long") as failure:
            await policy.propose(state(), 12, seed=3)
        done = [request.body.get("n", 1) for request in server.requests if request.number != 2]
        assert failure.value.usage.completions == sum(done)
        assert failure.value.usage.failures == 1


async def test_free_text_proposals() -> None:
    def answer(request: ScriptedRequest) -> str:
        aims = ("wait", "look around", "look around", "gibberish")
        if request.body.get("n") == 4:
            return (*aims,)[request.draw].split()[0]
        return "look around"

    async with policy_for(answer, constrains=False) as (policy, server):
        policy._sampler.constrains = False
        found = await policy.propose(state(), 4, seed=1)
        priors = {item.action: item.prior for item in found.items}
        assert priors == pytest.approx({"look around": 2 / 3, "wait": 1 / 3})
        assert [request.body.get("n", 1) for request in server.requests] == [4, 2]
        assert found.usage.completions == 6


@given(st.sampled_from(ACTIONS))
def test_a_question_s_prompts_grow_at_their_end(action: str) -> None:
    question = Question(state())
    prompts = [question.prompt(free=True, thoughts=False)]
    for beginning in way(ACTIONS, action)[:-1]:
        question = question.narrowed(Draw(beginning, beginning, None, narrows=True))
        prompts.append(question.prompt(free=True, thoughts=False))
        assert prompts[-1][: len(prompts[-2])] == prompts[-2]
    assert question.prompt(free=False, thoughts=False) == Question(state()).prompt(
        free=False, thoughts=False
    )


async def test_many_calls_side_by_side() -> None:
    async with policy_for() as (policy, _):
        answers = await asyncio.gather(*(policy.act(state(), seed=s) for s in range(24)))
        assert len({answer.action for answer in answers}) > 12
        assert {answer.beginnings[0] for answer in answers if answer.beginnings} >= {"move", "look"}
