import asyncio
from collections.abc import Sequence

import pytest

from armap_agents import ArmapError, Observation, StepResult, Task, Trajectory
from armap_agents.errors import RestoreMismatch
from armap_agents.pool import EnvironmentPool
from armap_agents.tools.game24 import Game24
from armap_agents.tools.game24.environment import play, puzzle_task
from armap_agents.trajectory import Step

TASK = Task("t", "counter", instruction="count")


class Counter:
    """Shows what it was told, and counts what it cost; `drift` makes replays differ."""

    name = "counter"
    pool_size = 2
    alive = True

    def __init__(self, made: list["Counter"], drift: bool = False) -> None:
        made.append(self)
        self.drift = drift
        self.resets = self.steps = 0
        self.closed = False
        self.said: list[str] = []

    def tasks(self, split: str) -> list[Task]:
        return [TASK]

    def true_score(self) -> float:
        raise AssertionError("the true score is quarantined")

    def _show(self) -> Observation:
        return Observation(" ".join(self.said) + (f" #{self.resets}" if self.drift else ""))

    async def reset(self, task: Task) -> Observation:
        self.resets += 1
        self.said = [task.id]
        return Observation(task.id)

    async def step(self, action: str) -> StepResult:
        if action == "die":
            raise OSError("the world ended")
        if action == "hang":
            await asyncio.sleep(60)
        await asyncio.sleep(0)
        self.steps += 1
        self.said.append(action)
        return StepResult(self._show())

    async def close(self) -> None:
        self.closed = True


async def walk(pool: EnvironmentPool, actions: Sequence[str]) -> Trajectory:
    async with pool.lease(TASK) as lease:
        trajectory = Trajectory(TASK, lease.instruction, lease.opening)
        for action in actions:
            result = await lease.step(action)
            trajectory = trajectory.extended(Step(action, result.observation, result.done))
    return trajectory


async def test_longest_prefix_is_continued_not_replayed() -> None:
    made: list[Counter] = []
    pool = EnvironmentPool(lambda: Counter(made))
    walked = await walk(pool, ["a", "b"])
    async with pool.lease(TASK, walked) as lease:
        assert lease.caught_up == 0
        await lease.step("c")
    assert (made[0].resets, made[0].steps) == (1, 3)
    longer = walked.extended(Step("c", Observation("t a b c"))).extended(
        Step("d", Observation("t a b c d"))
    )
    async with pool.lease(TASK, longer) as lease:
        assert lease.caught_up == 1
    async with pool.lease(TASK, walked.prefix(1)) as lease:
        assert lease.caught_up == 1
    assert (made[0].resets, made[0].steps, len(made)) == (2, 5, 1)
    await pool.aclose()
    assert made[0].closed


class Leaper(Counter):
    """Gets anywhere at once."""

    async def restore(self, task: Task, actions: Sequence[str]) -> Observation:
        self.resets += 1
        self.said = [task.id, *actions]
        return self._show()


async def test_what_gets_anywhere_at_once_is_never_replayed() -> None:
    made: list[Counter] = []
    pool = EnvironmentPool(lambda: Leaper(made), size=1)
    walked = await walk(pool, ["a", "b", "c"])
    for prefix in (walked.prefix(0), walked, walked.prefix(1)):
        async with pool.lease(TASK, prefix) as lease:
            assert lease.caught_up == 0
    async with pool.lease(TASK, walked.prefix(1)):
        pass
    assert (made[0].resets, made[0].steps) == (4, 3)
    await pool.aclose()


async def test_a_process_that_died_unseen_is_not_lent() -> None:
    made: list[Counter] = []
    pool = EnvironmentPool(lambda: Counter(made))
    walked = await walk(pool, ["a"])
    made[0].alive = False
    async with pool.lease(TASK, walked) as lease:
        assert lease.caught_up == 1
    assert made[0].closed
    assert not made[1].closed
    await pool.aclose()


async def test_a_replay_that_differs_is_an_error_and_costs_the_environment() -> None:
    made: list[Counter] = []
    pool = EnvironmentPool(lambda: Counter(made, drift=True))
    walked = await walk(pool, ["a", "b"])
    with pytest.raises(RestoreMismatch, match="not deterministic"):
        async with pool.lease(TASK, walked.prefix(1)):
            raise AssertionError("a lease of a wrong state was granted")
    assert made[0].closed
    await walk(pool, ["a"])
    assert len(made) == 2
    await pool.aclose()


