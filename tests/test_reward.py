"""Serving in-process: batches, what is remembered, threads, several environments."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reward_servers import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tiny_reward import CALIBRATION, GAME, GAME24, MAZE, save_random_reward

from armap_agents import resources
from armap_agents.errors import ArmapError, ConfigurationError
from armap_agents.reward import load_reward
from armap_agents.reward.loaded import BoundReward
from armap_agents.reward.render import Rendering
from armap_agents.reward.settings import EnvironmentSettings
from armap_agents.reward_model import RewardModel
from armap_agents.tools.game24.environment import play, puzzle_task
from armap_agents.trajectory import Image, Observation, Step, Task, Trajectory


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random model of one environment."""
    return save_random_reward(tmp_path_factory.mktemp("reward") / "model", {"game24": GAME24})


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random model of two environments."""
    known = {"game24": GAME24, "maze": MAZE}
    return save_random_reward(tmp_path_factory.mktemp("reward") / "both", known)


@pytest.fixture
def model(both: Path) -> Iterator[Any]:
    loaded = load_reward(both)
    yield loaded
    asyncio.run(loaded.aclose())


def states() -> list[Trajectory]:
    from armap_agents.tools.game24.arithmetic import legal_steps, numbers_left

    task = puzzle_task([4, 9, 10, 13])
    first = [play(task, [step]) for step, _ in legal_steps(numbers_left([4, 9, 10, 13]))]
    return [*first, GAME, GAME.prefix(1), GAME.prefix(2)]


def walk(length: int, instruction: str = "1 2") -> Trajectory:
    steps = tuple(Step(f"{i}", Observation(f"{i + 1} {i + 2}")) for i in range(length))
    return Trajectory(Task("t", "maze"), instruction, Observation("0"), steps)


def spied(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of how many parts each batch that is encoded has."""
    sizes: list[int] = []
    encode: Callable[[Sequence[Any]], Any] = model._network.backbone.encode

    def noted(parts: Sequence[Any]) -> Any:
        sizes.append(len(parts))
        return encode(parts)

    monkeypatch.setattr(model._network.backbone, "encode", noted)
    return sizes


