"""Pair: say of two executed trajectories, or beginnings of them, which is better, and filter.

A whole trajectory is worse where it does not fulfil the instruction, or clearly less of it than
another that does not either: episodes of weak agents seldom do all of it. A prefix is worse where
none of its executed continuations fulfils it, and where they return less on average than those of
the better prefix. Every candidate that is dropped is counted with the reason.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from random import Random

from armap_agents.training.domain import Continuations, Domain, Instruction
from armap_agents.training.folder import Unit
from armap_agents.training.records import Pair, PrefixValue, Source, bare
from armap_agents.trajectory import Status, Task, Trajectory, content_hash

OTHER_INSTRUCTION = "other instruction"
"""Kind of the pairs that show the same trajectory under two instructions."""

OTHER_EPISODE = "other episode"
"""Kind of the pairs whose worse one does what another instruction asks for."""

LESS = "does less"
"""Kind of the pairs of two trajectories neither of which does all that is asked."""

SELF_MADE = ("perturb", "llm")
"""Sources of labels that say what is right; the others say which of two is better."""

CLEARLY = 0.2
"""Least difference of the shares of an instruction that two trajectories fulfil, to be a pair."""


def outcomes(pair: Pair) -> tuple[bool, bool] | None:
    """Return whether the better and the worse side do all that is asked; None where none says."""
    if pair.source not in SELF_MADE or pair.label != 1:
        return None
    return pair.kind != LESS, False


@dataclass(frozen=True)
class Positive:
    """An executed trajectory and an instruction that it fulfils."""

    trajectory: Trajectory
    instruction: Instruction


Continue = Callable[[Trajectory, Instruction, str], Awaitable[Continuations | None]]
"""Plays continuations of a prefix under a seed; None where the environment failed."""


class Pairs:
    """Adds pairs and values to the unit of one task.

    Args:
        domain: Says what fulfils what.
        task: Whose trajectories are paired.
        unit: Receives pairs, values, trajectories and counts.
        play: Plays continuations.
        seed: Seeds them, together with the state that they start from.
    """

    def __init__(self, domain: Domain, task: Task, unit: Unit, play: Continue, seed: int) -> None:
        self._domain = domain
        self._task = task
        self._unit = unit
        self._play = play
        self._seed = seed
        self._bare: dict[int, tuple[Trajectory, Trajectory]] = {}
        self._ended: dict[tuple[int, str], tuple[Trajectory, Trajectory]] = {}
        self._returns: dict[tuple[str, str], Continuations] = {}

    def ended(self, trajectory: Trajectory, instruction: Instruction) -> Trajectory:
        """Return a trajectory up to where an instruction would have ended it."""
        ends = getattr(self._domain, "ends", None)
        if ends is None:
            return trajectory
        key = id(trajectory), instruction.text
        if key not in self._ended:
            steps, short = ends(trajectory, instruction), trajectory
            if steps < len(trajectory):
                short = replace(trajectory.prefix(steps), status=Status.ENDED)
            self._ended[key] = trajectory, short
        return self._ended[key][1]

    def whole(self, positive: Positive, negative: Trajectory, source: Source, kind: str) -> bool:
        """Pair two whole trajectories unless the other is good too; say whether it was added."""
        self._unit.counts["negatives tried"] += 1
        negative = self.ended(negative, positive.instruction)
        ends = len(positive.trajectory), len(negative)
        reason = self._no_difference(positive.trajectory, negative, *ends)
        if reason is None and self._domain.fulfils(negative, positive.instruction) >= 1:
            reason = "fulfils the instruction"
        if reason is None:
            for trajectory in (positive.trajectory, negative):
                self._note_end(trajectory, positive.instruction)
        return self._added(positive, negative, ends, source, kind, reason)

    def graded(self, better: Trajectory, worse: Trajectory, instruction: Instruction) -> bool:
        """Pair two trajectories of which one does clearly more; say whether it was added.

        What may not be asked for may not be the better one either, however little it does.
        """
        self._unit.counts["negatives tried"] += 1
        explored = better
        better, worse = self.ended(better, instruction), self.ended(worse, instruction)
        reason = self._no_difference(better, worse, len(better), len(worse))
        shares = [self._domain.fulfils(trajectory, instruction) for trajectory in (better, worse)]
        if reason is None and shares[0] - shares[1] < CLEARLY:
            reason = "does as much"
        if reason is None and self._domain.instruct(explored, Random(0)) is None:
            reason = "no instruction fits the better one"  # it may do what an evaluation asks for
        if reason is None:
            for trajectory in (better, worse):
                self._note_end(trajectory, instruction)
        ends = len(better), len(worse)
        return self._added(Positive(better, instruction), worse, ends, "perturb", LESS, reason)

    async def prefixes(
        self, positive: Positive, negative: Trajectory, k: int, source: Source, kind: str
    ) -> bool:
        """Pair two prefixes of `k` steps where continuations say so; say whether it was added."""
        self._unit.counts["negatives tried"] += 1
        reason = self._no_difference(positive.trajectory, negative, k, k)
        if reason is None:
            reason = await self._not_worse(positive, negative, k)
        return self._added(positive, negative, (k, k), source, kind, reason)

    async def _not_worse(self, positive: Positive, negative: Trajectory, k: int) -> str | None:
        worse = await self.value(negative, k, positive.instruction)
        if worse is None:
            return "continuations failed"
        if worse.example is not None:
            return "can still succeed"
        if k == len(negative):  # an end; the good trajectory went on from there to succeed
            return None
        better = await self.value(positive.trajectory, k, positive.instruction)
        if better is None:
            return "continuations failed"
        # How the good trajectory went on is a continuation as well, and returned 1.
        mean = (better.total + 1) / (better.count + 1)
        return None if worse.total / worse.count < mean else "no worse on average"

    def tell_apart(self, a: Positive, b: Positive) -> bool:
        """Whether neither of two good trajectories fulfils the other's instruction."""
        return all(
            self._domain.fulfils(one.trajectory, other.instruction) < 1
            for one, other in ((a, b), (b, a))
        )

    def both_ways(self, a: Positive, b: Positive, kind: str, *, crossed: bool) -> int:
        """Pair two good trajectories under each other's instruction; return the pairs added.

        Each is better than the other under its own instruction, so that nothing but the
        instruction tells which is.

        Args:
            a: One.
            b: Another of the same task that `tell_apart` tells from it.
            kind: What is wrong with the other one under the first one's instruction.
            crossed: Add the pairs of each trajectory with itself under the other's instruction.
        """
        pairs = ((a, b), (b, a))
        kinds = (kind, OTHER_EPISODE)
        added = sum(
            self.whole(one, other.trajectory, "perturb", wrong)
            for (one, other), wrong in zip(pairs, kinds, strict=True)
        )
        if crossed and added:
            added += sum(self._under(one, other.instruction) for one, other in pairs)
        return added

    def _under(self, positive: Positive, other: Instruction) -> bool:
        """Pair a trajectory, as far as both go, with itself under one that it does not fulfil."""
        self._unit.counts["negatives tried"] += 1
        negative = self.ended(positive.trajectory, other)
        self._note_end(negative, other)
        ends = len(negative), len(negative)
        return self._added(positive, negative, ends, "perturb", OTHER_INSTRUCTION, None, other.text)

    def _no_difference(self, one: Trajectory, other: Trajectory, k: int, m: int) -> str | None:
        """Return why nothing tells the first k steps of one from the first m of another."""
        if not k or not m:
            return "nothing done"
        if self._state(one, k) != self._state(other, m):
            texts = [[s.observation.text for s in t.steps[:n]] for t, n in ((one, k), (other, m))]
            return "no effect" if texts[0] == texts[1] else None
        same = one.actions[:k] == other.actions[:m]
        return "equals the good one" if same else "no effect"

    def _added(
        self,
        positive: Positive,
        negative: Trajectory,
        steps: tuple[int, int],
        source: Source,
        kind: str,
        reason: str | None,
        rejected_instruction: str | None = None,
    ) -> bool:
        counts, text = self._unit.counts, positive.instruction.text
        states = self._state(positive.trajectory, steps[0]), self._state(negative, steps[1])
        key = (text, rejected_instruction, *steps, *states)
        if reason is None and key in self._unit.pairs:
            reason = "duplicate"
        if reason is not None:
            counts[f"dropped: {reason}"] += 1
            return False
        self._unit.pairs[key] = Pair(
            environment=self._domain.environment,
            instruction=text,
            chosen=self._keep(positive.trajectory),
            chosen_steps=steps[0],
            rejected=self._keep(negative),
            rejected_steps=steps[1],
            task=self._task.id,
            source=source,
            kind=kind,
            rejected_instruction=rejected_instruction,
        )
        return True

    async def value(
        self, trajectory: Trajectory, k: int, instruction: Instruction
    ) -> Continuations | None:
        """Return how the first k steps go on, noting it once per state and instruction."""
        if k == len(trajectory):
            return self._note_end(trajectory, instruction)
        key = (instruction.text, state := self._state(trajectory, k))
        if key not in self._returns:
            seed = f"{self._seed} {state}"
            played = await self._play(trajectory.prefix(k), instruction, seed)
            if played is None:
                return None
            self._returns[key] = played
            self._note(key, trajectory, k, played)
        return self._returns[key]

    def _note_end(self, trajectory: Trajectory, instruction: Instruction) -> Continuations:
        """Return what a whole trajectory returned; note it where nothing could have followed."""
        key = (instruction.text, self._state(trajectory, len(trajectory)))
        if key not in self._returns:
            share = self._domain.fulfils(trajectory, instruction)
            self._returns[key] = Continuations(1, float(share), () if share >= 1 else None)
            if trajectory.status is Status.ENDED:
                self._note(key, trajectory, len(trajectory), self._returns[key])
        return self._returns[key]

    def _note(
        self, key: tuple[str, str], trajectory: Trajectory, k: int, played: Continuations
    ) -> None:
        self._unit.values[key] = PrefixValue(
            environment=self._domain.environment,
            instruction=key[0],
            trajectory=self._keep(trajectory),
            steps=k,
            continuations=played.count,
            successes=float(played.total),
            task=self._task.id,
        )

    def _state(self, trajectory: Trajectory, k: int) -> str:
        """Return what says where k steps lead: the newest observation, or all there was."""
        if self._domain.rendering.history == "newest":
            return (trajectory.steps[k - 1].observation if k else trajectory.observation).text
        steps = [[step.action, step.observation.text] for step in trajectory.steps[:k]]
        return content_hash([trajectory.task.id, trajectory.observation.text, steps])

    def _keep(self, trajectory: Trajectory) -> str:
        """Keep a trajectory as records have it, and return its id."""
        if id(trajectory) not in self._bare:
            self._bare[id(trajectory)] = trajectory, bare(trajectory)
        kept = self._bare[id(trajectory)][1]
        self._unit.trajectories.setdefault(kept.id, kept)
        return kept.id
