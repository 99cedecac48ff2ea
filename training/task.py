"""What is made from one task: episodes, instructions, negatives, pairs, values.

Every piece of work with the environment has a seed of its own. When the environment's process dies,
another one takes its place and the piece is done again, with the same outcome; should that die too,
or the policy fail, the piece is lost alone, and counted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise
from random import Random
from typing import TypeVar

from armap_agents.environment import Environment
from armap_agents.errors import ArmapError, EnvironmentDied, EnvironmentFailure, PolicyError
from armap_agents.policy import Policy
from armap_agents.training.corrupt import by_turns, execute, parting
from armap_agents.training.domain import Continuations, Domain, Instruction
from armap_agents.training.explore import EXPLORED, Explorer, Mixture, Player
from armap_agents.training.folder import Unit
from armap_agents.training.llm_negatives import picked, written
from armap_agents.training.pairs import OTHER_EPISODE, Pairs, Positive
from armap_agents.training.recipe import GenerateConfig
from armap_agents.training.records import Source
from armap_agents.training.refine import refine
from armap_agents.training.seat import Seat
from armap_agents.trajectory import Task, Trajectory

LOST_POLICY = "lost: the policy failed"
LOST_ENVIRONMENT = "lost: the environment failed"

EASY_SHARE = 0.3
"""The most pairs of a task whose worse side is a random episode; those are easy to tell."""

CROSSED_SHARE = 0.3
"""Share of the pairs with an instruction each that are shown under the other's as well."""

PICKED, WRITTEN = "picked by the policy", "written by the LLM"
"""Kinds of the negatives that an LLM made."""

T = TypeVar("T")


