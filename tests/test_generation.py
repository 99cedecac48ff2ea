"""The pipeline in a toy shop: what is written is executed, filtered, balanced and resumable."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from toy_shop import (
    CONFIG,
    FILES,
    HELD_OUT,
    ToyDomain,
    ToyShop,
    asked,
    bought,
    share,
    whole,
    written,
)

from armap_agents.environment import make_environment, restore
from armap_agents.errors import ConfigurationError, EnvironmentDied, EnvironmentFailure
from armap_agents.training.corrupt import parting
from armap_agents.training.domain import Instruction, domain
from armap_agents.training.generate import GenerateConfig, generate_data
from armap_agents.training.records import Dataset, load_dataset
from armap_agents.trajectory import Observation, Status, Trajectory


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("toyshop")
    asyncio.run(generate_data(ToyDomain(), ToyShop, out, CONFIG))
    return out


@pytest.fixture(scope="module")
def data(folder: Path) -> Dataset:
    return load_dataset(folder)


@pytest.fixture(scope="module")
def counts(folder: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((folder / "report.json").read_text())["counts"]
    return found


# --- what is written ------------------------------------------------------------------------------


async def test_every_trajectory_is_what_the_environment_shows(data: Dataset) -> None:
    shop = ToyShop()
    for id_, trajectory in data.trajectories.items():
        assert trajectory.id == id_
        seen = await restore(shop, trajectory.task, trajectory.actions)
        assert seen.text == trajectory.last.text
        assert seen.image == trajectory.last.image
        assert trajectory.observation.actions is None


def test_of_whole_pairs_the_chosen_fulfils_and_the_rejected_does_not(data: Dataset) -> None:
    pairs = [pair for pair in data.pairs if whole(data, pair) and pair.kind != "does less"]
    assert len(pairs) > 100
    for pair in pairs:
        assert share(data, pair.chosen, pair.chosen_steps, pair.instruction) == 1
        against = pair.rejected_instruction or pair.instruction
        assert share(data, pair.rejected, pair.rejected_steps, against) < 1
        assert (pair.rejected_instruction is not None) == (pair.kind == "other instruction")
        if pair.rejected_instruction is not None:
            assert pair.chosen == pair.rejected


def test_graded_pairs_differ_clearly_and_none_does_all(data: Dataset) -> None:
    graded = [pair for pair in data.pairs if pair.kind == "does less"]
    assert len(graded) > 10
    for pair in graded:
        more = share(data, pair.chosen, pair.chosen_steps, pair.instruction)
        less = share(data, pair.rejected, pair.rejected_steps, pair.instruction)
        assert less + 0.2 <= more < 1
        assert HELD_OUT not in bought(data.trajectories[pair.chosen])


def test_of_prefixes_executed_continuations_say_which_is_better(data: Dataset) -> None:
    returns = {
        (value.instruction, value.trajectory, value.steps): value.successes / value.continuations
        for value in data.values
    }
    partial = [pair for pair in data.pairs if not whole(data, pair)]
    assert len(partial) > 10
    compared = 0
    for pair in partial:
        assert pair.chosen_steps == pair.rejected_steps
        chosen, rejected = data.trajectories[pair.chosen], data.trajectories[pair.rejected]
        assert share(data, pair.chosen, len(chosen), pair.instruction) == 1
        assert pair.chosen_steps > parting(chosen.actions, rejected.actions)
        better = returns.get((pair.instruction, pair.chosen, pair.chosen_steps))
        worse = returns.get((pair.instruction, pair.rejected, pair.rejected_steps))
        if better is not None and worse is not None:  # else noted of an equal prefix elsewhere
            compared += 1
            assert worse < (better * 6 + 1) / 7
    assert compared > 5


def test_no_pair_is_there_twice_and_nothing_held_out_is_asked_for(data: Dataset) -> None:
    assert len(set(data.pairs)) == len(data.pairs)
    keys = [(v.instruction, v.trajectory, v.steps) for v in data.values]
    assert len(set(keys)) == len(keys)
    for pair in data.pairs:
        assert HELD_OUT not in asked(pair.instruction) | asked(pair.rejected_instruction or "")


def test_the_trajectory_alone_does_not_tell_which_is_better(data: Dataset) -> None:
    both = {(p.chosen, p.rejected) for p in data.pairs if whole(data, p)}
    two = [p for p in data.pairs if whole(data, p) and p.kind == "other episode"]
    assert len(two) > 10
    assert all((p.rejected, p.chosen) in both for p in two)
    alone = [p for p in data.pairs if p.kind == "other instruction"]
    crossed = {(p.instruction, p.rejected_instruction) for p in alone}
    assert len(crossed) > 5
    assert all((theirs, own) in crossed for own, theirs in crossed)


def test_a_kind_says_what_is_wrong_with_the_worse_one(data: Dataset) -> None:
    shorter = [p for p in data.pairs if whole(data, p) and p.kind == "left out"]
    assert len(shorter) > 3
    assert all(p.rejected_steps < p.chosen_steps for p in shorter)


def test_every_filter_is_counted(counts: dict[str, int], data: Dataset) -> None:
    for reason in (
        "equals the good one",
        "no effect",
        "fulfils the instruction",
        "can still succeed",
        "duplicate",
        "no instruction fits",
        "what an evaluation asks for",
        "episodes that fulfil the same",
        "does as much",
    ):
        assert counts[f"dropped: {reason}"] > 0, reason
    assert counts["pairs"] == len(data.pairs) >= 150
    assert counts["trajectories"] == len(data.trajectories)
    assert counts["values"] == len(data.values)
    kinds = Counter(pair.kind for pair in data.pairs)
    assert {kind: counts[f"pairs, {kind}"] for kind in kinds} == kinds
    assert counts["pairs by perturb"] == len(data.pairs)
    assert kinds["random episode"] <= 0.3 * len(data.pairs)
    assert kinds["random episode"] > 0
    assert counts["explored by intents"] + counts["explored uniformly"] == counts["explored"]
    assert "one more" not in kinds, "it fulfils the instruction all the same"
    assert {"hums", "nothing changed"} & set(kinds) == set()


def test_values_are_returns_of_continuations_or_of_ends(data: Dataset) -> None:
    inner = [v for v in data.values if v.steps < len(data.trajectories[v.trajectory])]
    ends = [v for v in data.values if v.steps == len(data.trajectories[v.trajectory])]
    assert all(value.continuations == 6 for value in inner)
    assert any(0 < value.successes < 6 and value.successes % 1 for value in inner)
    assert all(0 <= value.successes <= value.continuations for value in data.values)
    for value in ends:
        assert value.continuations == 1
        end = share(data, value.trajectory, value.steps, value.instruction)
        assert value.successes == pytest.approx(end)
    assert len(inner) > 20
    assert len(ends) > 20


def test_the_card_and_the_report_say_how_it_was_made(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    report = json.loads((folder / "report.json").read_text())
    assert "`armap generate toyshop` with seed 3" in card
    assert "dropped: fulfils the instruction" in card
    assert "templates" in card
    assert report["config"]["episodes"] == 6
    assert report["tasks"] == 4
    assert {"armap-agents", "python"} <= set(report["versions"])


def test_the_datasets_library_reads_the_folder(folder: Path, data: Dataset, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")

    def read(*name: str) -> Any:
        return datasets.load_dataset(str(folder), *name, split="train", cache_dir=str(tmp_path))

    assert read()["instruction"] == [pair.instruction for pair in data.pairs]
    assert read("values")["successes"] == [value.successes for value in data.values]
    assert set(read("trajectories")["id"]) == set(data.trajectories)


def test_every_line_is_json_of_one_shape(folder: Path) -> None:
    for name in FILES[:3]:
        lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        shapes = {tuple(line) for line in lines}
        assert len(shapes) == 1
        types: dict[str, set[str]] = {}
        for line in lines:
            for key, value in line.items():
                types.setdefault(key, set()).add(type(value).__name__)
        assert all(len(found - {"NoneType"}) <= 1 for found in types.values()), types


async def test_one_negative_leaves_none_for_graded_pairs(tmp_path: Path) -> None:
    config = replace(CONFIG, negatives=1, pairs=40)
    report = await generate_data(ToyDomain(), ToyShop, tmp_path, config)
    assert "pairs, does less" not in report["counts"]


async def test_half_characters_are_written_and_read(tmp_path: Path) -> None:
    class Odd(ToyShop):
        instruction = "Do as you like. \ud83d"

        def _seen(self) -> Observation:
            seen = super()._seen()
            return replace(seen, text=f"\ud800 {seen.text}")

    for pairs in (20, 40):
        await generate_data(ToyDomain(), Odd, tmp_path, replace(CONFIG, pairs=pairs))
    texts = {t.observation.text[0] for t in load_dataset(tmp_path).trajectories.values()}
    assert texts == {"\ud800"}


# --- images ---------------------------------------------------------------------------------------


def test_images_lie_there_once_and_are_read_when_looked_at(folder: Path, data: Dataset) -> None:
    shown = {
        observation.image.sha256: observation.image
        for t in data.trajectories.values()
        for observation in (t.observation, *(step.observation for step in t.steps))
        if observation.image is not None
    }
    assert {path.name for path in (folder / "images").iterdir()} == set(shown)
    some = next(iter(data.trajectories.values())).observation
    assert some.image is not None
    assert some.image.data == b"\x89PNG " + some.text.encode()
    assert "base64" not in (folder / "trajectories.jsonl").read_text()


def test_a_missing_or_damaged_image_names_its_trajectory(folder: Path, tmp_path: Path) -> None:
    copy(folder, tmp_path)
    data = load_dataset(tmp_path)
    trajectory = next(iter(data.trajectories.values()))
    image = trajectory.observation.image
    assert image is not None
    path = tmp_path / "images" / image.sha256
    path.write_bytes(b"something else")
    with pytest.raises(ConfigurationError, match=rf"'{trajectory.id}', is damaged: make the data"):
        _ = image.data
    path.unlink()
    with pytest.raises(ConfigurationError, match=rf"'{trajectory.id}', cannot be read"):
        _ = image.data
    with pytest.raises(ConfigurationError, match=r"a picture of trajectory '\w+', is missing"):
        load_dataset(tmp_path)


def copy(folder: Path, to: Path) -> None:
    (to / "images").mkdir()
    for path in (*folder.glob("*.json*"), *(folder / "images").iterdir()):
        (to / path.relative_to(folder)).write_bytes(path.read_bytes())


# --- order, kills, growth -------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_files_do_not_depend_on_what_runs_side_by_side(
    folder: Path, tmp_path: Path, concurrency: int
) -> None:
    await generate_data(ToyDomain(), SlowShop, tmp_path, CONFIG, concurrency=concurrency)
    assert written(tmp_path) == written(folder)


async def test_continuations_may_be_played_where_nobody_looks(folder: Path, tmp_path: Path) -> None:
    made: list[ToyShop] = []

    def make_unseen() -> ToyShop:
        made.append(ToyShop(render=False))
        return made[-1]

    config = replace(CONFIG, pairs=60)
    await generate_data(ToyDomain(), ToyShop, tmp_path, config, make_unseen=make_unseen)
    pairs = (tmp_path / "pairs.jsonl").read_bytes()
    assert (folder / "pairs.jsonl").read_bytes().startswith(pairs)
    assert made
    assert all(shop.closed for shop in made)
    assert list((tmp_path / "images").iterdir())


class SlowShop(ToyShop):
    """Steps that take differently long, and may only be asked for one at a time."""

    busy = False

    async def reset(self, task: Any) -> Observation:
        assert not self.busy
        return await super().reset(task)

    async def step(self, action: str) -> Any:
        assert not self.busy
        self.busy = True
        await asyncio.sleep(0.002 * (len(self._basket) % 2))
        self.busy = False
        return await super().step(action)


class Strict(ToyDomain):
    """Its instructions end an episode that takes what they do not ask for."""

    def ends(self, trajectory: Trajectory, instruction: Instruction) -> int:
        wanted = {f"take {thing}" for thing in instruction.asks["things"]}
        for k, action in enumerate(trajectory.actions, 1):
            if action.startswith("take") and action not in wanted:
                return k
        return len(trajectory)

    def fulfils(self, trajectory: Trajectory, instruction: Instruction) -> float:
        ended = trajectory.prefix(self.ends(trajectory, instruction))
        return super().fulfils(ended, instruction)


async def test_an_instruction_may_end_an_episode_before_it_did(tmp_path: Path) -> None:
    await generate_data(Strict(), ToyShop, tmp_path, CONFIG)
    data = load_dataset(tmp_path)
    early = 0
    for pair in data.pairs:
        ends = []
        for side, steps, text in (
            (pair.chosen, pair.chosen_steps, pair.instruction),
            (pair.rejected, pair.rejected_steps, pair.rejected_instruction or pair.instruction),
        ):
            trajectory = data.trajectories[side].prefix(steps)
            ends.append(Strict().ends(trajectory, Instruction(text, {"things": asked(text)})))
        assert ends == [pair.chosen_steps, pair.rejected_steps]
        rejected = data.trajectories[pair.rejected]
        cut = rejected.status is Status.ENDED and not rejected.done
        early += cut
        if pair.rejected_instruction is not None:
            assert pair.chosen_steps == pair.rejected_steps
    assert early > 20


async def test_another_seed_gives_other_data(folder: Path, tmp_path: Path) -> None:
    await generate_data(ToyDomain(), ToyShop, tmp_path, replace(CONFIG, seed=4))
    assert written(tmp_path)["pairs.jsonl"] != written(folder)["pairs.jsonl"]
    with pytest.raises(ConfigurationError, match=r"seed 4 there, 5 now.*another --out"):
        await generate_data(ToyDomain(), ToyShop, tmp_path, replace(CONFIG, seed=5))


async def test_a_folder_may_grow(folder: Path, tmp_path: Path) -> None:
    for pairs in (20, 90, 150):
        await generate_data(ToyDomain(), ToyShop, tmp_path, replace(CONFIG, pairs=pairs))
    assert written(tmp_path) == written(folder)


KILLED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_generation import CONFIG, SlowShop
from toy_shop import ToyDomain
from armap_agents.training.generate import generate_data
asyncio.run(generate_data(ToyDomain(), SlowShop, Path(sys.argv[1]), CONFIG))
"""


