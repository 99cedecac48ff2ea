"""Exported text models: plain transformers and vLLM give the scores of the model in-process."""

from __future__ import annotations

import asyncio
import importlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest
import torch
from reward_servers import CALIBRATED, free_port, save_tiny_llama, trajectories
from tiny_backbone import save_tiny_backbone
from tiny_reward import save_random_reward

from armap_agents.errors import ConfigurationError
from armap_agents.reward import load_reward
from armap_agents.reward.endpoint import Endpoint
from armap_agents.reward.export import EXPORT, ExportSettings, export
from armap_agents.reward.model import load_network, new_network, save_network
from armap_agents.reward.render import render
from armap_agents.reward.settings import Settings
from armap_agents.reward.vllm import VllmReward
from armap_agents.serving.vllm_environment import vllm_program

policy_server = importlib.import_module("armap_agents.serving.policy_server")


def save_text_reward(folder: Path, weights: Path) -> Path:
    """Write a model folder on text weights, with an adapter that changes something."""
    network = new_network("hf-text", str(weights), {}, seed=0)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "lora_B" in name:  # zero until it is trained
                weight.normal_(std=0.05)
    settings = Settings(asdict(network.backbone.spec), {"maze": CALIBRATED})
    save_network(network, settings, folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    return save_text_reward(folder / "model", save_tiny_llama(folder / "llama"))


@pytest.fixture(scope="module")
def exported(model: Path) -> Path:
    out = model.parent / "exported"
    export(model, out)
    return out


def test_plain_transformers_gives_the_same_outputs(model: Path, exported: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    classifier = AutoModelForSequenceClassification.from_pretrained(exported).eval()
    assert type(classifier).__name__ == "LlamaForSequenceClassification"
    assert classifier.config.id2label == {0: "score", 1: "value"}
    network, _ = load_network(model, "cpu")
    found = trajectories(12)
    items = [network.backbone.parts(render(t, CALIBRATED.rendering)) for t in found]
    rows = [list(part.ids) for (part,) in items]
    longest = max(map(len, rows))
    padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    with torch.inference_mode():
        logits = classifier(input_ids=padded, attention_mask=(padded != 0).long()).logits
        wanted = network(items)
    outputs = logits + torch.tensor(ExportSettings.read(exported).bias)
    torch.testing.assert_close(outputs, wanted, atol=1e-4, rtol=0)
    assert wanted.std(0).min() > 0.01


def test_the_client_needs_no_weights_to_write_what_the_model_reads(
    model: Path, exported: Path, tmp_path: Path
) -> None:
    small = tmp_path / "copy"
    shutil.copytree(exported, small, ignore=shutil.ignore_patterns("*.safetensors"))
    reward = VllmReward(Endpoint("http://127.0.0.1:9", None, 0.0), "name", small)
    network, settings = load_network(model, "cpu")
    long = trajectories(1, seed=5)[0]
    for _ in range(7):
        long = long.__class__(long.task, long.instruction, long.observation, long.steps * 2)
    for trajectory in [*trajectories(30), long]:
        (part,) = network.backbone.parts(render(trajectory, settings.of("maze").rendering))
        assert reward._tokens([trajectory]) == [list(part.ids)]
    assert reward.settings == settings
    assert (reward.mean, reward.probability([1.0])) == (
        CALIBRATED.mean,
        load_reward(model).probability([1.0]),
    )


def test_an_export_is_written_anew_and_nothing_else_is_overwritten(
    model: Path, exported: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(model, out)
    before = ExportSettings.read(out)
    export(model, out)
    assert ExportSettings.read(out) == before == ExportSettings.read(exported)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("text")
    with pytest.raises(ConfigurationError, match="mine holds something else"):
        export(model, tmp_path / "mine")
    with pytest.raises(ConfigurationError, match=r"thesis\.txt holds something else"):
        export(model, tmp_path / "mine" / "thesis.txt")


def test_what_cannot_be_exported_says_what_to_do_instead(tmp_path: Path) -> None:
    stepwise = save_random_reward(tmp_path / "stepwise", {"maze": CALIBRATED})
    encoder = save_text_reward(tmp_path / "encoder", save_tiny_backbone(tmp_path / "bert"))
    for folder in (stepwise, encoder):
        with pytest.raises(ConfigurationError, match=f"`armap serve reward {folder}`"):
            export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_export_says_so(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no exported reward model"):
        ExportSettings.read(tmp_path)
    for text in ("{", "[]", '{"bias": [1], "fingerprint": "", "tokens": 1}'):
        (tmp_path / EXPORT).write_text(text)
        with pytest.raises(ConfigurationError, match=r"is damaged .* export the model again"):
            ExportSettings.read(tmp_path)


@pytest.mark.slow
@pytest.mark.vllm
def test_a_real_vllm_gives_the_same_scores(
    model: Path, exported: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reward = load_reward(model)
    found = trajectories(70)
    with vllm_serving(exported, tmp_path / "log") as url:
        remote = load_reward(f"{url}/v1")
        assert isinstance(remote, VllmReward)
        assert remote.score(found) == pytest.approx(reward.score(found), abs=1e-3)
        assert remote.value(found) == pytest.approx(reward.value(found), abs=1e-3)
        assert remote.of("maze").preference(1.0, 0.0) == reward.of("maze").preference(1.0, 0.0)

        copy = tmp_path / "copy"
        shutil.copytree(exported, copy, ignore=shutil.ignore_patterns("*.safetensors"))
        exported.rename(exported.with_name("elsewhere"))
        try:
            with pytest.raises(ConfigurationError, match="ARMAP_REWARD_SETTINGS"):
                load_reward(url)
            monkeypatch.setenv("ARMAP_REWARD_SETTINGS", str(copy))
            assert asyncio.run(load_reward(url).ascore(found[:3])) == pytest.approx(
                reward.score(found[:3]), abs=1e-3
            )
        finally:
            exported.with_name("elsewhere").rename(exported)
    assert max(reward.score(found)) - min(reward.score(found)) > 0.1


@contextmanager
def vllm_serving(folder: Path, log: Path) -> Iterator[str]:
    """Serve an export with vLLM for the length of a block; give the server's address."""
    program = vllm_program()
    port = free_port()
    command = [str(program), "serve", str(folder), "--runner", "pooling", "--convert", "classify"]
    command += ["--dtype", "float32", "--max-model-len", "1024", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--enforce-eager"]
    process = policy_server._start(command, policy_server.vllm_variables(program), log)
    try:
        for _ in range(1200):
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.5)  # It is starting: this loop is the handling.
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
