"""Generation with an LLM: it explores, words instructions and corrupts; its outages cost little."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from toy_shop import CONFIG, ToyDomain, ToyShop, asked, share, whole, written
from typer.testing import CliRunner

from armap_agents.cli import app
from armap_agents.cli.generate import generate_with_progress
from armap_agents.errors import PolicyError
from armap_agents.policy import Policy, PolicyConfig
from armap_agents.testing import ScriptedRequest, scripted_policy
from armap_agents.training.generate import GenerateConfig, generate_data
from armap_agents.training.records import load_dataset

LLM = replace(
    CONFIG,
    pairs=200,
    policy_model="scripted",
    writer_model="scripted",
    policy_share=0.5,
    written_share=1.0,
    llm_share=1.0,
)


def writes(request: ScriptedRequest) -> str:
    """Answer what was asked: an intent, an instruction, a counterpart, or any action."""
    if "do as they like" in request.prompt:
        return "Buy something for breakfast.\nAnd more."
    if "In other words" in request.prompt:
        text = request.prompt.rpartition("nothing else:\n")[2].splitlines()[0]
        answers = ["", "Have fun!", f"Please get me {' with '.join(sorted(asked(text)))}\nbye"]
        return request.random.choice(answers)
    if "Somebody else makes a mistake" in request.prompt:
        return request.random.choice(["I cannot.", "take egg\npay", "take drum\ntake bread\npay"])
    return request.random.choice(request.choices or ["pay"])


async def with_llm(
    out: Path, answer: Callable[[ScriptedRequest], str], config: GenerateConfig
) -> tuple[dict[str, int], list[ScriptedRequest]]:
    async with scripted_policy(answer) as server, httpx.AsyncClient() as http:
        policy = Policy(PolicyConfig(server.url, "scripted"), http)
        report = await generate_data(ToyDomain(), ToyShop, out, config, policy)
        return report["counts"], server.requests


async def test_the_llm_explores_words_and_corrupts(tmp_path: Path) -> None:
    counts, requests = await with_llm(tmp_path, writes, LLM)
    data = load_dataset(tmp_path)
    sources = Counter(pair.source for pair in data.pairs)
    assert sources["llm"] > 5
    assert sources["perturb"] > 50
    kinds = Counter(pair.kind for pair in data.pairs if pair.source == "llm")
    assert kinds["picked by the policy"] > 1
    assert kinds["written by the LLM"] > 1
    assert kinds.total() == sources["llm"]
    assert counts["dropped: what the LLM changed is impossible"] > 0
    for pair in data.pairs:
        if pair.source == "llm" and whole(data, pair):
            assert share(data, pair.rejected, pair.rejected_steps, pair.instruction) < 1
    assert counts["instructions: written"] > 5
    assert counts["written refused: empty"] > 0
    assert counts["written refused: asks for something else"] > 0
    refused = sum(n for name, n in counts.items() if name.startswith("written refused"))
    assert counts["instructions: template"] == refused
    texts = {pair.instruction for pair in data.pairs}
    assert any(text.startswith("Please get me") for text in texts)
    assert all(asked(text) and "bye" not in text and "fun" not in text for text in texts)
    assert counts["explored by the policy"] > 0.3 * counts["explored"]
    assert counts["intents written by the LLM"] > 0
    assert any("Buy something for breakfast." in r.prompt for r in requests if r.choices)
    temperatures = [r.body["temperature"] for r in requests if r.choices]
    assert min(temperatures) < 0.7
    assert max(temperatures) > 1.0
    assert counts["policy: completions"] >= len(requests) - 64  # those in flight are dropped
    card = (tmp_path / "README.md").read_text()
    assert f"by the policy scripted ({counts['explored by the policy']:,}, temperature" in card
    assert "worded by scripted" in card


async def test_a_second_endpoint_words_what_the_policy_explores(tmp_path: Path) -> None:
    async with (
        scripted_policy(writes) as acting,
        scripted_policy(writes) as writing,
        httpx.AsyncClient() as http,
    ):
        policy, writer = (Policy(PolicyConfig(s.url, "scripted"), http) for s in (acting, writing))
        await generate_data(ToyDomain(), ToyShop, tmp_path, LLM, policy, writer)
        assert all(request.choices for request in acting.requests)
        assert not any(request.choices for request in writing.requests)
        assert any("makes a mistake" in request.prompt for request in writing.requests)
        assert acting.requests
        assert writing.requests


async def test_an_outage_costs_its_episodes_and_texts_alone(tmp_path: Path) -> None:
    async with httpx.AsyncClient() as http:
        policy = Policy(PolicyConfig("http://127.0.0.1:9/v1", "scripted", retries=0), http)
        report = await generate_data(ToyDomain(), ToyShop, tmp_path, LLM, policy)
    counts = report["counts"]
    assert counts["lost: the policy failed"] > 10
    assert counts["written refused: the LLM failed"] == counts["instructions: template"] > 10
    assert counts["policy: failures"] > counts["lost: the policy failed"]
    assert counts["pairs"] == len(load_dataset(tmp_path).pairs) >= 200
    assert "by the policy scripted (0, " in (tmp_path / "README.md").read_text()


async def test_where_everything_fails_there_is_one_error_and_what_is_there_stays(
    tmp_path: Path,
) -> None:
    alone = replace(LLM, policy_share=1.0, pairs=40)
    await with_llm(tmp_path, writes, alone)
    before = written(tmp_path)
    async with httpx.AsyncClient() as http:
        policy = Policy(PolicyConfig("http://127.0.0.1:9/v1", "scripted", retries=0), http)
        with pytest.raises(PolicyError, match=r"every episode of 6 tasks .* cannot be reached"):
            await generate_data(ToyDomain(), ToyShop, tmp_path, replace(alone, pairs=9999), policy)
    assert written(tmp_path) == before
    counts, _ = await with_llm(tmp_path, writes, replace(alone, pairs=120))
    assert counts["pairs"] >= 120


async def test_who_asks_a_slow_endpoint_hears_why_calls_were_lost_and_can_wait_longer(
    tmp_path: Path,
) -> None:
    async with scripted_policy(latency=0.5) as server:
        endpoint = ["--policy-url", server.url, "--policy-model", "scripted"]
        less = ["generate", "game24", "--pairs", "40", *endpoint, "--policy-share", "0.05"]
        impatient = [*less, "--out", str(tmp_path / "impatient"), "--policy-timeout", "0.1"]
        hurried = await asyncio.to_thread(CliRunner().invoke, app, impatient)
        patient = [*less, "--out", str(tmp_path / "patient"), "--policy-concurrency", "4"]
        waited = await asyncio.to_thread(CliRunner().invoke, app, patient)
    assert hurried.exit_code == waited.exit_code == 0
    said = " ".join(hurried.output.split())
    assert "some calls failed, the last: the policy at http" in said
    assert "did not answer within 0.1 s, in 4 tries: raise policy_timeout" in said
    assert "some calls failed" not in waited.output
    assert "lost: the policy failed" in hurried.output


@pytest.mark.parametrize("named", [False, True])
async def test_the_policys_key_goes_to_no_other_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.setenv("POLICY_KEY", "of-the-policy")
    monkeypatch.setenv("WRITER_KEY", "of-the-writer")
    async with scripted_policy() as acting, scripted_policy() as writing:
        command = ["generate", "game24", "--out", str(tmp_path), "--pairs", "20"]
        command += ["--policy-url", acting.url, "--policy-model", "scripted"]
        command += ["--policy-api-key-env", "POLICY_KEY", "--writer-url", writing.url]
        command += ["--written-share", "1", "--policy-share", "0.1"]
        command += ["--writer-api-key-env", "WRITER_KEY"] if named else []
        made = await asyncio.to_thread(CliRunner().invoke, app, command)
    assert made.exit_code == 0, made.output
    assert {request.key for request in acting.requests} == {"of-the-policy"}
    assert "of-the-policy" not in {request.key for request in writing.requests}
    assert ("of-the-writer" in {request.key for request in writing.requests}) == named


async def test_complete_data_ask_no_endpoint(tmp_path: Path) -> None:
    config = GenerateConfig(pairs=5, policy_share=0.5, llm_share=0.0, written_share=0.0)
    async with scripted_policy() as server:
        endpoint = PolicyConfig(server.url, "scripted")
        made = await generate_with_progress("game24", {}, tmp_path, config, endpoint)
    assert await generate_with_progress("game24", {}, tmp_path, config, endpoint) == made
    more = replace(config, pairs=10_000)
    with pytest.raises(PolicyError, match="cannot be reached"):
        await generate_with_progress("game24", {}, tmp_path, more, endpoint)
    (tmp_path / "report.json").write_text("[]")
    with pytest.raises(PolicyError, match="cannot be reached"):
        await generate_with_progress("game24", {}, tmp_path, config, endpoint)