class TaskGenerator:
    """Makes the records of one visit to a task.

    Args:
        domain: What is known about the environment.
        seat: Where the environment is.
        unseen: Where continuations are played; may be the same.
        task: The task.
        config: What to make.
        seed: Seeds this visit.
        policy: Explores and picks wrong actions in its share.
        writer: Words instructions and intents and writes failing counterparts in its share.

    Attributes:
        unit: What was made so far.
        failure: The last failure of environment or policy.
    """

    def __init__(
        self,
        domain: Domain,
        seat: Seat,
        unseen: Seat,
        task: Task,
        config: GenerateConfig,
        seed: str,
        policy: Policy | None = None,
        writer: Policy | None = None,
    ) -> None:
        self.unit = Unit()
        self.failure: ArmapError | None = None
        self._domain = domain
        self._seat = seat
        self._unseen = unseen
        self._task = task
        self._config = config
        self._policy = policy
        self._writer = writer
        self._rng = Random(seed)
        self._pairs = Pairs(domain, task, self.unit, self._continued, config.seed)
        self._worse: list[Trajectory] = []

    async def run(self) -> Unit:
        """Explore, refine, corrupt, pair."""
        self.unit.counts.update({"explored": 0, LOST_POLICY: 0, LOST_ENVIRONMENT: 0})
        played = await self._explored()
        explored = [trajectory for _, trajectory in played]
        positives = await self._positives(explored)
        if getattr(self._domain, "each_depth", False):
            for positive in positives:
                await self._pair_each_depth(positive, explored)
            for trajectory in explored if positives else ():
                await self._value(trajectory, positives[0].instruction, len(trajectory))
            return self.unit
        for positive in positives:
            await self._pair_with_corrupted(positive, explored)
        await self._pair_positives(positives)
        self._pair_graded(positives, explored)
        self._pair_with_easy(positives, [t for player, t in played if player == "uniform"])
        return self.unit

    async def _attempt(
        self, work: Callable[[Environment], Awaitable[T]], seat: Seat | None = None
    ) -> T | None:
        """Do a piece of work with the environment; None where it is lost."""
        seat = seat or self._seat
        for last in (False, True):
            try:
                return await work(await seat.environment())
            except PolicyError as error:
                self.failure = error
                self.unit.counts[LOST_POLICY] += 1
                return None
            except EnvironmentDied as error:
                self.failure = error
                self.unit.counts["environments replaced"] += 1
                await seat.close()
                if last:
                    self.unit.counts[LOST_ENVIRONMENT] += 1
            except EnvironmentFailure as error:
                self.failure = error
                self.unit.counts[LOST_ENVIRONMENT] += 1
                return None
        return None

    async def _explored(self) -> list[tuple[Player, Trajectory]]:
        config, counts = self._config, self.unit.counts
        mixture = Mixture(config.policy_share, config.uniform_share, config.temperatures)
        explorer = Explorer(self._domain, mixture, counts, self._policy, self._writer)
        found: list[tuple[Player, Trajectory]] = []
        for _ in range(config.episodes):
            player, seed = explorer.draw(self._rng), self._rng.randrange(2**31)

            async def play(
                environment: Environment, player: Player = player, seed: int = seed
            ) -> Trajectory:
                return await explorer.play(environment, self._task, player, seed)

            trajectory = await self._attempt(play)
            if trajectory is not None:
                counts["explored"] += 1
                counts[EXPLORED[player]] += 1
                found.append((player, trajectory))
        return found

    async def _positives(self, explored: list[Trajectory]) -> list[Positive]:
        """Give each distinct episode that fulfils an instruction that instruction."""
        found: dict[str, Positive] = {}
        for trajectory in explored:
            if trajectory.id in found:
                self.unit.counts["dropped: played before"] += 1
                continue
            instruction = self._instruction(trajectory)
            if instruction is None:
                evaluated = getattr(self._domain, "evaluated", None)
                held_out = evaluated is not None and evaluated(trajectory)
                why = "what an evaluation asks for" if held_out else "no instruction fits"
                self.unit.counts[f"dropped: {why}"] += 1
                continue
            writer = self._writer if self._rng.random() < self._config.written_share else None
            seed = self._rng.randrange(2**31)
            refined = await refine(
                self._domain, trajectory, instruction, writer, seed, self.unit.counts
            )
            found[trajectory.id] = Positive(self._pairs.ended(trajectory, refined), refined)
        self.unit.counts["positives"] += len(found)
        return list(found.values())

    def _instruction(self, trajectory: Trajectory) -> Instruction | None:
        """Return an instruction that the trajectory really fulfils."""
        made = self._domain.instruct(trajectory, self._rng, self._config.constraints)
        if made is not None and self._domain.fulfils(trajectory, made) < 1:
            self.unit.counts["instructions that their episode does not fulfil"] += 1
            return None
        return made

    async def _executed(self, positive: Positive, actions: tuple[str, ...]) -> Trajectory | None:
        seed = self._rng.randrange(2**31)
        return await self._attempt(
            lambda environment: execute(environment, positive.trajectory, actions, Random(seed))
        )

    async def _by_llm(self, positive: Positive) -> tuple[Trajectory | None, str]:
        """Return a negative that an LLM made of a good trajectory, in its share, and its kind."""
        seed = self._rng.randrange(2**31)
        makers = {PICKED: self._policy, WRITTEN: self._writer}
        able = [(kind, llm) for kind, llm in makers.items() if llm is not None]
        if not able or self._rng.random() >= self._config.llm_share:
            return None, ""
        kind, llm = self._rng.choice(able)
        good, text, counts = positive.trajectory, positive.instruction.text, self.unit.counts

        async def work(environment: Environment) -> Trajectory | None:
            rng = Random(seed)
            if kind == WRITTEN:
                return await written(environment, good, text, llm, rng, counts)
            temperature = rng.uniform(*self._config.temperatures)
            return await picked(environment, good, text, llm, temperature, rng, counts)

        return await self._attempt(work), kind

    async def _continued(
        self, prefix: Trajectory, instruction: Instruction, seed: str
    ) -> Continuations | None:
        count = self._config.continuations or self._domain.continuations
        return await self._attempt(
            lambda environment: self._domain.continued(
                environment, prefix, instruction, count, Random(seed)
            ),
            self._unseen,
        )

    @property
    def _corrupted(self) -> int:
        """How many negatives have something done wrong."""
        return self._config.negatives - self._config.negatives // 2

    # --- prefixes of every depth ----------------------------------------------------------------

    async def _pair_each_depth(self, positive: Positive, explored: list[Trajectory]) -> None:
        """Pair prefixes of each length, half of them with ones that part at the last step."""
        good, counts = positive.trajectory, self.unit.counts
        corruptions = self._domain.corruptions(good, positive.instruction, explored, self._rng)
        for k in range(1, len(good) + 1):
            made = 0
            for corruption in corruptions:
                if made == self._corrupted:
                    break
                if parting(corruption.actions, good.actions) == k - 1:
                    negative = await self._executed(positive, corruption.actions)
                    if negative is not None:
                        made += await self._at(positive, negative, k, corruption.kind)
            others = [t for t in explored if len(t) >= k and parts_early(t, good, k)]
            self._rng.shuffle(others)
            made = 0
            for negative in others:
                if made == self._config.negatives // 2:
                    break
                made += await self._at(positive, negative, k, OTHER_EPISODE)
        negative, kind = await self._by_llm(positive)
        if negative is not None:
            k = parting(negative.actions, good.actions) + 1
            if k <= min(len(good), len(negative)):
                await self._at(positive, negative, k, kind)
            else:
                counts["dropped: no effect"] += 1

    async def _at(self, positive: Positive, negative: Trajectory, k: int, kind: str) -> bool:
        source: Source = "llm" if kind in (PICKED, WRITTEN) else "perturb"
        if k == len(positive.trajectory) == len(negative):
            return self._pairs.whole(positive, negative, source, kind)
        return await self._pairs.prefixes(positive, negative, k, source, kind)

    # --- whole trajectories ---------------------------------------------------------------------

    async def _pair_with_corrupted(self, positive: Positive, explored: list[Trajectory]) -> None:
        """Pair a good trajectory with executed negatives, both ways where those do another task."""
        good = positive.trajectory
        others = [t for t in explored if t is not good]
        corruptions = self._domain.corruptions(good, positive.instruction, others, self._rng)
        worse: list[Trajectory] = []
        for corruption in by_turns(corruptions):
            if len(worse) == self._corrupted:
                break
            negative = await self._executed(positive, corruption.actions)
            if negative is not None and self._pair(positive, negative, corruption.kind):
                worse.append(negative)
                await self._partial(positive, negative, "perturb", corruption.kind)
        negative, kind = await self._by_llm(positive)
        if negative is not None and self._pairs.whole(positive, negative, "llm", kind):
            worse.append(negative)
            await self._partial(positive, negative, "llm", kind)
        self._worse += worse
        for trajectory in [good, *worse[:1]]:
            await self._value(trajectory, positive.instruction, self._config.values)

    def _pair(self, positive: Positive, negative: Trajectory, kind: str) -> bool:
        """Pair with a negative: both ways where it does what another instruction asks for."""
        instruction = self._instruction(negative)
        if instruction is not None:
            other = Positive(self._pairs.ended(negative, instruction), instruction)
            if self._pairs.tell_apart(positive, other):
                return self._pairs.both_ways(positive, other, kind, crossed=self._crossed()) > 0
        return self._pairs.whole(positive, negative, "perturb", kind)

    def _crossed(self) -> bool:
        """Draw whether two trajectories are shown under both their instructions each."""
        return self._rng.random() < CROSSED_SHARE

    async def _partial(
        self, positive: Positive, negative: Trajectory, source: Source, kind: str
    ) -> None:
        """Pair prefixes at a depth after the two part, in a share of the cases."""
        negative = self._pairs.ended(negative, positive.instruction)
        first = parting(positive.trajectory.actions, negative.actions) + 1
        depths = range(first, min(len(positive.trajectory), len(negative) + 1))
        if self._rng.random() < self._config.partial_share and depths:
            k = self._rng.choice(depths)
            await self._pairs.prefixes(positive, negative, k, source, kind)

    async def _value(self, trajectory: Trajectory, instruction: Instruction, count: int) -> None:
        """Note the value of up to `count` prefixes of a trajectory."""
        trajectory = self._pairs.ended(trajectory, instruction)
        depths = range(1, len(trajectory))
        for k in sorted(self._rng.sample(depths, min(count, len(depths)))):
            await self._pairs.value(trajectory, k, instruction)

    async def _pair_positives(self, positives: list[Positive]) -> None:
        """Pair good trajectories with each other, both ways."""
        wanted = len(positives) * (self._config.negatives // 2) // 2
        pairs = [(a, b) for k, a in enumerate(positives) for b in positives[:k]]
        self._rng.shuffle(pairs)
        for a, b in pairs:
            if wanted <= 0:
                break
            if not self._pairs.tell_apart(a, b):
                self.unit.counts["dropped: episodes that fulfil the same"] += 1
            elif self._pairs.both_ways(a, b, OTHER_EPISODE, crossed=self._crossed()):
                wanted -= 1
                for one, other in ((a, b), (b, a)):
                    await self._partial(one, other.trajectory, "perturb", OTHER_EPISODE)

    def _pair_graded(self, positives: list[Positive], explored: list[Trajectory]) -> None:
        """Pair, under each instruction, trajectories that do more of it with ones that do less."""
        for positive in positives:
            others = [t for t in [*explored, *self._worse] if t is not positive.trajectory]
            self._rng.shuffle(others)
            done = [(self._domain.fulfils(t, positive.instruction), t) for t in others]
            done = [(share, t) for share, t in done if share < 1]
            made, wanted = 0, self._config.negatives // 2
            for (share, one), (other_share, other) in pairwise(done):
                if made == wanted:
                    break
                better, worse = (one, other) if share > other_share else (other, one)
                made += self._pairs.graded(better, worse, positive.instruction)

    def _pair_with_easy(self, positives: list[Positive], uniform: list[Trajectory]) -> None:
        """Pair good trajectories with random episodes, up to a share of all pairs."""
        share = min(EASY_SHARE, self._config.uniform_share)
        wanted = min(int(len(self.unit.pairs) * share / (1 - share)) // 2, len(positives))
        for positive in positives[:wanted] if uniform else ():
            negative = self._rng.choice(uniform)
            self._pairs.whole(positive, negative, "perturb", "random episode")


def parts_early(one: Trajectory, other: Trajectory, k: int) -> bool:
    """Whether two episodes part before the k-th step, or at the first."""
    return parting(one.actions, other.actions) < max(1, k - 1)