async def test_killed_at_any_moment_the_data_come_out_the_same(
    folder: Path, tmp_path: Path
) -> None:
    rng = Random(5)
    journal = tmp_path / "journal.jsonl"
    for units in (0, 1, 3):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)]
        )
        while child.poll() is None:
            if journal.exists() and journal.read_bytes().count(b"\n") >= units:
                time.sleep(rng.random() * 0.2)
                os.kill(child.pid, signal.SIGKILL)
                break
            time.sleep(0.002)
        child.wait()
    (tmp_path / "images" / "half").write_bytes(b"half an im")
    with (tmp_path / "pairs.jsonl").open("ab") as pairs:
        pairs.write(b'{"torn')
    await generate_data(ToyDomain(), ToyShop, tmp_path, CONFIG)
    assert written(tmp_path) == written(folder)


async def test_a_damaged_journal_or_a_cut_file_is_named(folder: Path, tmp_path: Path) -> None:
    copy(folder, tmp_path)
    (tmp_path / "pairs.jsonl").write_text("")
    with pytest.raises(ConfigurationError, match=r"pairs.jsonl is shorter than journal.jsonl says"):
        await generate_data(ToyDomain(), ToyShop, tmp_path, CONFIG)
    (tmp_path / "journal.jsonl").write_text("what?\n")
    with pytest.raises(ConfigurationError, match=r"journal.jsonl line 1 is damaged"):
        await generate_data(ToyDomain(), ToyShop, tmp_path, CONFIG)


