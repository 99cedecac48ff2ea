"""Running many tasks side by side into one folder, so that nothing finished is done twice.

Evaluation is handed the function that runs a planner and imports no graph. The planners of one task
and seed run one after another, so that those that share a run (sampling and Best-of-N) find its
rollouts; tasks and seeds run side by side. A run that fails is a line like any other: the others go
on, and the next start tries the failed ones again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from armap_agents.environment import make_environment
from armap_agents.errors import ArmapError, ConfigurationError
from armap_agents.evaluation.results import (
    RESULTS,
    SCORES,
    Key,
    Result,
    Scored,
    append,
    only_writer,
    read_results,
    read_scored,
    read_scores,
)
from armap_agents.evaluation.selectors import (
    RANDOM,
    RESCORED,
    REWARD,
    SURFACE,
    UNTRAINED,
    trivial_rules,
)
from armap_agents.evaluation.spec import (
    RunSpec,
    configuration,
    find_tasks,
    hold_to,
    planner_of,
    read_spec,
    spec_environment,
    task_groups,
)
from armap_agents.evaluation.summary import BEST_OF_N, Summary, summarise
from armap_agents.evaluation.truth import Environments, judged, replayed
from armap_agents.reward_model import RewardModel
from armap_agents.trace import drop_torn_line
from armap_agents.trajectory import JSON, Task
from armap_agents.usage import Usage

log = logging.getLogger(__name__)

RunFunction = Callable[[RunSpec, Task, int, str], Awaitable[Mapping[str, Any]]]
"""``run(spec, task, seed, label)``: runs a planner once and returns its result as JSON.

