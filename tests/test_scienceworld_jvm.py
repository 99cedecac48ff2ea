"""ScienceWorld in its real Java process: as the package's wrapper, exact to replay, mortal."""

import asyncio
import gc
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from armap_agents import Task, Trajectory
from armap_agents.environment import restore
from armap_agents.errors import EnvironmentDied, EnvironmentFailure
from armap_agents.pool import EnvironmentPool
from armap_agents.tools.scienceworld import ScienceWorld
from armap_agents.tools.scienceworld.environment import UNKNOWN
from armap_agents.tools.scienceworld.jvm import OPTIONS
from armap_agents.tools.scienceworld.tasks import task_types
from armap_agents.tools.scienceworld.tool import ENDED, scienceworld_tool
from armap_agents.trajectory import Step

pytest.importorskip("scienceworld", reason='needs pip install "armap-agents[scienceworld]"')
pytestmark = [
    pytest.mark.java,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="needs Java"),
]

BOIL = Task("task-1-boil/21", "scienceworld")


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not asked for its status does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, seconds: float = 20.0) -> bool:
    """Whether a process ends, waiting for it."""
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


@asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[ScienceWorld]:
    environment = ScienceWorld(**options)
    try:
        yield environment
    finally:
        await environment.close()


@pytest.fixture(scope="module")
def world() -> Iterator[ScienceWorld]:
    """One process for all tests that leave the options as they are."""
    environment = ScienceWorld()
    yield environment
    asyncio.run(environment.close())


