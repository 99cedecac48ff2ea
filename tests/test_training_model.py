"""Training: models learn, say what they know, reload the same; wrong requests get one line."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_backbone import save_tiny_backbone
from tiny_data import TinyData
from torch import Tensor, nn

from armap_agents.errors import ConfigurationError
from armap_agents.reward import load_reward
from armap_agents.reward.calibration import Calibration
from armap_agents.reward.render import Rendering
from armap_agents.reward.settings import EnvironmentSettings, Settings
from armap_agents.training import trainer as loop
from armap_agents.training.card import model_card
from armap_agents.training.config import TrainConfig
from armap_agents.training.records import load_dataset
from armap_agents.training.split import split_tasks
from armap_agents.training.train import read_data, train
from armap_agents.trajectory import Image

Lines = list[dict[str, float]]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TinyData().save(tmp_path_factory.mktemp("tiny") / "data")


def config(weights: str, **changes: object) -> TrainConfig:
    base = TrainConfig(
        weights=weights,
        options={"rank": 4},
        steps=30,
        minutes=60,
        warmup=5,
        learning_rate=5e-3,
        held_out=0.2,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def log(folder: Path) -> tuple[Lines, Lines]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [x for x in lines if "loss" in x], [x for x in lines if "held_out_accuracy" in x]


@given(st.floats(0, 0.999), st.floats(0, 0.5))
def test_evaluations_take_a_tenth_of_the_budget_at_most(done: float, cost: float) -> None:
    due = loop.next_evaluation(done, cost)
    assert done < due <= 1
    assert due == 1 or due - done >= 10 * cost - 1e-12
    assert loop.next_evaluation(1.0, cost) > 1e9, "none after the end"


def test_cheap_evaluations_are_made_at_each_tenth() -> None:
    due = [loop.next_evaluation(k / 10, 0.0) for k in range(10)]
    assert due == [k / 10 for k in range(1, 11)]


def test_a_short_training_warms_up_for_a_fifth_of_it(
    data: Path, backbone: str, tmp_path: Path
) -> None:
    train([data], tmp_path, config(backbone, steps=20, warmup=100), threads=1)
    steps, _ = log(tmp_path)
    rates = [line["learning_rate"] / 5e-3 for line in steps]
    wanted = [max((k + 1) / 100, k / 20 / 0.2) * (1 - k / 20) for k in range(4)]
    assert rates[:4] == pytest.approx(wanted)
    assert rates[4:] == pytest.approx([1 - k / 20 for k in range(4, 20)])


@pytest.mark.parametrize(
    ("budget", "taken"),
    [
        ({"steps": 4}, 4),
        ({"steps": 4, "minutes": 60}, 1),
        ({"steps": 4, "cpu_minutes": 60}, 1),
        ({"minutes": 60, "cpu_minutes": 6000}, 1),
        ({"minutes": 6000, "cpu_minutes": 60}, 1),
        ({}, 1),
    ],
)
def test_training_ends_with_the_first_budget_that_was_given(
    budget: dict[str, float],
    taken: int,
    data: Path,
    backbone: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hours = count(step=3600.0).__next__  # an hour passes between any two looks at a clock
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=hours, process_time=hours))
    none = {"steps": None, "minutes": None}
    train([data], tmp_path, config(backbone, **(none | budget)), threads=1)
    steps, _ = log(tmp_path)
    assert len(steps) == taken


def test_training_learns_saves_and_scores_the_same_after_loading(
    data: Path, backbone: str, tmp_path: Path
) -> None:
    shown: list[loop.Status] = []
    asked = config(backbone, steps=80)
    settings = train([data], tmp_path, asked, shown.append, threads=1)
    steps, evaluations = log(tmp_path)
    assert [line["step"] for line in steps] == list(range(1, 81))
    assert [line["step"] for line in evaluations] == list(range(8, 81, 8))
    early = np.mean([line["loss"] for line in steps[:10]])
    late = np.mean([line["loss"] for line in steps[-10:]])
    assert late < 0.5 * early
    assert list(settings.accuracy) == ["1", "2", "3", "all"]
    assert settings.accuracy["all"] > 0.9
    assert shown[-1].done == pytest.approx(79 / 80)
    assert settings.sources == {"perturb": sum(p.source == "perturb" for p in learned(data))}
    known = settings.environments["counting"]
    assert known.calibration is not None
    assert (known.calibration.base_rate, known.calibration.source) == (0.25, "synthetic")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        ".lock", "README.md", "adapter", "heads.safetensors", "log.jsonl", "pooling.safetensors",
        "reward.json", "split.json", "tensorboard", "training.json", "training.png",
    }  # fmt: skip
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "tensorboard").iterdir())
    card = (tmp_path / "README.md").read_text()
    assert f"| all | {settings.accuracy['all']:.3f} |" in card
    assert "![" in card
    assert "Labels from the environment" not in card
    model = load_reward(tmp_path)
    assert model.settings == settings
    dataset = load_dataset(data)
    _, tasks = split_tasks(dataset, 0.2, 0)
    pairs = [p for p in dataset.pairs if ("counting", p.task) in tasks]
    good = model.score([dataset.prefix(p.chosen, p.chosen_steps, p.instruction) for p in pairs])
    bad = model.score([dataset.prefix(p.rejected, p.rejected_steps, p.instruction) for p in pairs])
    accuracy = np.mean(np.array(good) > np.array(bad))
    assert accuracy == pytest.approx(settings.accuracy["all"], abs=1e-3)
    whole = [score for pair, score in zip(pairs, good, strict=True) if pair.chosen_steps == 3]
    assert np.mean(model.probability(whole)) > 0.7
    assert train([data], tmp_path, asked) == settings
    with pytest.raises(ConfigurationError, match="steps 80 there, 30 now"):
        train([data], tmp_path, config(backbone))


def test_the_card_recommends_chances_where_there_are_some() -> None:
    bare = EnvironmentSettings(Rendering())
    calibrated = replace(bare, calibration=Calibration(1.0, 1.0, 0.0, 0.5, 10))

    def used(**environments: EnvironmentSettings) -> str:
        backbone = {"kind": "minilm", "weights": "w", "sha256": "0", "options": {"rank": 4}}
        spent = dict.fromkeys(("step", "seconds", "cpu_seconds", "pairs", "parts"), 1.0)
        settings = Settings(backbone, environments, training=spent)
        return model_card(settings, TrainConfig(), [], "").partition("## Use")[2]

    assert "probability" not in used(maze=bare)
    assert "model.probability(scores)" in used(maze=calibrated)
    assert 'model.of("shop").probability(scores)' in used(maze=bare, shop=calibrated)


def learned(data: Path) -> list[Any]:
    dataset = load_dataset(data)
    tasks, _ = split_tasks(dataset, 0.2, 0)
    return [pair for pair in dataset.pairs if (pair.environment, pair.task) in tasks]


def test_values_are_learned_beside_the_pairs(data: Path, backbone: str, tmp_path: Path) -> None:
    train([data], tmp_path, config(backbone, steps=60), threads=1)
    model = load_reward(tmp_path)
    dataset = load_dataset(data)
    _, tasks = split_tasks(dataset, 0.2, 0)
    values = [v for v in dataset.values if ("counting", v.task) in tasks]
    found = model.value([dataset.prefix(v.trajectory, v.steps, v.instruction) for v in values])
    won = [value for value, v in zip(found, values, strict=True) if v.successes]
    lost = [value for value, v in zip(found, values, strict=True) if not v.successes]
    assert np.mean(won) > np.mean(lost) + 0.3


def test_binary_scores_are_logits_of_success(data: Path, backbone: str, tmp_path: Path) -> None:
    asked = config(backbone, loss="binary", steps=60)
    settings = train([data], tmp_path, asked, threads=1)
    assert settings.accuracy["all"] > 0.9
    model = load_reward(tmp_path)
    dataset = load_dataset(data)
    pairs = learned(data)
    good = model.score([dataset.prefix(p.chosen, p.chosen_steps, p.instruction) for p in pairs])
    bad = model.score([dataset.prefix(p.rejected, p.rejected_steps, p.instruction) for p in pairs])
    assert np.mean(np.array(good) > 0) > 0.9
    assert np.mean(np.array(bad) < 0) > 0.9


@pytest.mark.slow
def test_soft_labels_and_margins_set_the_distance_of_scores(backbone: str, tmp_path: Path) -> None:
    even = TinyData(label=0.5).save(tmp_path / "even")
    gaps = {}
    for name, data, margin in (("even", even, 0.0), ("sure", None, 0.0), ("wide", None, 6.0)):
        folder = data or TinyData().save(tmp_path / f"data {name}")
        train([folder], tmp_path / name, config(backbone, margin=margin, steps=40), threads=1)
        model = load_reward(tmp_path / name)
        dataset = load_dataset(folder)
        sides = [
            np.mean(model.score([dataset.prefix(i, 3, p.instruction) for i in ids]))
            for p in dataset.pairs[:1]
            for ids in ([q.chosen for q in dataset.pairs], [q.rejected for q in dataset.pairs])
        ]
        gaps[name] = sides[0] - sides[1]
    assert abs(gaps["even"]) < 0.3 < gaps["sure"] < gaps["wide"]


def test_several_environments_in_one_model_have_a_calibration_each(
    data: Path, backbone: str, tmp_path: Path
) -> None:
    other = TinyData("other", steps=2).save(tmp_path / "other")
    settings = train([data, other], tmp_path / "model", config(backbone, steps=60), threads=1)
    assert sorted(settings.environments) == ["counting", "other"]
    one, two = (known.calibration for _, known in sorted(settings.environments.items()))
    assert one is not None
    assert two is not None
    assert (one.base_rate, two.base_rate) == pytest.approx((1 / 4, 1 / 3))
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| other |" in card
    lengths = [f"counting {steps}" for steps in ("1", "2", "3", "all")]
    assert list(settings.accuracy) == [*lengths, "other 1", "other 2", "other all", "all"]
    assert f"| other all | {settings.accuracy['other all']:.3f} |" in card
    model = load_reward(tmp_path / "model")
    assert model.of("other").mean == settings.environments["other"].mean


def test_labels_that_say_no_success_still_give_a_preference(backbone: str, tmp_path: Path) -> None:
    data = TinyData(sources=("search-reward",), label=0.9).save(tmp_path / "data")
    (data / "values.jsonl").write_text("")
    train([data], tmp_path / "model", config(backbone, steps=3), threads=1)
    model = load_reward(tmp_path / "model")
    assert model.preference(1.0, 0.0) > 0.5
    assert not hasattr(model, "probability")
    assert not hasattr(model.of("counting"), "probability")
    assert "probability(" not in (tmp_path / "model" / "README.md").read_text()


def test_sources_choose_the_pairs_and_the_card_warns_of_the_environments(
    backbone: str, tmp_path: Path
) -> None:
    data = TinyData(sources=("perturb", "environment")).save(tmp_path / "data")
    for sources in ((), ("perturb",)):
        out = tmp_path / f"model {len(sources)}"
        settings = train([data], out, config(backbone, steps=3, sources=sources), threads=1)
        warned = "Labels from the environment" in (out / "README.md").read_text()
        fitted = settings.environments["counting"].calibration
        assert fitted is not None
        if sources:
            assert (list(settings.sources), warned, fitted.source) == (
                ["perturb"], False, "synthetic",
            )  # fmt: skip
        else:
            assert set(settings.sources) == {"perturb", "environment"}
            assert (warned, fitted.source) == (True, "environment")
    with pytest.raises(ConfigurationError, match="it has perturb, environment"):
        read_data([data], config(backbone, sources=("llm",)))


def test_a_fraction_uses_fewer_tasks_and_holds_out_the_same(
    data: Path, backbone: str, tmp_path: Path
) -> None:
    counts = []
    for fraction in (0.2, 1.0):
        out = tmp_path / str(fraction)
        settings = train([data], out, config(backbone, steps=2, fraction=fraction), threads=1)
        fitted = settings.environments["counting"].calibration
        assert fitted is not None
        counts.append((sum(settings.sources.values()), fitted.examples))
    assert counts[0][0] == pytest.approx(0.2 * counts[1][0], rel=0.1)
    assert counts[0][1] == counts[1][1]


def test_without_improvement_training_stops_and_keeps_the_best(
    data: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = iter([0.5, 0.7, 0.6, 0.7])
    kept: list[dict[str, Tensor]] = []

    def judged(self: loop.Trainer) -> float:
        kept.append({name: p.detach().clone() for name, p in self.network.named_parameters()})
        return next(accuracies)

    monkeypatch.setattr(loop.Trainer, "judge", judged)
    train([data], tmp_path, config(backbone, steps=30, patience=2), threads=1)
    steps, evaluations = log(tmp_path)
    assert [line["held_out_accuracy"] for line in evaluations] == [0.5, 0.7, 0.6, 0.7]
    assert steps[-1]["step"] == 12
    weight = load_file(tmp_path / "heads.safetensors")["weight"]
    assert torch.equal(weight, kept[1]["heads.weight"])
    assert not torch.equal(weight, kept[3]["heads.weight"])


class FakeVision(nn.Module):
    """Sees the mean colour."""

    width = 3

    def forward(self, images: list[Image]) -> Tensor:
        from io import BytesIO

        from PIL import Image as Pictures

        means = [
            np.asarray(Pictures.open(BytesIO(image.data)).convert("RGB")).mean((0, 1))
            for image in images
        ]
        return torch.tensor(np.array(means) / 255, dtype=torch.float32)


@pytest.mark.slow
def test_what_only_pictures_show_is_learned_with_them_alone(
    backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from armap_agents.reward.backbones import vision

    monkeypatch.setattr(vision, "open_vision", lambda name: FakeVision())
    data = TinyData(pictures=True).save(tmp_path / "data")
    found = {}
    for images in (False, True):
        asked = config(backbone, images=images, steps=60, learning_rate=2e-2)
        found[images] = train([data], tmp_path / str(images), asked, threads=1)
    assert found[True].environments["counting"].rendering.images
    assert found[True].accuracy["all"] > 0.9
    assert found[False].accuracy["all"] < 0.75


def test_data_without_values_trains_too(data: Path, backbone: str, tmp_path: Path) -> None:
    bare = tmp_path / "data"
    bare.mkdir()
    for name in ("trajectories.jsonl", "pairs.jsonl"):
        (bare / name).write_bytes((data / name).read_bytes())
    settings = train([bare], tmp_path / "model", config(backbone, steps=3), threads=1)
    assert settings.training["step"] == 3


def test_knowledge_reaches_the_renderings(data: Path, backbone: str, tmp_path: Path) -> None:
    rules = (("1 2", "8 9"),)
    settings = train([data], tmp_path, config(backbone, steps=1, knowledge=rules), threads=1)
    assert settings.environments["counting"].rendering.knowledge == rules
