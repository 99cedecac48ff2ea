"""The policy against a scripted server, over real HTTP."""

import asyncio
import logging
import math
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from armap_agents.environment import Guide
from armap_agents.errors import ConfigurationError, PolicyError
from armap_agents.policy import Policy, PolicyConfig, PolicyFailure
from armap_agents.policy.actions import abbreviations
from armap_agents.testing import Fault, ScriptedRequest, ScriptedServer, scripted_policy
from armap_agents.trajectory import Observation, Step, Task, Trajectory

ACTIONS = ("go north", "go south", "open door", "open door to kitchen", "wait")
GUIDE = Guide("You walk through a house.")


def state(
    actions: Sequence[str] | None = ACTIONS, templates: Sequence[str] = (), text: str = "A hall."
) -> Trajectory:
    observation = Observation(
        text, actions=None if actions is None else tuple(actions), templates=tuple(templates)
    )
    return Trajectory(Task("1", "house"), "Find the kitchen.", observation)


@asynccontextmanager
async def policy_for(
    answer: Callable[[ScriptedRequest], str] | None = None,
    config: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[tuple[Policy, ScriptedServer]]:
    async with scripted_policy(answer, **options) as server, httpx.AsyncClient() as http:
        settings = {"url": server.url, "model": "scripted", "timeout": 20.0, **(config or {})}
        yield Policy(PolicyConfig(**settings), http), server


@pytest.mark.parametrize("style", ["chat", "completion"])
async def test_act_is_constrained_and_accounted(style: str) -> None:
    async with policy_for(config={"style": style}) as (policy, server):
        answer = await policy.act(state(), guide=GUIDE, seed=3)
        assert answer.action in ACTIONS
        assert answer.constrained
        assert answer.usage.completions == 1
        assert answer.usage.prompt_tokens > 0
        assert answer.usage.completion_tokens > 0
        assert (answer.usage.failures, answer.usage.repairs) == (0, 0)
        (request,) = server.requests
        assert request.seed == 3
        assert [choice.strip() for choice in request.choices or []] == list(abbreviations(ACTIONS))
        assert "wait" not in request.prompt


async def test_draws_are_independent_and_follow_their_seed() -> None:
    async with policy_for() as (policy, server):
        many = await asyncio.gather(*(policy.act(state(), seed=seed) for seed in range(40)))
        again = await asyncio.gather(*(policy.act(state(), seed=seed) for seed in range(40)))
        assert [a.action for a in many] == [a.action for a in again]
        assert {a.action for a in many} == set(ACTIONS)
        assert sorted(r.seed or 0 for r in server.requests[:40]) == list(range(40))


async def test_an_ignored_constraint_is_found_out_and_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def answer(request: ScriptedRequest) -> str:
        return "Let me think." if "Valid actions" not in request.prompt else "Action: **go south**"

    async with policy_for(answer, constrains=False) as (policy, server):
        answers = await asyncio.gather(*(policy.act(state(), seed=s) for s in range(8)))
        assert {a.action for a in answers} == {"go south"}
        assert not any(a.constrained for a in answers)
        # Both strays and the answer read as text; fewer for calls that others forewarn.
        assert {(a.usage.completions, a.usage.repairs) for a in answers} <= {(2, 1), (3, 2)}
        assert any(a.usage.repairs == 2 for a in answers)
        asked = len(server.requests)
        later = await policy.act(state(), seed=9)
        assert later.usage.completions == 1
        assert server.requests[asked].choices is None
    warned = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warned) == 1
    assert "ignores `structured_outputs`" in warned[0]
    assert "\n" not in warned[0]


