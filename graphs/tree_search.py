"""Search with a tree as a LangGraph graph; how leaves are picked makes it MCTS or a beam.

``select → expand | rollout (Send × W) → score (one batch) → backup → select | answer``, each a
super-step, so that a history reads as the search. `expand` asks the policy for proposals where the
search goes below a node for the first time, not before: what nobody descends to costs nothing. It
evaluates the chosen ones among them as soon as it has them, while `rollout` nodes evaluate leaves
that were proposed earlier: an iteration lasts as long as its longest chain of answers, not as
long as its slowest proposals and then its longest rollout.

Every answer of the policy, every rollout, score and backup is in the journal before its node
returns; a run that goes on applies the recorded backups and works from there.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import uuid4

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Overwrite, Send

from armap_agents import search
from armap_agents.graphs import closing
from armap_agents.graphs.checking import checked_task
from armap_agents.graphs.context import PlannerContext, context_of
from armap_agents.graphs.deciding import (
    affordable,
    budgets_left,
    only_failed_left,
    tries_again,
    why_stopped,
)
from armap_agents.graphs.evaluating import evaluate, weight_of_values
from armap_agents.graphs.nodes import PlannerInput, open_reward
from armap_agents.graphs.rollout import record
from armap_agents.graphs.runs import (
    follow,
    open_journal,
    open_run,
    refuse_other,
    settings_of,
)
from armap_agents.graphs.tree_backup import better, evaluated, grown, record_backup
from armap_agents.graphs.tree_state import NodeJob, Outcome, SearchState, prefix_of
from armap_agents.graphs.tree_steps import Proposed, open_episode, propose, visit
from armap_agents.graphs.tree_view import tree_view
from armap_agents.reward.objectives import check_penalties
from armap_agents.search import Evaluation, Pick, Tree
from armap_agents.trace import Journal
from armap_agents.trajectory import Status, Task
from armap_agents.usage import Usage

_PROCESS = uuid4().hex
"""A clock that does not go backwards is of one process: another one's readings mean nothing."""


