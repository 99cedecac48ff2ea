from pathlib import Path

import pytest

from armap_agents import ArmapError, Image, Observation, Task, Trajectory
from armap_agents.trace import Journal, read_events


async def test_events_survive_and_the_first_of_an_id_counts(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path, "r")
    first = journal.record("a", "policy", text="one")
    assert journal.record("a", "policy", text="two") == first
    again = await Journal.open(tmp_path, "r")
    assert again.find("a") == first
    assert again.find("b") is None
    assert [event["id"] for event in read_events(tmp_path / "r" / "trace.jsonl")] == ["a"]


@pytest.mark.parametrize("cut", range(1, 40))
async def test_a_torn_last_line_loses_that_line_alone(tmp_path: Path, cut: int) -> None:
    journal = await Journal.open(tmp_path, "r")
    for name in "abc":
        journal.record(name, "policy", text="é" * 20)
    path = tmp_path / "r" / "trace.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    again = await Journal.open(tmp_path, "r")
    assert again.find("b")
    assert again.find("c") is None
    again.record("c", "policy", text="anew")
    assert [event["id"] for event in read_events(path)] == ["a", "b", "c"]


async def test_damage_in_the_middle_is_no_silent_loss(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "trace.jsonl").write_text('{"id": "a", "kind": "x"}\nrubbish\n{"id": "b"}\n')
    with pytest.raises(ArmapError, match="line 2 is damaged"):
        await Journal.open(tmp_path, "r")


@pytest.mark.parametrize("name", ["../up", "", "a/b", ".hidden", "x" * 200])
async def test_run_names_are_plain(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArmapError, match="no name for a run"):
        await Journal.open(tmp_path, name)


async def test_pictures_lie_beside_once_and_come_back(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path, "r")
    image = Image(b"pixels", "image/jpeg")
    trajectory = Trajectory(
        Task("1", "e"), "do", Observation("o", image=image, attachments={"page": image})
    )
    stored = await journal.store(trajectory)
    assert "base64" not in str(stored)
    assert [blob.name for blob in (tmp_path / "r" / "blobs").iterdir()] == [image.sha256]
    assert journal.load(stored) == trajectory
    with pytest.raises(ArmapError, match="no picture"):
        journal.blob("../trace.jsonl")


async def test_a_fork_takes_over_what_was_done_and_not_how_it_was_gone_on_with(
    tmp_path: Path,
) -> None:
    journal = await Journal.open(tmp_path, "parent")
    journal.record("run", "run", context={"rollouts": 8})
    journal.record("backup/0", "backup")
    journal.record("context/0", "context", context={"rollouts": 16})
    journal.record("backup/1", "backup")
    journal.record("backup/2", "backup")
    child = await journal.fork("child", "backup/1", context={"rollouts": 4})
    assert [event["id"] for event in child.events()] == ["run", "backup/0", "backup/1"]
    assert child.events()[0]["context"] == {"rollouts": 4}
