"""Examples and packs: what reads the same is encoded once, budgets hold, the order is fixed."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_data import TinyData, picture

from armap_agents.errors import ConfigurationError
from armap_agents.reward.backbones import Part
from armap_agents.reward.render import Rendered, Rendering
from armap_agents.training.batches import Batches, Pack
from armap_agents.training.examples import Examples
from armap_agents.training.held_out import sides, successes
from armap_agents.training.pairs import LESS
from armap_agents.training.records import Dataset, Pair, load_dataset
from armap_agents.trajectory import Image, Observation, Task, Trajectory


def parts(rendered: Rendered) -> list[Part]:
    """A part a step, one position a letter; the ids are the letters."""
    texts = [f"{rendered.instruction} {step.text}" for step in rendered.steps]
    return [Part(tuple(map(ord, text)), (), len(text)) for text in texts]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(TinyData(steps=4).save(tmp_path_factory.mktemp("tiny") / "data"))


@pytest.fixture(scope="module")
def examples(dataset: Dataset) -> Examples:
    return Examples(dataset, {"counting": Rendering()}, parts)


def epoch(batches: Batches, number: int = 0) -> list[Pack]:
    packs = []
    for pack in batches.packs(number):
        packs.append(pack)
        if pack.epoch > number:
            return packs
    raise AssertionError("packs end")


def positions(examples: Examples, pack: Pack) -> int:
    items = sides(examples.pairs[index] for index in pack.pairs)
    distinct = {part.key: part.length for item in items for part in examples.parts(item)}
    return sum(distinct.values())


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(2, 40), room=st.integers(1, 3000), seed=st.integers(0, 5))
def test_packs_keep_both_bounds_and_meet_every_pair_once_an_epoch(
    examples: Examples, rows: int, room: int, seed: int
) -> None:
    packs = epoch(Batches(examples, rows, room, seed))
    assert sorted(i for pack in packs for i in pack.pairs) == list(range(len(examples.pairs)))
    for pack in packs:
        items = {
            i for p in pack.pairs for i in (examples.pairs[p].chosen, examples.pairs[p].rejected)
        }
        alone = len(pack.pairs) == 1
        assert alone or (len(items) <= rows and positions(examples, pack) <= room)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60))
def test_packs_from_a_later_place_are_the_same(examples: Examples, taken: int) -> None:
    batches = Batches(examples, 12, 600, 7)
    stream = batches.packs()
    last = list(islice(stream, taken))[-1]
    rest = batches.packs(last.epoch, last.offset)
    assert list(islice(stream, 5)) == list(islice(rest, 5))


def test_epochs_and_seeds_differ(examples: Examples) -> None:
    batches = Batches(examples, 12, 600, 0)
    assert epoch(batches, 0)[0].pairs != epoch(batches, 1)[0].pairs
    assert epoch(batches, 0)[0].pairs != epoch(Batches(examples, 12, 600, 1), 0)[0].pairs


def test_a_batch_says_of_its_items_what_the_data_says(examples: Examples) -> None:
    batches = Batches(examples, 12, 600, 0)
    known = {tuple(p.key for p in examples.parts(i)): i for i in range(len(examples.items))}
    riding = 0
    for pack in epoch(batches):
        batch = batches.batch(pack)
        items = [known[tuple(p.key for p in item)] for item in batch.items]
        assert len(set(items)) == len(items)
        assert batch.parts == len({p.key for item in batch.items for p in item})
        for index, chosen, rejected in zip(
            pack.pairs, batch.chosen.tolist(), batch.rejected.tolist(), strict=True
        ):
            pair = examples.pairs[index]
            assert (items[chosen], items[rejected]) == (pair.chosen, pair.rejected)
        for place, value in zip(batch.valued.tolist(), batch.values.tolist(), strict=True):
            assert value == pytest.approx(examples.values[items[place]])
        compared = {*batch.chosen.tolist(), *batch.rejected.tolist()}
        riding += len(set(batch.valued.tolist()) - compared)
    assert riding  # prefixes whose steps are encoded anyway bring their values along


def test_pairs_of_similar_length_come_together(tmp_path: Path) -> None:
    short = load_dataset(TinyData(steps=2, tasks=60).save(tmp_path / "short"))
    long = load_dataset(TinyData("other", steps=30, tasks=8).save(tmp_path / "long"))
    both = Dataset(
        short.trajectories | long.trajectories, short.pairs + long.pairs, short.values + long.values
    )
    examples = Examples(both, {"counting": Rendering(), "other": Rendering()}, parts)
    mixed = 0
    packs = epoch(Batches(examples, 8, 10_000, 0))
    for pack in packs:
        lengths = [examples.characters(examples.pairs[index].chosen) for index in pack.pairs]
        mixed += max(lengths) > 4 * min(lengths)
    assert mixed < len(packs) / 10


def test_items_that_read_the_same_are_one(dataset: Dataset) -> None:
    doubled = Dataset(dataset.trajectories, dataset.pairs * 2, dataset.values * 2)
    once, twice = (Examples(data, {"counting": Rendering()}, parts) for data in (dataset, doubled))
    assert (once.pairs, once.values, once.finished) == (twice.pairs, twice.values, twice.finished)
    newest = Examples(dataset, {"counting": Rendering(history="newest")}, parts)
    assert len(newest.items) < len(once.items)


def test_the_worse_side_may_have_an_instruction_of_its_own(dataset: Dataset) -> None:
    pair = dataset.pairs[0]
    same = replace(pair, rejected=pair.chosen, rejected_steps=pair.chosen_steps)
    other = replace(same, rejected_instruction="another")
    found = Examples(
        Dataset(dataset.trajectories, [same, other], []), {"counting": Rendering()}, parts
    )
    (kept,) = found.pairs  # a pair of a trajectory with itself says nothing
    assert found.items[kept.rejected].rendered.instruction == "another"
    assert found.items[kept.chosen].rendered.instruction == pair.instruction


def test_tokenising_waits_until_it_is_needed(dataset: Dataset) -> None:
    asked: list[Rendered] = []

    def counted(rendered: Rendered) -> list[Part]:
        asked.append(rendered)
        return parts(rendered)

    examples = Examples(dataset, {"counting": Rendering()}, counted)
    assert asked == []
    next(Batches(examples, 8, 500, 0).packs())
    assert 0 < len(asked) < len(examples.items) / 2


def test_a_picture_that_is_none_is_found_before_training() -> None:
    def data(image: Image) -> Dataset:
        seen = Observation("", image=image)
        shown = Trajectory(Task("1", "counting"), "see", seen)
        blind = Trajectory(Task("1", "counting"), "see", Observation("x"))
        pair = Pair("counting", "see", shown.id, 0, blind.id, 0, "1")
        return Dataset({shown.id: shown, blind.id: blind}, [pair])

    shown = {"counting": Rendering(images=True)}
    assert len(Examples(data(picture((1, 2, 3))), shown, parts).items) == 2
    broken = data(Image(b"no picture"))
    with pytest.raises(ConfigurationError, match=r"is no picture.*--no-images"):
        Examples(broken, shown, parts)
    assert len(Examples(broken, {"counting": Rendering()}, parts).items) == 2


def test_of_two_that_both_fall_short_neither_is_a_success(dataset: Dataset) -> None:
    def known(pairs: list[Pair]) -> dict[int, bool]:
        told = Dataset(dataset.trajectories, pairs)
        return successes(Examples(told, {"counting": Rendering()}, parts))

    right = known(dataset.pairs)
    assert set(right.values()) == {True, False}
    short = known([replace(pair, kind=LESS) for pair in dataset.pairs])
    assert (short.keys(), set(short.values())) == (right.keys(), {False})
    assert not known([replace(pair, source="environment") for pair in dataset.pairs])
