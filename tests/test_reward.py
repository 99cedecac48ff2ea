"""Rendering and serving: nothing leaks, nothing depends on the batch, bad folders say so."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_backbone import save_tiny_backbone

from armap_agents.errors import ConfigurationError
from armap_agents.reward import load_reward
from armap_agents.reward.render import Rendering, render
from armap_agents.reward_model import RewardModel
from armap_agents.tools.game24.environment import play, puzzle_task
from armap_agents.trajectory import Observation, Status, Step, Task, Trajectory

GAME = play(puzzle_task([1, 4, 8, 8]), ("8 / 4 = 2", "2 + 1 = 3", "8 * 3 = 24"))
NEWEST = Rendering("newest", ((r"^(?s:.*)Numbers? left: ", ""), (r"^.*make (\S+)\.$", r"\1")))


def test_all_and_newest_history_are_written_so() -> None:
    assert render(GAME, NEWEST) == "24 : 24"
    assert render(GAME.prefix(1), NEWEST) == "24 : 1 2 8"
    assert render(GAME.prefix(2), Rendering()) == (
        "Use the numbers 1 4 8 8, each exactly once, with + - * / to make 24. : "
        "Numbers left: 1 4 8 8 ; 8 / 4 = 2 ( Numbers left: 1 2 8 )"
        " ; 2 + 1 = 3 ( Numbers left: 3 8 )"
    )


@pytest.mark.parametrize("rendering", [Rendering(), NEWEST])
def test_done_status_limit_error_and_hidden_fields_never_show(rendering: Rendering) -> None:
    task = Task("SENTINEL-id", "e", "SENTINEL-split", "do", 7919, {"goal": "SENTINEL-data"})
    seen = Observation("seen", ("SENTINEL-action",), facts={"score": "SENTINEL-fact"})
    plain = Trajectory(task, "do", seen, (Step("act", seen, False),))
    expected = render(plain, rendering)
    assert "SENTINEL" not in expected
    assert "7919" not in expected
    for status in Status:
        for done in (False, True):
            ended = replace(
                plain, steps=(Step("act", seen, done),), status=status, error="SENTINEL-error"
            )
            assert render(ended, rendering) == expected


@given(
    st.lists(st.text("ab ", min_size=1, max_size=40), max_size=30),
    st.integers(min_value=120, max_value=400),
)
def test_budget_keeps_the_newest_step_whole_and_loses_nothing_silently(
    texts: list[str], budget: int
) -> None:
    steps = tuple(Step(f"a{i}", Observation(text)) for i, text in enumerate(texts))
    trajectory = Trajectory(Task("t", "e"), "do", Observation("start"), steps)
    text = render(trajectory, Rendering(max_characters=budget))
    assert text.startswith("do : start")
    if not steps:
        return
    assert text.endswith(f" ; a{len(steps) - 1} ( {texts[-1]} )")
    written = [part.split(" ")[0] for part in text.split(" ; ")[1:]]
    if "earlier steps" in text:
        assert f"( {len(steps) - len(written) + 1} earlier steps )" in text
    else:
        assert written == [f"a{i}" for i in range(len(steps))]
    assert len(text) <= budget + 30


def test_rendering_settings_round_trip_and_damage_is_named() -> None:
    assert Rendering.from_dict(json.loads(json.dumps(NEWEST.to_dict()))) == NEWEST
    for damage in ({"history": "some"}, {"shorten": [["(", ""]]}, {"max_characters": None}):
        with pytest.raises(ConfigurationError, match="train it again"):
            Rendering.from_dict({**NEWEST.to_dict(), **damage})


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, armap_agents.reward; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save an untrained model whose adapter and heads are random."""
    import torch

    from armap_agents.reward.model import Backbone, Settings, new_network, save_network

    root = tmp_path_factory.mktemp("reward")
    backbone = Backbone.find(str(save_tiny_backbone(root / "backbone")))
    torch.manual_seed(1)
    network = new_network(backbone, rank=4, alpha=8, bf16=False)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    settings = Settings(
        backbone.name,
        backbone.sha256(),
        {"game24": NEWEST},
        {"game24": {"mean": 0.5, "std": 2.0}},
    )
    save_network(network, settings, root / "model")
    return root / "model"