``{"trajectory", "score", "candidates": [{"trajectory", "score", "error"}], "usage", "run",
"seconds"}``; trajectories as `Trajectory.to_dict` writes them, `score` the reward model's or None.
"""

Progress = Callable[[int, int, int], None]
"""Told (finished, total, of these failed) after every run."""

SAME_ERRORS = 10
"""So many first runs (at least `concurrency`) that all fail with one error end the evaluation."""


async def evaluate(
    spec: RunSpec,
    out: Path,
    run: RunFunction,
    *,
    concurrency: int = 8,
    progress: Progress | None = None,
    identity: Mapping[str, JSON] | None = None,
) -> Summary:
    """Run what is not finished yet, and summarise the folder.

    Args:
        spec: What to run.
        out: Folder for ``config.json``, ``results.jsonl`` and ``summary.json``.
        run: Runs one planner on one task.
        concurrency: Tasks (and seeds of them) side by side.
        progress: Told after every finished run.
        identity: What else a figure depends on, kept in ``config.json``: ``reward_fingerprint``,
            hashes of the environment's data.

    Raises:
        ConfigurationError: The spec cannot be run, or the folder is in use or holds the results
            of another configuration.
        ArmapError: Every run failed with the same error; it is the message.
    """
    environment = await asyncio.to_thread(spec_environment, spec)
    tasks = await asyncio.to_thread(find_tasks, environment, spec.split, spec.tasks)
    async with only_writer(out):
        config = configuration(spec, tasks, identity or {})
        await asyncio.to_thread(hold_to, out, config)
        await asyncio.to_thread(drop_torn_line, out / RESULTS)
        results = await asyncio.to_thread(read_results, out)
        size = min(concurrency, getattr(environment, "pool_size", concurrency))
        evaluation = _Evaluation(spec, out, run, results, _environments(spec, size), progress)
        try:
            await evaluation.run_all(tasks, concurrency)
        finally:
            await evaluation.environments.aclose()
        return await asyncio.to_thread(_write_summary, spec, out)


def _environments(spec: RunSpec, size: int) -> Environments:
    make = partial(make_environment, spec.environment, **spec.environment_options)
    return Environments(make, size)


class _Evaluation:
    """One start of an evaluation: what is finished, and what this start has tried."""

    def __init__(
        self,
        spec: RunSpec,
        out: Path,
        run: RunFunction,
        results: dict[Key, Result],
        environments: Environments,
        progress: Progress | None,
    ) -> None:
        self.spec, self.out, self.run = spec, out, run
        self.results, self.environments, self.progress = results, environments, progress
        self.writing = asyncio.Lock()
        self.tried: Counter[str | None] = Counter()

    def unfinished(self, task: Task, seed: int) -> list[str]:
        """Planners that have no result, or a failed one."""
        keys = [(task.id, planner, seed) for planner in self.spec.planners]
        return [k[1] for k in keys if k not in self.results or self.results[k].error is not None]

    async def run_all(self, tasks: list[Task], concurrency: int) -> None:
        work = [
            (task, seed, planners)
            for task in tasks
            for seed in self.spec.seeds
            if (planners := self.unfinished(task, seed))
        ]
        enough = min(sum(len(planners) for *_, planners in work), max(SAME_ERRORS, concurrency))
        self.report()
        queue = iter(work)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(work))):
                    group.create_task(self.worker(queue, enough))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def worker(self, queue: Iterator[tuple[Task, int, list[str]]], enough: int) -> None:
        for task, seed, planners in queue:
            for planner in planners:
                result = await self.one(task, seed, planner)
                async with self.writing:
                    await asyncio.to_thread(append, self.out / RESULTS, result.to_dict())
                self.results[result.key] = result
                self.tried[result.error] += 1
                self.report()
                self.stop_if_hopeless(enough)

    def stop_if_hopeless(self, enough: int) -> None:
        """Raise the one error that everything so far has failed with, once that is enough."""
        if len(self.tried) == 1 and self.tried.total() >= enough:
            (error,) = self.tried
            if error is not None and all(r.error is not None for r in self.results.values()):
                raise ArmapError(error)

    async def one(self, task: Task, seed: int, planner: str) -> Result:
        """Run a planner once; whatever fails, fails this result alone."""
        started = perf_counter()
        try:
            answer = await self.run(self.spec, task, seed, planner)
            return await self.judge(task, seed, planner, answer)
        except ArmapError as error:
            line = str(error)
        except Exception as error:
            log.warning("%s on task %s, seed %d failed", planner, task.id, seed, exc_info=True)
            line = f"{type(error).__name__}: {error}"
        line = " ".join(line.split())
        return Result(task.id, planner, seed, error=line, seconds=perf_counter() - started)

    async def judge(self, task: Task, seed: int, planner: str, answer: Mapping[str, Any]) -> Result:
        """Ask for the true scores of what a planner returned."""
        chosen = answer["trajectory"]
        everything = answer.get("candidates") or []
        candidates = await judged(
            self.environments,
            task,
            [{"trajectory": chosen, "score": answer.get("score")}, *everything],
        )
        answered, candidates = candidates[0], candidates[1:] or candidates[:1]
        failed = all(candidate.failed for candidate in candidates)
        return Result(
            task=task.id,
            planner=planner,
            seed=seed,
            error=Counter(c.error for c in candidates).most_common(1)[0][0] if failed else None,
            instruction=chosen["instruction"],
            true_score=answered.true_score,
            score=answered.score,
            actions=answered.actions,
            candidates=tuple(candidates),
            usage=Usage.from_dict(answer.get("usage") or {}),
            seconds=float(answer["seconds"]),
            run=answer.get("run"),
        )

    def report(self) -> None:
        if self.progress is not None:
            spec = self.spec
            total = len(spec.tasks) * len(spec.planners) * len(spec.seeds)
            failed = sum(result.error is not None for result in self.results.values())
            self.progress(len(self.results), total, failed)


async def rescore(out: Path, models: Mapping[str, RewardModel], *, concurrency: int = 8) -> Summary:
    """Score the stored candidates with other reward models and add these as selectors.

    No rollout is run: each candidate's actions are replayed, once for all models, for what the
    environment shows. ``cosine`` and ``judge`` are the names of the untrained selectors that a
    reward model has to beat; any other name is listed as ``reward:NAME`` and is not among these.

    Args:
        out: Folder of a finished evaluation.
        models: Score the candidates, under the name that each is to have; what one scored under
            this name before is kept, unless another had the name since.
        concurrency: Runs side by side.

    Raises:
        ConfigurationError: The folder holds no evaluation, is in use, or a name is taken.
    """
    spec = await asyncio.to_thread(read_spec, out)
    for name in models:
        if name in {REWARD, RANDOM, SURFACE, *trivial_rules(spec.environment)}:
            raise ConfigurationError(f"the selector name {name!r} is taken: choose another")
    environment = await asyncio.to_thread(spec_environment, spec)
    trivial = {*UNTRAINED, *getattr(environment, "selectors", {})}
    selectors = {n if n in trivial else f"{RESCORED}:{n}": model for n, model in models.items()}
    listed = await asyncio.to_thread(find_tasks, environment, spec.split, spec.tasks)
    tasks = {task.id: task for task in listed}
    size = min(concurrency, getattr(environment, "pool_size", concurrency))
    environments = _environments(spec, size)
    async with only_writer(out):
        await asyncio.to_thread(drop_torn_line, out / SCORES)
        results = await asyncio.to_thread(read_results, out)
        scored = await asyncio.to_thread(read_scored, out)
        known = {(item.selector, item.fingerprint, item.key) for item in scored}
        todo = [
            (result, missing)
            for result in results.values()
            if planner_of(result.planner) == BEST_OF_N and result.error is None
            if (
                missing := [
                    s for s, m in selectors.items() if (s, m.fingerprint, result.key) not in known
                ]
            )
        ]
        writing, queue = asyncio.Lock(), iter(todo)

        async def worker() -> None:
            for result, missing in queue:
                kept = [k for k, c in enumerate(result.candidates) if not c.failed]
                trajectories = [
                    await replayed(
                        environments, tasks[result.task], result.instruction, result.candidates[k]
                    )
                    for k in kept
                ]
                for selector in missing:
                    model = selectors[selector]
                    scores: list[float | None] = [None] * len(result.candidates)
                    for k, score in zip(kept, await model.ascore(trajectories), strict=True):
                        scores[k] = float(score)
                    found = Scored(selector, model.fingerprint, result.key, tuple(scores))
                    async with writing:
                        await asyncio.to_thread(append, out / SCORES, found.to_dict())

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(worker())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            await environments.aclose()
        return await asyncio.to_thread(_write_summary, spec, out)


def _write_summary(spec: RunSpec, out: Path) -> Summary:
    summary = summarise(spec, read_results(out), read_scores(out), task_groups(spec))
    draft = out / "summary.draft"
    draft.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", "utf-8")
    draft.replace(out / "summary.json")
    return summary