class Barren(ToyDomain):
    """Nothing is worth asking for."""

    def instruct(self, *_: Any, **__: Any) -> None:
        return None


async def test_tasks_that_give_nothing_end_it_plainly(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"5 tasks in a row gave no new pair"):
        await generate_data(Barren(), ToyShop, tmp_path, CONFIG)


# --- failures of the environment ------------------------------------------------------------------


async def test_a_dead_environment_is_replaced_and_nothing_is_lost(
    folder: Path, tmp_path: Path
) -> None:
    made: list[ToyShop] = []
    ToyShop.taken = 0
    dies = {7, 50, 51 + 60, 400, 900, 2000}

    def make() -> ToyShop:
        made.append(ToyShop(dies=dies))
        return made[-1]

    report = await generate_data(ToyDomain(), make, tmp_path, CONFIG, concurrency=2)
    assert report["counts"]["environments replaced"] >= 3
    assert "lost: the environment failed" not in report["counts"]
    for name in FILES[:3]:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert all(shop.closed for shop in made)


class Failing(ToyShop):
    """Fails where it should hum after something was taken."""

    async def step(self, action: str) -> Any:
        if action == "hum" and self._basket:
            raise EnvironmentFailure("it cannot hum")
        return await super().step(action)


async def test_a_failure_costs_its_episode_alone(tmp_path: Path) -> None:
    report = await generate_data(ToyDomain(), Failing, tmp_path, CONFIG)
    assert report["counts"]["lost: the environment failed"] > 0
    assert len(load_dataset(tmp_path).pairs) >= 150