def states() -> list[Trajectory]:
    from armap_agents.tools.game24.arithmetic import legal_steps, numbers_left

    task = puzzle_task([4, 9, 10, 13])
    first = [play(task, [step]) for step, _ in legal_steps(numbers_left([4, 9, 10, 13]))]
    return [*first, GAME, GAME.prefix(1), GAME.prefix(2)]


async def test_scores_depend_neither_on_order_nor_on_the_batch(folder: Path) -> None:
    model = load_reward(folder)
    assert isinstance(model, RewardModel)
    together = await model.ascore(states())
    assert len({round(score, 6) for score in together}) > 20
    alone_model = load_reward(folder)
    alone = [(await alone_model.ascore([t]))[0] for t in reversed(states())][::-1]
    assert alone == pytest.approx(together, abs=1e-5)
    assert await model.ascore(states()[::-1]) == together[::-1], "remembered, not scored again"
    assert await model.ascore([]) == []
    values = await model.avalue(states())
    assert all(0 < value < 1 for value in values)
    await model.aclose()
    await alone_model.aclose()


def test_merged_scores_equal_the_adapters(folder: Path) -> None:
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file

    from armap_agents.reward.model import Backbone, Settings, pad, plain_encoder, tokenizer_of

    settings = Settings.read(folder)
    backbone = Backbone.find(settings.backbone)
    peft = PeftModel.from_pretrained(plain_encoder(backbone), str(folder / "adapter")).eval()
    heads = load_file(folder / "heads.safetensors")
    tokenizer = tokenizer_of(backbone)
    expected = []
    for trajectory in states():
        ids, mask = pad(tokenizer([render(trajectory, NEWEST)])["input_ids"], 0)
        with torch.no_grad():
            pooled = peft(input_ids=ids, attention_mask=mask).last_hidden_state.mean(1)
        expected.append(float(pooled[0] @ heads["weight"][0] + heads["bias"][0]))
    assert load_reward(folder).score(states()) == pytest.approx(expected, abs=1e-4)


async def test_mean_std_and_fingerprint_come_from_the_folder(folder: Path, tmp_path: Path) -> None:
    model = load_reward(folder)
    assert (model.mean, model.std) == (0.5, 2.0)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    assert load_reward(other).fingerprint == model.fingerprint
    settings = json.loads((other / "reward.json").read_text())
    settings["normalisation"]["game24"]["mean"] = 0.6
    (other / "reward.json").write_text(json.dumps(settings))
    assert load_reward(other).fingerprint != model.fingerprint


async def test_scoring_leaves_the_event_loop_free_and_outlives_it(folder: Path) -> None:
    model = load_reward(folder)
    main = await asyncio.to_thread(lambda: asyncio.run(model.ascore([GAME])))
    assert main == await model.ascore([GAME])


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda f: shutil.rmtree(f), "there is no reward model in"),
        (lambda f: (f / "reward.json").unlink(), "is not a reward model"),
        (lambda f: (f / "reward.json").write_text("{"), "reward.json is damaged"),
        (lambda f: (f / "reward.json").write_text("[]"), "reward.json is damaged"),
        (lambda f: (f / "heads.safetensors").write_bytes(b"x"), "is damaged"),
        (lambda f: (f / "heads.safetensors").unlink(), "is damaged"),
        (lambda f: shutil.rmtree(f / "adapter"), "is damaged"),
    ],
)
def test_bad_folders_get_one_line(
    folder: Path, tmp_path: Path, damage: object, complaint: str
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    damage(copy)  # type: ignore[operator]
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        load_reward(copy)
    assert "\n" not in str(caught.value)


def test_another_backbone_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    settings = json.loads((copy / "reward.json").read_text())
    settings["backbone_sha256"] = "0" * 64
    (copy / "reward.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigurationError, match="is not the backbone"):
        load_reward(copy)


def test_pickles_in_a_model_folder_are_never_read(folder: Path) -> None:
    assert {p.suffix for p in folder.rglob("*") if p.is_file()} == {".json", ".safetensors"}