async def test_a_held_state_is_compared_too() -> None:
    made: list[Counter] = []
    pool = EnvironmentPool(lambda: Counter(made))
    walked = await walk(pool, ["a", "b"])
    forged = walked.prefix(1).extended(Step("b", Observation("elsewhere")))
    with pytest.raises(RestoreMismatch):
        async with pool.lease(TASK, forged):
            pass
    opened_elsewhere = Trajectory(TASK, "count", Observation("other"), walked.steps)
    with pytest.raises(RestoreMismatch):
        async with pool.lease(TASK, opened_elsewhere):
            pass
    await pool.aclose()


async def test_getting_there_has_a_deadline_and_a_cancelled_lease_gives_its_place_back() -> None:
    made: list[Counter] = []
    pool = EnvironmentPool(lambda: Counter(made))
    stuck = Trajectory(TASK, "count", Observation("t")).extended(Step("hang", Observation("")))

    async def doomed() -> None:
        async with pool.lease(TASK, stuck, seconds=0.02):
            pass

    for _ in range(5):
        with pytest.raises(TimeoutError):
            await doomed()
    waiting = asyncio.create_task(doomed())
    await asyncio.sleep(0.005)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.gather(*(walk(pool, ["a"]) for _ in range(4)))
    await pool.aclose()
    assert all(counter.closed for counter in made)


@pytest.mark.parametrize("end", ["die", "hang"])
async def test_a_dead_environment_is_replaced_and_siblings_go_on(end: str) -> None:
    made: list[Counter] = []
    pool = EnvironmentPool(lambda: Counter(made))

    async def doomed() -> None:
        async with pool.lease(TASK) as lease, asyncio.timeout(0.05):
            await lease.step(end)

    results = await asyncio.gather(doomed(), walk(pool, ["a"] * 3), return_exceptions=True)
    assert isinstance(results[0], OSError)
    assert isinstance(results[1], Trajectory)
    assert [counter.closed for counter in made].count(True) == 1
    assert len(await asyncio.gather(*(walk(pool, ["a"]) for _ in range(5)))) == 5
    assert len(made) == 3
    await pool.aclose()
    assert all(counter.closed for counter in made)


async def test_an_error_outside_the_environment_keeps_it() -> None:
    made: list[Counter] = []
    pool = EnvironmentPool(lambda: Counter(made))

    async def interrupted() -> None:
        async with pool.lease(TASK):
            raise ValueError("the policy failed")

    with pytest.raises(ValueError, match="policy"):
        await interrupted()
    await walk(pool, ["a"])
    assert len(made) == 1
    await pool.aclose()


async def test_never_more_alive_than_the_pool_holds() -> None:
    made: list[Counter] = []
    pool = EnvironmentPool(lambda: Counter(made))
    await asyncio.gather(*(walk(pool, ["a", "b"]) for _ in range(20)))
    assert len(made) == 2
    await pool.aclose()


async def test_an_environment_that_cannot_be_restored_says_so() -> None:
    made: list[Counter] = []

    def make() -> Counter:
        counter = Counter(made)
        counter.restorable = False  # type: ignore[attr-defined]
        return counter

    pool = EnvironmentPool(make)
    walked = await walk(pool, ["a", "b"])
    with pytest.raises(ArmapError, match="cannot be restored"):
        async with pool.lease(TASK, walked.prefix(1)):
            pass
    await pool.aclose()


async def test_a_lease_does_not_reach_the_true_score() -> None:
    pool = EnvironmentPool(Game24)
    async with pool.lease(puzzle_task([1, 2, 3, 4])) as lease:
        assert not hasattr(lease, "true_score")
    await pool.aclose()


async def test_native_restore_is_compared_with_what_was_recorded() -> None:
    pool = EnvironmentPool(Game24)
    task = puzzle_task([4, 9, 10, 13])
    recorded = play(task, ["13 - 9 = 4", "10 - 4 = 6"])
    async with pool.lease(task, recorded) as lease:
        assert (await lease.step("6 * 4 = 24")).done
    forged = recorded.prefix(1).extended(Step("10 - 4 = 6", Observation("Numbers left: 24 24")))
    with pytest.raises(RestoreMismatch):
        async with pool.lease(task, forged):
            pass
    await pool.aclose()