class Dead(ToyShop):
    async def step(self, action: str) -> Any:
        raise EnvironmentDied("no shop can be opened")


async def test_an_environment_that_always_dies_ends_it_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match=r"6 tasks .* lost.*no shop can be opened"):
        await generate_data(ToyDomain(), Dead, tmp_path, CONFIG)


async def test_a_mistake_ends_generation_and_closes_everything(tmp_path: Path) -> None:
    made: list[ToyShop] = []

    class Wrong(ToyShop):
        async def step(self, action: str) -> Any:
            raise ConfigurationError("no such level")

    def make() -> ToyShop:
        made.append(Wrong())
        return made[-1]

    with pytest.raises(ConfigurationError, match="no such level"):
        await generate_data(ToyDomain(), make, tmp_path, CONFIG)
    assert made
    assert all(shop.closed for shop in made)


# --- mixture --------------------------------------------------------------------------------------


async def test_an_environment_that_asks_for_one_thing_refuses_several(tmp_path: Path) -> None:
    make = partial(generate_data, domain("game24"), partial(make_environment, "game24"), tmp_path)
    with pytest.raises(ConfigurationError, match="leave out --constraints"):
        await make(GenerateConfig(pairs=5, constraints=2))
    assert (await make(GenerateConfig(pairs=5)))["counts"]["pairs"] >= 5


async def test_constraints_are_asked_for_at_once(tmp_path: Path) -> None:
    await generate_data(ToyDomain(), ToyShop, tmp_path, replace(CONFIG, constraints=3, pairs=60))
    texts = {pair.instruction for pair in load_dataset(tmp_path).pairs}
    assert {len(asked(text)) for text in texts} == {3}


@pytest.mark.parametrize(("uniform", "by"), [(1.0, "uniformly"), (0.0, "by intents")])
async def test_shares_decide_who_explores(tmp_path: Path, uniform: float, by: str) -> None:
    config = replace(CONFIG, uniform_share=uniform, pairs=40)
    report = await generate_data(ToyDomain(), ToyShop, tmp_path, config)
    assert report["counts"][f"explored {by}"] == report["counts"]["explored"]