@dataclass(frozen=True)
class TreeSearch:
    """A planner with a tree.

    Attributes:
        planner: Its name.
        fields: Fields of the context that its events depend on, beside those of every rollout.
        fixed: Settings that a fork has to keep, because values in the tree depend on them.
        pick: (tree, context, width) → leaves to evaluate or to expand next; none ends the search.
        below: (tree, context, node, share) → leaves to evaluate under a node that has just been
            expanded, for which `share` picks were meant.
        context: The context as this planner reads it.
    """

    planner: str
    fields: tuple[str, ...]
    fixed: tuple[str, ...]
    pick: Callable[[Tree, PlannerContext, int], list[Pick]]
    below: Callable[[Tree, PlannerContext, str, int], list[str]]
    context: Callable[[PlannerContext], PlannerContext] = lambda context: context

    def builder(self) -> StateGraph[Any, PlannerContext, Any, Any]:
        """Return the planner's graph, to be compiled."""
        builder = StateGraph(SearchState, context_schema=PlannerContext, input_schema=PlannerInput)
        builder.add_node("begin", self.begin)
        builder.add_node("select", self.select)
        builder.add_node("expand", self.expand)
        builder.add_node("rollout", self.rollout)
        builder.add_node("score", self.score)
        builder.add_node("backup", self.backup)
        builder.add_node("finish", self.finish)
        builder.add_node("review", self.review)
        builder.add_node("answer", self.answer)
        builder.add_edge(START, "begin")
        builder.add_edge("begin", "select")
        builder.add_conditional_edges(
            "select", self.after_select, ["expand", "rollout", "finish", "review"]
        )
        builder.add_edge("expand", "score")
        builder.add_edge("rollout", "score")
        builder.add_edge("score", "backup")
        builder.add_conditional_edges("backup", self.after_backup, ["select", "finish", "review"])
        builder.add_edge("finish", "review")
        builder.add_conditional_edges("review", self.after_review, ["select", "answer"])
        builder.add_edge("answer", END)
        return builder

    async def begin(self, state: PlannerInput, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
        """Check the context, name the run, and look at the episode's opening."""
        context = self.read(runtime)
        task = checked_task(state)
        check_penalties(context.objective)
        judged = await self.judged_by(context)
        journal = await open_run(self.planner, task, context, self.fields, **judged)
        await open_episode(self.planner, task, context, journal, runtime.stream_writer)
        return {
            "task": task.to_dict(),
            "run": journal.run,
            "iteration": 0,
            "tree": Overwrite(dict(search.new_tree())),
            "outcomes": None,
            "rewards": {},
            "best": None,
            "spent": Usage().to_dict(),
            "granted": None,
            "stopped": None,
            "score": None,
            "candidates": [],
        }

    async def select(self, state: SearchState, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
        """Apply the backups that are recorded already, then pick the next leaves."""
        context, task = self.read(runtime), Task.from_dict(state["task"])
        journal = await self.journal(state, context)
        tree, patch = dict(state["tree"]), dict[str, search.Node]()
        iteration, best = state["iteration"], state["best"]
        spent = Usage.from_dict(state["spent"])
        emit, granted = runtime.stream_writer, state["granted"]
        while (known := journal.find(f"backup/{iteration}")) is not None:
            tree.update(known["nodes"])
            patch.update(known["nodes"])
            best, spent = known["best"], Usage.from_dict(known["spent"])
            iteration += 1
        while True:
            stopped = why_stopped(context, granted, tree, spent, best, journal, iteration)
            left, picks = budgets_left(context, granted, spent, journal, iteration), list[Pick]()
            if stopped is None and left is not None:
                width = min(context.parallel, left["rollouts"] or context.parallel)
                picks, stopped = affordable(
                    self.pick, tree, context, width, left["completions"], journal, task
                )
            if not tries_again(tree, stopped, journal, iteration):
                break
            nodes = search.changes(tree, search.reopen(tree))
            record_backup(journal, emit, iteration, [], nodes, best, spent, reopened=stopped)
            tree.update(nodes)
            patch.update(nodes)
            iteration += 1
        selected = [pick.leaf for pick in picks]
        if picks:
            # A run that is gone on with may have begun this iteration, with more or less left.
            event = record(
                journal,
                emit,
                f"select/{iteration}",
                "selection",
                iteration=iteration,
                left=left,
                picks=[pick.to_dict() for pick in picks],
            )
            left, selected = event["left"], [pick["leaf"] for pick in event["picks"]]
        return {
            "run": journal.run,
            "tree": patch,
            "iteration": iteration,
            "best": best,
            "spent": spent.to_dict(),
            "clock": [_PROCESS, time.monotonic()],
            "left": left,
            "selected": selected,
            "outcomes": None,
            "rewards": {},
            "stopped": stopped,
        }

    def after_select(self, state: SearchState) -> str | list[str | Send]:
        """Evaluate the leaves all at once: known ones each by itself, the others in `expand`."""
        if state["stopped"] is not None:
            return closing.after_search(state)
        tree = state["tree"]
        jobs = [
            {
                "node": leaf,
                "run": state["run"],
                "iteration": state["iteration"],
                "task": state["task"],
                "again": tree[leaf]["visits"] > 0,
            }
            for leaf in dict.fromkeys(state["selected"])
            if tree[leaf]["status"] != Status.OPEN
        ]
        expands = any(tree[leaf]["status"] == Status.OPEN for leaf in state["selected"])
        return [*(["expand"] if expands else []), *(Send("rollout", {"job": job}) for job in jobs)]

    async def expand(self, state: SearchState, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
        """Ask for actions below the picked leaves that have none yet, and evaluate the best."""
        context, task = self.read(runtime), Task.from_dict(state["task"])
        weight = weight_of_values(await open_reward(context), context.value_weight)
        journal = await self.under_way(state["run"], state["iteration"], task, context)
        emit, iteration = runtime.stream_writer, state["iteration"]
        spent = Usage.from_dict(state["spent"])
        shares = Counter(state["selected"])
        bare = [node for node in shares if state["tree"][node]["status"] == Status.OPEN]
        rollouts, spare = (state["left"] or {}).get("rollouts"), None
        if context.rollouts is not None and rollouts is not None:
            # A planner may want more leaves below a node than were picked: those to spare.
            spare = (rollouts - shares.total()) // len(bare)

        async def below(node: str) -> tuple[Proposed, list[Outcome]]:
            prefix = prefix_of(journal, task, node)
            asked = await propose(node, iteration, prefix, context, journal, emit)
            if asked.error is not None:
                failed = {"node": node, "status": Status.FAILED.value, "error": asked.error}
                return asked, [failed]
            tree = search.expand(state["tree"], node, asked.items)
            chosen = self.below(tree, context, node, shares[node]) if asked.items else []
            limit = None if spare is None else shares[node] + spare
            visits = (
                visit(leaf, iteration, task, context, journal, emit, continues=weight < 1)
                for leaf in chosen[:limit]
            )
            return asked, await asyncio.gather(*visits)

        found = await asyncio.gather(*map(below, bare))
        tree: Tree = state["tree"]
        for node, (asked, _) in zip(bare, found, strict=True):
            spent += replace(asked.usage, seconds=0.0)  # they overlap; `backup` reads the clock
            if asked.error is None:
                tree = search.expand(tree, node, asked.items)
        return {
            "tree": search.changes(state["tree"], tree),
            "outcomes": [outcome for _, outcomes in found for outcome in outcomes],
            "spent": spent.to_dict(),
        }

    async def rollout(self, state: NodeJob, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
        """Take the leaf's action and, unless prefix values alone count, roll out from there."""
        context, job = self.read(runtime), state["job"]
        weight = weight_of_values(await open_reward(context), context.value_weight)
        task = Task.from_dict(job["task"])
        journal = await self.under_way(job["run"], job["iteration"], task, context)
        outcome = await visit(
            job["node"],
            job["iteration"],
            task,
            context,
            journal,
            runtime.stream_writer,
            continues=weight < 1,
        )
        if job["again"]:
            outcome["usage"] = Usage(rollouts=1).to_dict()
        return {"outcomes": [outcome]}

    async def score(self, state: SearchState, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
        """Ask the reward model once for everything that this iteration brought."""
        context, task = self.read(runtime), Task.from_dict(state["task"])
        model = await open_reward(context, task.environment)
        journal = await self.under_way(state["run"], state["iteration"], task, context)
        weight = weight_of_values(model, context.value_weight)
        finished, prefixes = {}, {}
        for outcome in state["outcomes"]:
            node = outcome["node"]
            if outcome["status"] == Status.FAILED or state["tree"][node]["visits"]:
                continue
            rollout = journal.find(f"rollout/{node}")
            assert rollout is not None
            if rollout["trajectory"]["status"] != Status.OPEN:
                finished[node] = journal.load(rollout["trajectory"])
            if outcome["status"] == Status.OPEN and weight > 0:
                prefixes[node] = prefix_of(journal, task, node)
        rewards = await evaluate(
            model, context.objective, weight, finished, prefixes, journal, runtime.stream_writer
        )
        scored = Usage(scored=len(finished) + len(prefixes))
        return {
            "rewards": rewards,
            "spent": (Usage.from_dict(state["spent"]) + scored).to_dict(),
        }

    async def backup(self, state: SearchState, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
        """Take the evaluations into the tree, and see whether the search is over."""
        context, task = self.read(runtime), Task.from_dict(state["task"])
        journal = await self.under_way(state["run"], state["iteration"], task, context)
        weight = weight_of_values(await open_reward(context), context.value_weight)
        evaluations = [evaluated(state, outcome) for outcome in state["outcomes"]]
        rule = search.RULES[context.selection]()
        tree = search.backup(
            state["tree"],
            [Evaluation(e["node"], e["status"], e["result"], e["value"]) for e in evaluations],
            rule,
            context.backup,
            weight,
        )
        spent, (process, began) = Usage.from_dict(state["spent"]), state["clock"]
        took = time.monotonic() - began if process == _PROCESS else 0.0
        seconds = round(spent.seconds + took, 3)
        spent = sum((Usage.from_dict(o.get("usage", {})) for o in state["outcomes"]), spent)
        event = record_backup(
            journal,
            runtime.stream_writer,
            state["iteration"],
            evaluations,
            search.changes(state["tree"], tree) | grown(state, tree),
            better(state["best"], evaluations),
            replace(spent, seconds=seconds),
        )
        iteration, best = state["iteration"] + 1, event["best"]
        spent = Usage.from_dict(event["spent"])
        stopped = why_stopped(context, state["granted"], tree, spent, best, journal, iteration)
        if only_failed_left(tree, stopped):
            stopped = None
        return {
            "tree": event["nodes"],
            "iteration": iteration,
            "best": best,
            "spent": event["spent"],
            "stopped": stopped,
            "tree_view": tree_view(tree, best and best["node"]),
        }

    def after_backup(self, state: SearchState) -> Literal["select", "finish", "review"]:
        """Search on until something stops it."""
        return "select" if state["stopped"] is None else closing.after_search(state)

    async def finish(self, state: SearchState, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
        """Roll out from the most valuable state where nothing has been finished."""
        return await closing.finish(state, self.read(runtime), runtime.stream_writer)

    async def review(self, state: SearchState, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
        """Let a person approve the answer, edit it, or ask for more."""
        return await closing.review(state, self.read(runtime), runtime.stream_writer)

    def after_review(self, state: SearchState) -> Literal["select", "answer"]:
        """Search on where a person asked for it."""
        return "select" if state["stopped"] is None else "answer"

    async def answer(self, state: SearchState, runtime: Runtime[PlannerContext]) -> dict[str, Any]:
        """Hand out the finished trajectory with the best objective, and what the run cost."""
        return await closing.answer(state, runtime.stream_writer)

    def read(self, runtime: Runtime[PlannerContext]) -> PlannerContext:
        """Return the run's context as this planner reads it."""
        return self.context(context_of(runtime))

    async def judged_by(self, context: PlannerContext) -> dict[str, Any]:
        """Return the settings that say what values mean: the reward model and λ."""
        model = await open_reward(context)
        weight = weight_of_values(model, context.value_weight)
        return {"reward": model.fingerprint, "value_weight": weight}

    async def settings(self, task: Task, context: PlannerContext) -> dict[str, Any]:
        """Return what a run's events depend on."""
        return settings_of(task, context, self.fields, **await self.judged_by(context))

    async def journal(self, state: SearchState, context: PlannerContext) -> Journal:
        """Return the journal to go on in: the run's, or a fork's where the context changed."""
        settings = await self.settings(Task.from_dict(state["task"]), context)
        upto = f"backup/{state['iteration'] - 1}" if state["iteration"] else "opening"
        fixed = ("environment_options", "max_steps", "reward", "value_weight", *self.fixed)
        following = f"backup/{state['iteration']}"
        return await follow(state["run"], upto, following, self.planner, context, settings, fixed)

    async def under_way(
        self, run: str, iteration: int, task: Task, context: PlannerContext
    ) -> Journal:
        """Return the journal of an iteration that has begun.

        Raises:
            ConfigurationError: The context changed in the middle of it, so that answers to
                different questions would mix.
        """
        journal = await open_journal(run)
        if journal.find(f"backup/{iteration}") is None:
            refuse_other(journal, await self.settings(task, context), iteration)
        return journal