@pytest.mark.parametrize("proposed", [False, True])
async def test_one_stray_answer_keeps_the_constraint(
    proposed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stray = 0

    async with policy_for() as (policy, server):
        keep = server.write

        def write(request: ScriptedRequest) -> str:
            return "Let me think." if request.number == stray else keep(request)

        server.write = write  # type: ignore[method-assign]
        if proposed:
            found = await policy.propose(state(), 2, seed=1)
            assert {item.action for item in found.items} <= set(ACTIONS)
        else:
            answer = await policy.act(state(), seed=1)
            assert answer.action in ACTIONS
            assert answer.constrained
            assert (answer.usage.completions, answer.usage.repairs) == (2, 1)
            assert len({request.seed for request in server.requests}) == 2
        assert all(request.choices for request in server.requests)
        stray = len(server.requests) + 5
        assert (await policy.act(state(), seed=2)).constrained
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_a_refused_constraint_is_dropped() -> None:
    refusal = Fault("status", 400, message="Unrecognized request argument: structured_outputs")
    async with policy_for(lambda _: "wait", faults={0: refusal}.get) as (policy, server):
        answer = await policy.act(state())
        assert (answer.action, answer.constrained) == ("wait", False)
        assert server.requests[1].choices is None
        assert answer.usage.completions == 1


async def test_repair_says_what_was_wrong_and_ends_in_one_line() -> None:
    said = iter(["hm", "go up", "go  NORTH."])
    async with policy_for(lambda _: next(said), constrains=False) as (policy, server):
        policy._sampler.constrains = False
        answer = await policy.act(state(), seed=1)
        assert (answer.action, answer.text) == ("go north", "go  NORTH.")
        assert (answer.usage.completions, answer.usage.repairs) == (3, 2)
        roles = [message["role"] for message in server.requests[2].body["messages"]]
        assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
        complaint = server.requests[2].body["messages"][-1]["content"]
        assert "'go up' is not a valid action" in complaint
        assert "open door to kitchen" in complaint
        assert len({request.seed for request in server.requests}) == 3

    async with policy_for(lambda _: "nonsense", constrains=False) as (policy, server):
        policy._sampler.constrains = False
        with pytest.raises(PolicyFailure, match="no action could be read") as failure:
            await policy.act(state())
        assert len(server.requests) == 3
        assert "\n" not in str(failure.value)
        usage = failure.value.usage
        assert (usage.completions, usage.repairs, usage.failures) == (3, 2, 1)


async def test_free_text_where_nothing_is_listed() -> None:
    said = iter(["  \n", "\n> look around\nand then more"])
    async with policy_for(lambda _: next(said)) as (policy, server):
        answer = await policy.act(state(actions=None))
        assert (answer.action, answer.constrained) == ("look around", False)
        assert answer.usage.repairs == 1
        assert all(request.choices is None for request in server.requests)


async def test_templates_make_a_bounded_regex() -> None:
    trajectory = state(["click[Back]"], ["search[{query}]"])
    async with policy_for(lambda _: "search[red shoes]") as (policy, server):
        answer = await policy.act(trajectory)
        assert (answer.action, answer.constrained) == ("search[red shoes]", True)
        assert server.requests[0].body["structured_outputs"] == {
            "regex": r"(click\[Back\]|search\[[^\n\]]{1,80}\])"
        }
        assert "search[{query}]" in server.requests[0].prompt


async def test_no_valid_action_is_an_error_without_a_request() -> None:
    async with policy_for() as (policy, server):
        with pytest.raises(PolicyError, match="no action is valid"):
            await policy.act(state(actions=()))
        assert server.requests == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", 500),
        Fault("status", 429, retry_after=0.05),
        Fault("cut"),
        Fault("hang"),
    ],
    ids=lambda fault: f"{fault.kind}{fault.status}",
)
async def test_passing_faults_are_retried(fault: Fault) -> None:
    config = {"timeout": 1.0 if fault.kind == "hang" else 20.0}
    async with policy_for(config=config, faults={0: fault}.get) as (policy, server):
        answer = await policy.act(state())
        assert answer.action in ACTIONS
        assert answer.usage.failures == 0
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("fault", "tries", "line"),
    [
        (Fault("status", 500), 2, "answered 500"),
        (Fault("status", 429, retry_after=0.05), 2, "limits the rate"),
        (Fault("status", 400, message="too long"), 1, "'too long'"),
        (Fault("status", 401), 1, "refuses the key"),
        (Fault("status", 404), 1, "check the model's name"),
        (Fault("malformed"), 1, "no completion"),
        (Fault("empty"), 1, "no completion"),
        (Fault("cut"), 2, "armap serve policy"),
        (Fault("hang"), 2, "did not answer within 0.5 s"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
async def test_lasting_faults_are_one_line(fault: Fault, tries: int, line: str) -> None:
    config = {"timeout": 0.5 if fault.kind == "hang" else 20.0, "retries": 1}
    async with policy_for(config=config, faults=lambda _: fault) as (policy, server):
        with pytest.raises(PolicyFailure, match=line) as failure:
            await policy.act(state())
        assert len(server.requests) == tries
        assert "\n" not in str(failure.value)
        assert failure.value.usage.failures == 1


def test_three_event_loops_in_one_process() -> None:
    async def once(seed: int) -> str:
        async with policy_for() as (policy, _):
            await policy.check()
            return (await policy.act(state(), seed=seed)).action

    assert {asyncio.run(once(seed)) for seed in range(3)} <= set(ACTIONS)


async def test_requests_in_flight_are_bounded() -> None:
    async with policy_for(config={"max_concurrency": 3}, latency=0.1) as (policy, server):
        await asyncio.gather(*(policy.act(state(), seed=seed) for seed in range(12)))
        assert server.peak == 3


@pytest.mark.parametrize("style", ["chat", "completion"])
async def test_proposals_are_the_server_s_distribution(style: str) -> None:
    score = {a: float(-k) for k, a in enumerate(ACTIONS)}
    total = sum(math.exp(s) for s in score.values())
    options: dict[str, Any] = {
        "config": {"style": style},
        "score": lambda text: score[text.strip()],
    }
    async with policy_for(**options) as (policy, server):
        found = await policy.propose(state(), 5, temperature=1.0, seed=0)
        for proposal in found.items:
            assert proposal.prior == pytest.approx(
                math.exp(score[proposal.action]) / total, abs=2e-3
            )
        assert found.usage.completions == len(ACTIONS)
        asked = len(server.requests)
        assert asked < len(ACTIONS)
        top = await policy.propose(state(), 2, temperature=0.0)
        assert [item.action for item in top.items] == ["go north", "go south"]
        assert sum(item.prior for item in top.items) == pytest.approx(1)
        assert top.usage.completions == len(ACTIONS)  # charged as when it was asked for
        assert len(server.requests) == asked


async def test_proposals_are_distinct_and_seeded() -> None:
    async with policy_for() as (policy, _):
        draws = [await policy.propose(state(), 3, seed=seed) for seed in range(20)]
        again = await policy.propose(state(), 3, seed=4)
        assert again.items == draws[4].items
        assert all(len({item.action for item in draw.items}) == 3 for draw in draws)
        assert {item.action for draw in draws for item in draw.items} == set(ACTIONS)


async def test_a_single_action_needs_no_request() -> None:
    async with policy_for() as (policy, server):
        found = await policy.propose(state(["wait"]), 4)
        assert [(item.action, item.prior) for item in found.items] == [("wait", 1.0)]
        assert server.requests == []


@pytest.mark.parametrize("listed", [True, False])
async def test_proposals_without_a_constraint_are_shares_of_samples(listed: bool) -> None:
    said = ["go north", "Action: go north", "wait", "go north"]
    trajectory = state(ACTIONS if listed else None)
    answer: Callable[[ScriptedRequest], str] = lambda request: said[request.draw]  # noqa: E731
    async with policy_for(answer, constrains=False) as (policy, server):
        if listed:
            policy._sampler.constrains = False
        found = await policy.propose(trajectory, 4, seed=1)
        priors = {item.action: item.prior for item in found.items}
        assert priors == pytest.approx({"go north": 0.75, "wait": 0.25})
        assert found.usage.completions == 4
        again = await policy.propose(trajectory, 4, seed=1)
        assert again.items == found.items
        assert again.usage.completions == 4
        assert len(server.requests) == 1
        await policy.propose(trajectory, 4)
        await policy.propose(trajectory, 4)
        assert len(server.requests) == 3
        assert len(policy._priors) == 1


async def test_proposals_survive_a_server_that_ignores_the_constraint() -> None:
    async with policy_for(lambda _: "I would wait", constrains=False) as (policy, _):
        found = await policy.propose(state(), 3, seed=1)
        assert [item.action for item in found.items] == ["wait"]
        assert found.usage.completions == 2 + 3


async def test_write_returns_free_text() -> None:
    async with policy_for(lambda _: "two\nlines", {"style": "completion"}) as (policy, server):
        prompt = [{"role": "user", "content": "Say two lines."}]
        text, usage = await policy.write(prompt, temperature=0.5, max_tokens=9, seed=2)
        assert text == "two\nlines"
        assert usage.completions == 1
        assert server.requests[0].body["max_tokens"] == 9
        assert server.requests[0].body.get("stop") is None


async def test_check_names_the_cure() -> None:
    async with scripted_policy(models=("a", "b")) as server, httpx.AsyncClient() as http:
        await Policy(PolicyConfig(server.url, "a"), http).check()
        with pytest.raises(PolicyError, match="does not serve 'c': use a, b"):
            await Policy(PolicyConfig(server.url, "c"), http).check()
        with pytest.raises(PolicyError, match=r"answered 404.*ends in /v1"):
            await Policy(PolicyConfig(server.url + "/nowhere", "a"), http).check()
        with pytest.raises(PolicyError, match=r"no valid address.*use one like http"):
            await Policy(PolicyConfig("http://127.0.0.1:port/v1", "a"), http).check()
        dead = server.url
    async with httpx.AsyncClient() as http:
        with pytest.raises(PolicyError, match="armap serve policy"):
            await Policy(PolicyConfig(dead, "a"), http).check()
    with pytest.raises(ConfigurationError, match="http://127"):
        PolicyConfig("localhost:8000", "a")


async def test_check_asks_for_a_token_where_no_models_are_listed() -> None:
    async with scripted_policy(models=None) as server, httpx.AsyncClient() as http:
        await Policy(PolicyConfig(server.url, "any"), http).check()
        (request,) = server.requests
        assert request.body["max_completion_tokens"] == 1


async def test_a_malformed_answer_keeps_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "armap_agents")
    async with policy_for(faults=lambda _: Fault("empty")) as (policy, _):
        with pytest.raises(PolicyFailure, match="no completion") as failure:
            await policy.act(state())
    assert failure.value.__cause__ is not None
    assert any(record.exc_info for record in caplog.records)


async def test_keys_are_sent_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = "sk-very-secret"
    caplog.set_level(logging.DEBUG)
    echo = Fault("status", 401, message=f"Incorrect API key provided: {key}")
    bad = Fault("status", 400, message=f"no luck with {key}")
    config = {"api_key_env": "ARMAP_TEST_KEY"}
    async with policy_for(config=config, faults={1: echo, 2: bad}.get) as (policy, server):
        with pytest.raises(PolicyError, match="set the environment variable ARMAP_TEST_KEY"):
            await policy.act(state())
        monkeypatch.setenv("ARMAP_TEST_KEY", key)
        await policy.act(state())
        shown = [repr(policy), repr(policy.config), repr(policy._endpoint._model)]
        for _ in range(2):
            with pytest.raises(PolicyFailure) as failure:
                await policy.act(state())
            shown += [str(failure.value), repr(failure.value)]
        assert {request.key for request in server.requests} == {key}
        monkeypatch.setenv("ARMAP_TEST_KEY", "sk-new")
        await policy.act(state())
        assert server.requests[-1].key == "sk-new"
    assert key not in "\n".join([*shown, caplog.text])


@pytest.mark.vllm
async def test_a_real_server() -> None:
    url = os.environ.get("ARMAP_POLICY_URL")
    if not url:
        pytest.skip("set ARMAP_POLICY_URL to the address of a vLLM server")
    async with httpx.AsyncClient() as http:
        served = (await http.get(url.rstrip("/") + "/models")).json()["data"][0]["id"]
        for style in ("chat", "completion"):
            policy = Policy(PolicyConfig(url, served, style=style, timeout=300), http)
            await policy.check()
            answer = await policy.act(state(), guide=GUIDE, seed=1)
            assert (answer.action in ACTIONS, answer.constrained) == (True, True)
            found = await policy.propose(state(), 5, guide=GUIDE, seed=1)
            assert {item.action for item in found.items} == set(ACTIONS)
            assert sum(item.prior for item in found.items) == pytest.approx(1)
            mixed = await policy.act(state(["click[Back]"], ["search[{query}]"]), seed=1)
            assert mixed.constrained
            later = state(text="A hall.").extended(Step("wait", Observation("Nothing.", ACTIONS)))
            assert (await policy.act(later, guide=GUIDE, temperature=0.0)).constrained
            rooms = tuple(f"{verb} room {k}" for verb in ("enter", "leave") for k in range(80))
            far = await policy.act(state(rooms), guide=GUIDE, seed=1)
            assert (far.action in rooms, len(far.beginnings)) == (True, 1)
            config = PolicyConfig(url, served, style=style, timeout=300, thoughts=True)
            for actions in (ACTIONS, rooms):
                thinking = Policy(config, http)
                thought_of = await thinking.act(state(actions), guide=GUIDE, seed=1)
                assert (thought_of.action in actions, thought_of.constrained) == (True, True)
                assert thought_of.thought
                drawn = await thinking.propose(state(actions), 3, guide=GUIDE, seed=1)
                assert {item.action for item in drawn.items} <= set(actions)