@pytest.fixture
def wrapper(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package's own wrapper, made as deterministic as ours."""
    from scienceworld import ScienceWorldEnv

    with monkeypatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", " ".join(OPTIONS))
        reference = ScienceWorldEnv()
    yield reference
    reference.close()


def every_task(variation: int = 0) -> list[Task]:
    return [Task(f"{name}/{variation}", "scienceworld") for name in task_types()]


# Restoring


async def test_thirty_random_actions_replay_exactly_in_a_fresh_process_and_by_the_pool() -> None:
    options = {"actions": "valid", "goal_free": True}
    rng = random.Random(0)
    pool = EnvironmentPool(lambda: ScienceWorld(**options), size=1)  # type: ignore[arg-type]
    walked = []
    for task in every_task():
        async with pool.lease(task) as lease:
            trajectory = Trajectory(task, lease.instruction, lease.opening)
            for _ in range(30):
                action = rng.choice(trajectory.last.actions or ())
                result = await lease.step(action)
                trajectory = trajectory.extended(Step(action, result.observation, result.done))
        async with pool.lease(task, trajectory) as lease:
            assert lease.caught_up == 0
        walked.append(trajectory)
    assert len(walked) == 30
    assert len({trajectory.instruction for trajectory in walked}) > 20
    for trajectory in walked:
        async with pool.lease(trajectory.task, trajectory) as lease:
            assert lease.caught_up == 30
    await pool.aclose()
    async with opened(**options) as fresh:
        for trajectory in walked:
            assert await fresh.reset(trajectory.task) == trajectory.observation
            assert fresh.instruction == trajectory.instruction
            for step in trajectory.steps:
                result = await fresh.step(step.action)
                assert (result.observation, result.done) == (step.observation, step.done)


async def test_a_prefix_is_restored_and_its_end_is_true(world: ScienceWorld) -> None:
    opening = await world.reset(BOIL)
    actions = ["go to kitchen", "open cupboard", "look around"]
    seen = [(await world.step(action)).observation for action in actions]
    await world.step("focus on agent")
    assert world.done
    assert await restore(world, BOIL, actions) == seen[-1]
    assert not world.done
    assert await restore(world, BOIL, []) == opening


async def test_a_replay_lists_what_is_valid_at_its_end_and_goes_on_from_there() -> None:
    actions = ["teleport to kitchen", "open cupboard", "pick up metal pot", "look around"]
    async with opened(actions="valid", goal_free=True) as world:
        await world.reset(BOIL)
        seen = [(await world.step(action)).observation for action in actions]
        for k in (4, 2):
            assert await world.replay(BOIL, actions[:k]) == seen[k - 1]
        assert (await world.step(actions[2])).observation == seen[2]
    async with opened() as world:
        with pytest.raises(EnvironmentFailure, match="ended after 1 of 2"):
            await world.replay(BOIL, ["focus on agent", "look around"])


async def test_listing_what_is_valid_leaves_no_trace() -> None:
    # The names of paints are drawn for the listing, from the source that animals draw from.
    rng = random.Random(2)
    async with opened(actions="valid", goal_free=True) as listing, opened(goal_free=True) as plain:
        for k, task in enumerate(every_task(2)):
            observation = await listing.reset(task)
            assert observation.text == (await plain.reset(task)).text
            actions = [f"teleport to {('art studio', 'outside')[k % 2]}"]
            for _ in range(20):
                observation = (await listing.step(actions[-1])).observation
                assert observation.text == (await plain.step(actions[-1])).observation.text
                assert observation.actions is not None
                mixing = [a for a in observation.actions if "paint" in a] if k % 2 == 0 else []
                actions.append(rng.choice(mixing or ["look around"]))
            assert await listing.replay(task, actions[:-1]) == observation


# As the package's wrapper


async def test_thirty_random_episodes_are_the_wrappers(world: ScienceWorld, wrapper: Any) -> None:
    rng = random.Random(1)
    failed = survived = 0
    for task in every_task(1):
        name = task_types()[task.id.split("/")[0]].simulator
        wrapper.load(name, 1, "easy")
        text, info = wrapper.reset()
        assert (await world.reset(task)).text == text
        assert world.instruction == wrapper.get_task_description()
        best, done = 0, False
        for _ in range(20):
            action = rng.choice([valid for valid in info["valid"] if valid != "reset task"])
            text, _, done, info = wrapper.step(action)
            result = await world.step(action)
            assert (result.observation.text, result.done) == (text, done), (task.id, action)
            best = max(best, info["score"])
            assert world.true_score() == best / 100
            if done:
                break
        failed += done
        survived += not done
    assert failed >= 5
    assert survived >= 1


async def test_too_many_moves_end_an_episode_as_in_the_wrapper(
    world: ScienceWorld, wrapper: Any
) -> None:
    wrapper.load("find-animal", 3, "easy")
    wrapper.reset()
    await world.reset(Task("task-3-find-animal/3", "scienceworld"))
    ends = []
    for action in ["wait"] * 8 + ["look around", "wait1", "nonsense"] * 15:
        text, _, done, _ = wrapper.step(action)
        result = await world.step(action)
        assert (result.observation.text, result.done) == (text, done)
        ends.append(done)
    assert ends[0] is False
    assert ends[-1] is True
    await world.reset(Task("task-10-measure-melting-point-(known-substance)/0", "scienceworld"))
    ends = [(await world.step("look at agent")).done for _ in range(121)]
    assert ends == [False] * 120 + [True]


async def test_gold_paths_reach_the_full_score(world: ScienceWorld, wrapper: Any) -> None:
    # The wrapper's process alone generates gold; afterwards it would do so at every reset.
    for task in every_task():
        wrapper.load(task_types()[task.id.split("/")[0]].simulator, 0, "easy", True)
        await world.reset(task)
        assert world.true_score() < 1
        for action in wrapper.get_gold_action_sequence():
            await world.step(action)
        assert (world.true_score(), world.done) == (1.0, True), task.id


def test_the_index_facts_are_the_simulators(wrapper: Any) -> None:
    assert set(wrapper.get_task_names()) == {t.simulator for t in task_types().values()}
    for t in task_types().values():
        wrapper.load(t.simulator, 0, "easy")
        assert wrapper.get_variations_train() == list(range(t.dev))
        assert wrapper.get_variations_dev() == list(range(t.dev, t.test))
        assert wrapper.get_variations_test() == list(range(t.test, t.variations))


async def test_worked_examples_are_what_the_simulator_shows(world: ScienceWorld) -> None:
    for example in world.guide.examples:
        assert await world.reset(example.task) == example.observation
        assert world.instruction == example.instruction
        for step in example.steps:
            result = await world.step(step.action)
            assert (result.observation, result.done) == (step.observation, step.done)
        assert world.true_score() == 1


# Commands


async def test_a_wrong_focus_ends_the_episode_and_cannot_be_taken_back(world: ScienceWorld) -> None:
    await world.reset(BOIL)
    result = await world.step("focus on agent")
    assert (result.observation.text, result.done) == ("You focus on the agent.", True)
    for action in ["reset task", "Reset the task", "the  RESET task"]:
        result = await world.step(action)
        assert (result.observation.text, result.done) == (UNKNOWN, True)
    assert world.true_score() == 0
    assert not (await world.reset(BOIL)).facts
    assert not world.done


async def test_resetting_the_task_is_never_offered(world: ScienceWorld) -> None:
    await world.reset(BOIL)
    answer = (await world.step("help")).observation.text
    assert "focus on OBJ" in answer
    assert "reset" not in answer
    async with opened(actions="valid") as listing:
        valid = (await listing.reset(BOIL)).actions
        assert valid is not None
        assert {"look around", "focus on orange", "teleport to kitchen"} <= set(valid)
        assert len(set(valid)) == len(valid)
        assert list(valid) == sorted(valid)
        assert not [action for action in valid if "reset" in action]
        await listing.step("go to kitchen")
        asked = await listing.step("focus orange")
        assert asked.observation.text.startswith("Ambiguous request")
        assert asked.observation.actions == ("0", "1")


@pytest.mark.parametrize(
    "action", ["", "  ", "fly to the moon", "look\ud800around", "a\nb", "é" * 9]
)
async def test_any_text_is_answered_in_words(world: ScienceWorld, action: str) -> None:
    await world.reset(BOIL)
    result = await world.step(action)
    assert result.observation.text
    assert not result.done


async def test_without_a_goal_only_unknown_commands_in_a_row_end_an_episode() -> None:
    async with opened(goal_free=True, match=True, unknown_limit=2) as free:
        await free.reset(BOIL)
        assert not (await free.step("focus on agent")).done
        matched = await free.step("activate sink please")
        assert matched.observation.text == "The sink is now activated."
        assert matched.observation.facts == {"matched": "activate sink"}
        assert not (await free.step("qqq")).done
        assert not (await free.step("look around")).observation.facts
        assert not (await free.step("qqq")).done
        last = await free.step("reset task")
        assert (last.observation.text, last.done) == (UNKNOWN, True)
        example = free.guide.examples[0]
        await free.reset(example.task)
        assert not [a for a in example.actions if (await free.step(a)).done]


async def test_the_tool_acts_until_the_end(world: ScienceWorld) -> None:
    await world.reset(BOIL)
    act = scienceworld_tool(world)
    assert act.name == "act"
    assert list(act.args) == ["command"]
    assert await act.ainvoke({"command": "go to kitchen"}) == "You move to the kitchen."
    assert await act.ainvoke({"command": "focus on agent"}) == f"You focus on the agent.\n{ENDED}"
    assert await act.ainvoke({"command": "look around"}) == ENDED


# Processes


async def test_the_options_are_that_processs_alone(world: ScienceWorld) -> None:
    await world.reset(BOIL)
    assert world.pid is not None
    command = Path(f"/proc/{world.pid}/cmdline").read_text().split("\0")
    assert set(OPTIONS) <= set(command)
    assert "JAVA_TOOL_OPTIONS" not in os.environ
    assert os.getsid(world.pid) == world.pid  # so that a terminal's Ctrl-C does not reach it


async def test_a_killed_process_is_replaced_and_its_sibling_untouched() -> None:
    pool = EnvironmentPool(ScienceWorld, size=2)
    pids = []

    async def killed() -> None:
        async with pool.lease(BOIL) as lease:
            pids.append(slot_pid(lease))
            under_way = asyncio.ensure_future(lease.step("wait"))
            await asyncio.sleep(0)
            os.kill(pids[-1], signal.SIGKILL)
            await under_way
            await lease.step("wait")  # where the kill came after the first

    async with pool.lease(BOIL) as sibling:
        own = slot_pid(sibling)
        with pytest.raises(EnvironmentDied):
            await killed()
        async with pool.lease(BOIL) as lease:
            assert lease.opening == sibling.opening
            assert slot_pid(lease) not in [own, *pids]
            pids.append(slot_pid(lease))
        assert (await sibling.step("go to kitchen")).observation.text == "You move to the kitchen."
        assert slot_pid(sibling) == own
    await pool.aclose()
    assert all(gone(pid) for pid in [own, *pids])


async def test_what_died_while_nobody_used_it_is_not_lent() -> None:
    pool = EnvironmentPool(ScienceWorld, size=1)
    async with pool.lease(BOIL) as lease:
        environment, pid, opening = lease._slot.environment, slot_pid(lease), lease.opening
    os.kill(pid, signal.SIGKILL)
    while environment.alive:  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)
    async with pool.lease(BOIL, Trajectory(BOIL, "boil", opening)) as lease:
        assert slot_pid(lease) != pid
        await lease.step("wait")
    await pool.aclose()


