"""What is learned and what is held out: whole tasks, and nothing of the one shown in the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_data import TinyData, write_data

from armap_agents.errors import ConfigurationError
from armap_agents.training import domain as domains
from armap_agents.training.pairs import LESS
from armap_agents.training.records import Dataset, Pair, PrefixValue, load_dataset
from armap_agents.training.split import (
    Split,
    draw_split,
    part_of,
    read_folders,
    share_of,
    split_tasks,
)
from armap_agents.trajectory import Observation, Status, Step, Task, Trajectory


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(TinyData(steps=4).save(tmp_path_factory.mktemp("tiny") / "data"))


def keyed(tasks: Sequence[str], environment: str = "counting") -> Dataset:
    return Dataset(pairs=[Pair(environment, "", "a", 1, "b", 1, task) for task in tasks])


@given(st.sets(st.text(max_size=5), min_size=2, max_size=60), st.floats(0.01, 0.5))
def test_held_out_tasks_are_a_fixed_share(tasks: set[str], share: float) -> None:
    learn, kept = split_tasks(keyed(sorted(tasks)), share, 0)
    assert (learn, kept) == split_tasks(keyed(sorted(tasks, reverse=True) * 2), share, 0)
    assert {task for _, task in learn + kept} == tasks
    assert len(learn) + len(kept) == len(tasks)
    assert share * len(tasks) <= len(kept) < share * len(tasks) + 1


def test_another_seed_holds_out_other_tasks() -> None:
    data = keyed([str(i) for i in range(400)])
    assert set(split_tasks(data, 0.1, 0)[1]) != set(split_tasks(data, 0.1, 1)[1])


@given(st.integers(1, 80), st.integers(0, 80), st.floats(0.01, 1), st.floats(0.01, 1))
def test_smaller_shares_lie_inside_larger_ones(a: int, b: int, one: float, two: float) -> None:
    tasks = [("x", str(i)) for i in range(a)] + [("y", str(i)) for i in range(b)]
    small, large = (set(share_of(tasks, share)) for share in sorted((one, two)))
    assert small <= large
    assert {name for name, _ in small} == {name for name, _ in tasks}  # nobody is left out
    assert share_of(tasks, 1.0) == tasks


def test_part_of_takes_the_records_of_its_tasks(dataset: Dataset) -> None:
    part = part_of(dataset, [("counting", "3"), ("other", "4")])
    assert {pair.task for pair in part.pairs} == {value.task for value in part.values} == {"3"}


def test_what_a_domain_says_belongs_together_is_held_out_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shelves:
        def group(self, trajectory: Trajectory) -> str | None:
            number = int(trajectory.task.id)
            return f"shelf {number % 3}" if number < 20 else None

    folders = [TinyData(environment=name).save(tmp_path / name) for name in ("counting", "shelved")]
    monkeypatch.setitem(domains._factories, "shelved", Shelves)
    data = read_folders(folders)
    for record in (*data.pairs, *data.values):
        trajectory = record.chosen if isinstance(record, Pair) else record.trajectory
        number = int(data.trajectories[trajectory].task.id)
        shelved = record.environment == "shelved" and number < 20
        assert record.task == (f"shelf {number % 3}" if shelved else str(number))
    assert len(data.pairs) == 2 * len(load_dataset(folders[0]).pairs)


def test_too_few_tasks_to_hold_some_out_is_said() -> None:
    for share, tasks in ((0.1, ["1"]), (0.9, ["1", "2"])):
        with pytest.raises(ConfigurationError, match="too few tasks of counting"):
            split_tasks(keyed(tasks), share, 0)
    for share in (0.0, 1.0):
        with pytest.raises(ConfigurationError, match=f"--held-out {share:g} leaves nothing"):
            split_tasks(keyed(["1", "2"]), share, 0)


SHELF = "Get {} from the shelf"


class Shelf:
    """Knows what was taken; every opening leads to everything."""

    def group(self, trajectory: Trajectory) -> str | None:
        return trajectory.actions[-1].removeprefix("take ")


def taken(opening: int, thing: str) -> Trajectory:
    step = Step(f"take {thing}", Observation("Yours."))
    task = Task(str(opening), "shelf")
    return Trajectory(task, "", Observation("A shelf."), (step,), Status.ENDED)


def shelf(visits: int = 40) -> Dataset:
    """Two things taken at each opening, paired both ways, under both instructions, and valued."""
    data = Dataset()
    for k in range(visits):
        things = f"thing {k}", f"thing {(7 * k + 3) % visits}"
        both = [taken(k, thing) for thing in things]
        asked = [SHELF.format(thing) for thing in things]
        data.trajectories |= {trajectory.id: trajectory for trajectory in both}
        for (good, text), (bad, other) in permutations(zip(both, asked, strict=True)):
            pair = Pair("shelf", text, good.id, 1, bad.id, 1, str(k))
            crossed = replace(pair, rejected=good.id, rejected_instruction=other)
            data.pairs += [pair, crossed, replace(pair, kind=LESS, chosen=bad.id, rejected=good.id)]
            data.values.append(PrefixValue("shelf", other, good.id, 1, 8, 1.0, str(k)))
    return data


@pytest.fixture
def shelves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(domains._factories, "shelf", Shelf)
    return write_data(shelf(), tmp_path / "shelf")


def items(data: Dataset) -> set[tuple[str, str]]:
    found = {(pair.chosen, pair.instruction) for pair in data.pairs}
    found |= {(p.rejected, p.rejected_instruction or p.instruction) for p in data.pairs}
    return found | {(value.trajectory, value.instruction) for value in data.values}


def test_a_record_is_about_what_its_instruction_asks_for(shelves: Path) -> None:
    data = read_folders([shelves])
    for record in (*data.pairs, *data.values):
        assert SHELF.format(record.task) == record.instruction


@pytest.mark.parametrize("seed", range(5))
def test_nothing_that_is_learned_is_held_out_under_the_same_instruction(
    shelves: Path, seed: int
) -> None:
    data = read_folders([shelves])
    split = draw_split(data, 0.2, 1.0, seed)
    learn, kept = split.of(data)
    assert kept.pairs
    assert not items(learn) & items(kept)
    assert {("shelf", record.task) for record in kept.pairs} == split.held_out
    assert {("shelf", record.task) for record in learn.pairs} <= split.learned
    assert not split.learned & split.held_out
    # What is lost shows a held-out thing; the rest is there.
    rest = part_of(data, split.learned).pairs
    lost = [pair for pair in rest if pair not in learn.pairs]
    assert 0 < len(lost) < 0.3 * len(rest)
    assert all(not items(Dataset(pairs=[pair])).isdisjoint(items(kept)) for pair in lost)
    assert Split.from_json(split.to_json()) == split


def test_values_of_a_folder_none_of_whose_pairs_is_wanted_are_left_out(tmp_path: Path) -> None:
    self_made = TinyData().save(tmp_path / "self-made")
    labelled = TinyData(environment="labelled", sources=("environment",)).save(tmp_path / "true")
    both = read_folders([self_made, labelled])
    assert {value.environment for value in both.values} == {"counting", "labelled"}
    wanted = read_folders([self_made, labelled], ("perturb",))
    assert {record.environment for record in (*wanted.pairs, *wanted.values)} == {"counting"}
    assert wanted.pairs == read_folders([self_made]).pairs