def test_importing_the_package_imports_no_torch() -> None:
    code = (
        "import sys, armap_agents.reward, armap_agents.graphs.mcts, armap_agents.graphs.reflexion;"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


async def test_scores_depend_neither_on_order_nor_on_the_batch(folder: Path) -> None:
    model = load_reward(folder)
    assert isinstance(model, RewardModel)
    together = await model.ascore(states())
    assert len({round(score, 6) for score in together}) > 20
    alone_model = load_reward(folder)
    alone = [(await alone_model.ascore([t]))[0] for t in reversed(states())][::-1]
    assert alone == pytest.approx(together, abs=1e-5)
    assert await model.ascore(states()[::-1]) == pytest.approx(together[::-1], abs=1e-5)
    assert await model.ascore([]) == await model.avalue([]) == []
    values = await model.avalue(states())
    assert all(0 < value < 1 for value in values)
    assert len({round(value, 6) for value in values}) > 20
    await model.aclose()
    await alone_model.aclose()


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_cores")
def test_many_batches_are_encoded_side_by_side_on_a_core_each(
    both: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from armap_agents.reward.scorer import _Memory

    model: Any = load_reward(both)
    alone = [model.score([walk(length)])[0] for length in range(1, 8)]
    model._memory = _Memory(2**20)
    model._network.batch_positions = 1  # eight parts, a batch for each
    meeting, threads = threading.Barrier(2, timeout=30), list[int]()
    encode = model._network.backbone.encode

    def met(parts: Sequence[Any]) -> Any:
        meeting.wait()  # as long as no other thread encodes as well
        threads.append(torch.get_num_threads())
        return encode(parts)

    monkeypatch.setattr(model._network.backbone, "encode", met)
    assert model.score([walk(length) for length in range(1, 8)]) == pytest.approx(alone, abs=1e-5)
    assert threads == [1] * 8
    with ThreadPoolExecutor(1) as new:
        assert new.submit(torch.get_num_threads).result() == 2, "others keep their threads"
    assert torch.get_num_threads() == 2
    asyncio.run(model.aclose())
    assert not [t for t in threading.enumerate() if t.name.startswith("armap-")]


@pytest.mark.usefixtures("two_cores")
def test_a_single_batch_is_encoded_with_all_cores(
    both: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    model: Any = load_reward(both)
    threads: list[int] = []
    encode = model._network.backbone.encode
    monkeypatch.setattr(
        model._network.backbone,
        "encode",
        lambda parts: (threads.append(torch.get_num_threads()), encode(parts))[1],
    )
    model.score([walk(7)])
    assert threads == [2]
    asyncio.run(model.aclose())


def test_a_longer_prefix_costs_one_part_and_its_value_none(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = spied(model, monkeypatch)
    model.score([walk(5)])
    assert sum(sizes) == 6
    model.score([walk(6), walk(5), walk(3)])
    assert sum(sizes) == 7
    model.value([walk(6), walk(2)])
    assert sum(sizes) == 7, "score and value of a prefix share what was encoded"
    model.score([walk(6, "another instruction")])
    assert sum(sizes) == 14, "a step is read beside its instruction"


def test_equal_trajectories_are_scored_once(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pooled: list[int] = []
    pool = model._network.backbone.pool

    def noted(vectors: Any, counts: Sequence[int]) -> Any:
        pooled.append(len(counts))
        return pool(vectors, counts)

    monkeypatch.setattr(model._network.backbone, "pool", noted)
    scores = model.score([walk(2), walk(3)] * 20)
    assert pooled == [2]
    assert scores == scores[:2] * 20


def test_memory_is_bounded_and_forgets_what_was_used_longest_ago() -> None:
    import numpy as np

    from armap_agents.reward.scorer import _Memory

    memory = _Memory(budget=3 * 16)
    vectors = {bytes([i]): np.full(4, i, np.float32) for i in range(5)}
    for key in (b"\0", b"\1", b"\2"):
        memory.put(key, vectors[key])
    assert memory.get(b"\0") is not None
    memory.put(b"\3", vectors[b"\3"])
    assert [memory.get(bytes([i])) is not None for i in range(4)] == [True, False, True, True]


def test_more_than_the_memory_and_the_slice_hold_is_scored_all_the_same(
    both: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from armap_agents.reward import scorer

    items = [walk(i % 7, str(i)) for i in range(40)]
    expected = load_reward(both).score(items)
    monkeypatch.setattr(scorer, "REMEMBERED_BYTES", 1000)
    monkeypatch.setattr(scorer, "SLICE", 3)
    assert load_reward(both).score(items) == pytest.approx(expected, abs=1e-5)


def test_a_trajectory_longer_than_any_budget_is_scored(model: Any) -> None:
    long = replace(walk(400, "7 " * 3000), observation=Observation("5 " * 100_000))
    [score] = model.score([long])
    assert score == score
    assert abs(score) < 1e6


async def test_each_environment_has_its_own_rendering_scale_and_calibration(both: Path) -> None:
    model = load_reward(both)
    assert model.environments == ("game24", "maze")
    same = replace(GAME, task=replace(GAME.task, environment="maze"))
    foreign = replace(GAME, task=replace(GAME.task, environment="elsewhere"))
    scores = await model.ascore([GAME, same, foreign])
    assert scores[0] != scores[1]
    assert scores[0] == scores[2], "a foreign environment is read like the first"
    game, maze = model.of("game24"), model.of("maze")
    assert isinstance(game, RewardModel)
    assert (game.mean, game.std, maze.mean, maze.std) == (0.5, 2.0, -1.0, 3.0)
    assert game.fingerprint == maze.fingerprint == model.fingerprint
    assert await maze.ascore([GAME, same]) == pytest.approx(scores[:2], abs=1e-6)
    assert await game.avalue([GAME]) == await model.avalue([GAME])
    assert game.score([GAME]) == pytest.approx(scores[:1], abs=1e-6)
    assert maze.value([GAME]) == await model.avalue([GAME])
    assert game.probability([0.3]) == CALIBRATION.probability([0.3])
    assert game.preference(1.0, 0.0) == CALIBRATION.preference(1.0, 0.0)
    assert not hasattr(maze, "probability")
    assert not hasattr(maze, "preference")
    await model.aclose()


def test_a_foreign_environment_has_no_scale_and_no_calibration(folder: Path) -> None:
    foreign = load_reward(folder).of("elsewhere")
    assert (foreign.mean, foreign.std) == (0.0, 1.0)
    assert not hasattr(foreign, "probability")
    assert not hasattr(foreign, "preference")


def test_a_model_of_several_environments_says_how_to_ask(both: Path, folder: Path) -> None:
    model, only = load_reward(both), load_reward(folder)
    for ask in (
        lambda: model.mean,
        lambda: model.std,
        lambda: model.probability([0.0]),
        lambda: model.preference(0.0, 1.0),
    ):
        with pytest.raises(ConfigurationError, match=r"use `model\.of\(environment\)`"):
            ask()
    assert (only.mean, only.std) == (0.5, 2.0)
    assert only.probability([0.1, 0.2]) == CALIBRATION.probability([0.1, 0.2])
    assert only.preference(0.1, 0.2) == CALIBRATION.preference(0.1, 0.2)


def test_a_model_without_calibration_has_no_probability(tmp_path: Path) -> None:
    model = load_reward(save_random_reward(tmp_path / "model", {"maze": MAZE}))
    assert not hasattr(model, "probability")
    assert not hasattr(model, "preference")
    assert not hasattr(model.of("maze"), "probability")


def test_without_torch_folders_and_vllm_servers_say_so_alike(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def models(_: Request) -> Response:
        return JSONResponse({"data": [{"id": "reward", "root": str(folder)}]})

    monkeypatch.setitem(sys.modules, "torch", None)
    with serving(Starlette(routes=[Route("/v1/models", models)])) as url:
        for source in (str(folder), url):
            with pytest.raises(ConfigurationError, match=r"need torch: .*armap-agents\[reward\]"):
                load_reward(source)


async def test_planners_get_the_scale_of_their_environment(both: Path) -> None:
    from armap_agents.graphs.context import PlannerContext
    from armap_agents.graphs.nodes import open_reward

    context = PlannerContext(reward=str(both))
    async with resources():
        bound = await open_reward(context, "maze")
        assert isinstance(bound, BoundReward)
        assert bound.mean == -1.0
        assert (await open_reward(context)).fingerprint == bound.fingerprint


def test_the_fingerprint_names_settings_and_weights(folder: Path, tmp_path: Path) -> None:
    before = load_reward(folder).fingerprint
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "README.md").write_text("a card")
    assert load_reward(other).fingerprint == before
    settings = json.loads((other / "reward.json").read_text())
    settings["environments"]["game24"]["mean"] = 0.6
    (other / "reward.json").write_text(json.dumps(settings))
    changed = load_reward(other)
    assert changed.fingerprint != before
    shutil.copytree(folder, other, dirs_exist_ok=True)
    assert changed.fingerprint != before, "it is that of what was loaded"
    assert load_reward(other).fingerprint == before


async def test_the_event_loop_stays_free_while_the_model_computes(
    both: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = load_reward(both)
    began, go_on = threading.Event(), threading.Event()
    encode = model._network.backbone.encode

    def held(parts: Sequence[Any]) -> Any:
        began.set()
        go_on.wait(30)
        return encode(parts)

    monkeypatch.setattr(model._network.backbone, "encode", held)
    first = asyncio.create_task(model.ascore([walk(1)]))
    await asyncio.to_thread(began.wait, 30)
    assert not first.done()
    others = [asyncio.create_task(model.ascore([walk(n)])) for n in range(2, 6)]
    gone = asyncio.create_task(model.ascore([walk(90)]))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    sizes = spied(model, monkeypatch)
    go_on.set()
    scores = [(await task)[0] for task in [first, *others]]
    assert sizes == [4], "who waited became one batch, who went away no part of it"
    assert scores == pytest.approx(model.score([walk(n) for n in range(1, 6)]), abs=1e-5)


async def test_it_outlives_event_loops_and_ends_when_it_is_closed(folder: Path) -> None:
    model = load_reward(folder)
    inside = await asyncio.to_thread(lambda: asyncio.run(model.ascore([GAME])))
    assert inside == await model.ascore([GAME])
    await model.aclose()
    with pytest.raises(ArmapError, match="closed"):
        await model.ascore([GAME])
    with pytest.raises(ArmapError, match="closed"):
        model.score([GAME])


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random model that looks at images."""
    from safetensors.torch import save_file

    from armap_agents.reward.backbones.vision import ImageEncoder

    root = tmp_path_factory.mktemp("seeing")
    (root / "eyes").mkdir()
    state = ImageEncoder().state_dict()
    tensors = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    save_file(tensors, root / "eyes" / "model.safetensors")
    shown = EnvironmentSettings(Rendering(images=True))
    return save_random_reward(root / "model", {"shop": shown}, {"vision": str(root / "eyes")})


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("positions", [1, 512])
async def test_a_broken_image_is_one_error_for_those_who_sent_it(
    seeing: Path, positions: int
) -> None:
    model: Any = load_reward(seeing)
    model._network.batch_positions = positions
    broken = Observation("2", image=Image(b"\x89PNG\r\n\x1a\n and no more"))
    bad = Trajectory(Task("7", "shop"), "1", broken)
    good = Trajectory(Task("8", "shop"), "1", Observation("2"))
    found = await asyncio.gather(
        model.ascore([good]),
        model.ascore([good, bad]),
        model.ascore([good]),
        return_exceptions=True,
    )
    assert found[0] == found[2] == await model.ascore([good])
    assert isinstance(found[1], ArmapError)
    assert "\n" not in str(found[1])
    assert f"trajectory {bad.id} (task 7)" in str(found[1])
    assert len(await model.ascore([good])) == 1, "it goes on"
    await model.aclose()