def slot_pid(lease: Any) -> int:
    pid: int = lease._slot.environment.pid
    return pid


async def test_a_dead_process_stays_dead_and_a_closed_one_closed() -> None:
    async with opened() as environment:
        await environment.reset(BOIL)
        assert environment.pid is not None
        os.kill(environment.pid, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(EnvironmentDied):
                await environment.reset(BOIL)
    with pytest.raises(EnvironmentFailure, match="closed"):
        await environment.reset(BOIL)


async def test_a_step_that_hangs_does_not_hold_up_closing() -> None:
    environment = ScienceWorld()
    await environment.reset(BOIL)
    pid = environment.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await environment.step("look around")
    waiting = asyncio.ensure_future(environment.step("look around"))
    await asyncio.sleep(0)
    await environment.close()
    assert not alive(pid)
    with pytest.raises(EnvironmentDied):
        await waiting


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.3, 1.0])
async def test_closing_while_the_process_starts_leaves_none(seconds: float) -> None:
    environment = ScienceWorld()
    starting = asyncio.ensure_future(environment.reset(BOIL))
    await asyncio.sleep(seconds)
    await environment.close()
    with pytest.raises(EnvironmentFailure):
        await starting
    assert environment.pid is None or not alive(environment.pid)


async def test_a_cancelled_step_is_finished_before_the_next_reset(world: ScienceWorld) -> None:
    opening = await world.reset(BOIL)
    for _ in range(3):
        step = asyncio.ensure_future(world.step("wait"))
        await asyncio.sleep(0.002)
        step.cancel()
        assert await world.reset(BOIL) == opening
    assert not world.done


