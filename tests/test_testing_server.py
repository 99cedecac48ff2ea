"""The scripted server: what a client sees over real HTTP."""

import asyncio
import math
import re
from collections import Counter
from typing import Any

import httpx
import pytest

from armap_agents import Observation
from armap_agents.policy.actions import constraint
from armap_agents.testing import END, Fault, ScriptedServer, scripted_policy

CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "hello there"}]}
CHOICES = ["go north", "go south", "stay"]


async def post(
    server: ScriptedServer, path: str = "/chat/completions", **body: object
) -> httpx.Response:
    base = CHAT if path.startswith("/chat") else {"model": "scripted", "prompt": "hello"}
    async with httpx.AsyncClient(timeout=5) as http:
        return await http.post(server.url + path, json={**base, **body})


async def test_models_and_unknown_model() -> None:
    async with scripted_policy(models=("a", "b")) as server, httpx.AsyncClient() as http:
        served = (await http.get(server.url + "/models")).json()["data"]
        assert [model["id"] for model in served] == ["a", "b"]
        assert (await post(server)).status_code == 404


async def test_regex_is_honoured_and_holes_take_words_of_the_prompt() -> None:
    shown = Observation("a page", ("click[a|b (c)]",), ("search[{query}]",))
    wanted = {"structured_outputs": constraint(shown)}
    async with scripted_policy(lambda _: "search[tea]") as server:
        said = (await post(server, seed=1, **wanted)).json()["choices"]
        assert said[0]["message"]["content"] == "search[tea]"
    async with scripted_policy(lambda _: "nonsense") as server:
        answers = [(await post(server, seed=k, **wanted)).json() for k in range(12)]
    texts = {answer["choices"][0]["message"]["content"] for answer in answers}
    assert "click[a|b (c)]" in texts
    assert len(texts) > 1
    for text in texts - {"click[a|b (c)]"}:
        query = re.fullmatch(r"search\[([a-z ]+)\]", text)
        assert query is not None
        assert set(query[1].split()) <= {"hello", "there"}


async def test_choice_is_honoured_and_seeded() -> None:
    async with scripted_policy(lambda _: "nonsense") as server:
        constraint: dict[str, Any] = {"structured_outputs": {"choice": CHOICES}}
        first = (await post(server, seed=7, n=40, **constraint)).json()
        again = (await post(server, seed=7, n=40, **constraint)).json()
        texts = [choice["message"]["content"] for choice in first["choices"]]
        assert texts == [choice["message"]["content"] for choice in again["choices"]]
        assert set(texts) == set(CHOICES)
        assert first["usage"]["prompt_tokens"] == 2
        assert [request.seed for request in server.requests] == [7, 7]


async def test_constraint_can_be_ignored() -> None:
    async with scripted_policy(lambda _: "nonsense", constrains=False) as server:
        body = (await post(server, structured_outputs={"choice": CHOICES})).json()
        assert body["choices"][0]["message"]["content"] == "nonsense"


async def test_log_probabilities_follow_the_score() -> None:
    score = dict(zip(CHOICES, (0.0, 1.0, 2.0), strict=True)).__getitem__
    total = sum(math.exp(score(choice)) for choice in CHOICES)
    async with scripted_policy(score=score) as server:
        constraint: dict[str, Any] = {
            "structured_outputs": {"choice": CHOICES},
            "temperature": 0,
        }
        chat = (await post(server, logprobs=True, top_logprobs=5, **constraint)).json()
        first = chat["choices"][0]["logprobs"]["content"][0]
        tops = {top["token"]: math.exp(top["logprob"]) for top in first["top_logprobs"]}
        assert tops["stay"] == pytest.approx(math.exp(2) / total)
        assert tops["go"] == pytest.approx((1 + math.e) / total)
        plain = (await post(server, "/completions", logprobs=5, **constraint)).json()
        assert plain["choices"][0]["logprobs"]["tokens"] == ["stay", END]


async def test_draws_follow_score_and_temperature() -> None:
    score = {"a": 0.0, "b": 2.0}.__getitem__
    async with scripted_policy(score=score) as server:
        body: dict[str, Any] = {
            "structured_outputs": {"choice": ["a", "b"]},
            "n": 2000,
            "seed": 1,
        }
        for temperature in (1.0, 2.0):
            answer = (await post(server, temperature=temperature, **body)).json()
            counts = Counter(choice["message"]["content"] for choice in answer["choices"])
            expected = 1 / (1 + math.exp(-2.0 / temperature))
            assert counts["b"] / 2000 == pytest.approx(expected, abs=0.05)


async def test_faults_by_number() -> None:
    faults = {
        0: Fault("status", 429, retry_after=3),
        1: Fault("malformed"),
        2: Fault("empty"),
        3: Fault("cut"),
    }
    async with scripted_policy(faults=faults.get) as server:
        limited = await post(server)
        assert (limited.status_code, limited.headers["retry-after"]) == (429, "3")
        with pytest.raises(ValueError, match="Unterminated"):
            (await post(server)).json()
        assert (await post(server)).json()["choices"] == []
        with pytest.raises(httpx.RemoteProtocolError):
            await post(server)
        assert (await post(server)).status_code == 200


async def test_leaving_does_not_wait_for_a_hanging_request() -> None:
    async with scripted_policy(faults=lambda _: Fault("hang")) as server:
        hanging = asyncio.create_task(post(server))
        while not server.requests:
            await asyncio.sleep(0.01)
    (ending,) = await asyncio.gather(hanging, return_exceptions=True)
    assert not (isinstance(ending, httpx.Response) and ending.status_code == 200)


async def test_sixty_four_requests_are_in_flight_at_once() -> None:
    limits = httpx.Limits(max_connections=None)
    async with (
        scripted_policy(latency=2.0) as server,
        httpx.AsyncClient(limits=limits, timeout=30) as http,
    ):
        posts = (http.post(server.url + "/chat/completions", json=CHAT) for _ in range(64))
        answers = await asyncio.gather(*posts)
    assert {answer.status_code for answer in answers} == {200}
    assert server.peak == 64


async def test_the_key_is_seen_but_not_shown() -> None:
    async with scripted_policy() as server, httpx.AsyncClient() as http:
        headers = {"Authorization": "Bearer sk-secret"}
        await http.post(server.url + "/chat/completions", json=CHAT, headers=headers)
        assert server.requests[0].key == "sk-secret"
        assert "sk-secret" not in repr(server.requests)
