import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armap_agents import ArmapError, Image, Observation, Status, Step, Task, Trajectory

texts = st.text(max_size=20)
images = st.builds(Image, st.binary(max_size=30), st.sampled_from(["image/png", "image/jpeg"]))
values = st.dictionaries(texts, st.integers() | texts | st.none(), max_size=2)
observations = st.builds(
    Observation,
    text=texts,
    actions=st.none() | st.lists(texts, max_size=3).map(tuple),
    templates=st.lists(texts, max_size=2).map(tuple),
    schema=st.none() | values,
    image=st.none() | images,
    attachments=st.dictionaries(texts, images, max_size=2),
    facts=values,
)
tasks = st.builds(
    Task, id=texts, environment=texts, data=values, max_steps=st.none() | st.integers(1)
)
trajectories = st.builds(
    Trajectory,
    task=tasks,
    instruction=texts,
    observation=observations,
    steps=st.lists(st.builds(Step, texts, observations, st.booleans()), max_size=4).map(tuple),
    status=st.sampled_from(Status),
    error=st.none() | texts,
)


@given(trajectories)
def test_inline_json_round_trip_is_exact(trajectory: Trajectory) -> None:
    wire = json.loads(json.dumps(trajectory.to_dict(inline=True)))
    assert Trajectory.from_dict(wire) == trajectory


@given(trajectories)
def test_references_resolve_through_blobs(trajectory: Trajectory) -> None:
    shown = [trajectory.observation, *(s.observation for s in trajectory.steps)]
    pictures = [o.image for o in shown if o.image] + [
        i for o in shown for i in o.attachments.values()
    ]
    blobs = {image.sha256: image.data for image in pictures}
    wire = json.loads(json.dumps(trajectory.to_dict()))
    assert "base64" not in json.dumps(wire["steps"]) or any(
        "base64" in s.action for s in trajectory.steps
    )
    assert Trajectory.from_dict(wire, blobs.__getitem__) == trajectory


@given(trajectories, st.data())
def test_prefix_keeps_beginning_and_opens(trajectory: Trajectory, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(trajectory)))
    prefix = trajectory.prefix(k)
    assert prefix.steps == trajectory.steps[:k]
    if k < len(trajectory):
        assert prefix.status is Status.OPEN
        assert prefix.error is None
    else:
        assert prefix == trajectory


def test_prefix_out_of_range() -> None:
    trajectory = Trajectory(Task("1", "e"), "do", Observation("o"))
    with pytest.raises(ValueError, match="prefix"):
        trajectory.prefix(1)


def test_id_is_over_content_not_status() -> None:
    base = Trajectory(Task("1", "e"), "do", Observation("o")).extended(Step("a", Observation("p")))
    failed = Trajectory.from_dict(base.to_dict() | {"status": "failed", "error": "x"})
    assert failed.id == base.id
    assert base.prefix(0).id != base.id


def test_fingerprint_ignores_pixels() -> None:
    one = Observation("o", ("a",), image=Image(b"1"))
    assert one.fingerprint == Observation("o", ("a",), image=Image(b"2")).fingerprint
    assert one.fingerprint != Observation("o", ("b",)).fingerprint
    assert one.fingerprint != Observation("o").fingerprint


def test_image_without_bytes_names_the_cure() -> None:
    with pytest.raises(ArmapError, match="inline=True"):
        Image.from_dict(Image(b"x").to_dict())


def test_damaged_image_is_noticed() -> None:
    with pytest.raises(ArmapError, match="damaged"):
        Image.from_dict(Image(b"x").to_dict(), lambda _: b"y")


def test_task_needs_id_and_environment() -> None:
    with pytest.raises(ArmapError, match="environment"):
        Task.from_dict({"id": "1"})