async def test_the_loop_goes_on_during_a_step(world: ScienceWorld) -> None:
    await world.reset(BOIL)
    step = asyncio.ensure_future(world.step("wait"))
    turns = 0
    while not step.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 3


async def test_a_forgotten_environment_takes_its_process_along() -> None:
    environment = ScienceWorld()
    await environment.reset(BOIL)
    pid = environment.pid
    assert pid is not None
    del environment
    gc.collect()
    assert gone(pid)


PROGRAM = """
import asyncio, os, signal, sys, time
from armap_agents import Task
from armap_agents.tools.scienceworld import ScienceWorld

environment = ScienceWorld()
asyncio.run(environment.reset(Task("task-1-boil/21", "scienceworld")))
print(environment.pid, flush=True)
if sys.argv[1] == "exception":
    raise ZeroDivisionError
if sys.argv[1] == "hang":
    os.kill(environment.pid, signal.SIGSTOP)
    async def hang():
        asyncio.ensure_future(environment.step("look around"))
        await asyncio.sleep(0.1)
        raise SystemExit
    asyncio.run(hang())
if sys.argv[1] != "exit":
    time.sleep(60)
"""


@pytest.mark.parametrize("end", ["exit", "exception", "hang", "SIGINT", "SIGTERM", "SIGKILL"])
def test_no_process_outlives_its_owner(end: str) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, end],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    if end.startswith("SIG"):
        assert alive(pid)
        os.killpg(owner.pid, signal.Signals[end])
    owner.wait(30)
    owner.stdout.close()
    assert gone(pid)
