"""What the policy adds: the same evaluation with actions drawn uniformly instead of by an LLM.

A policy that knows nothing stands in for the LLM, in this process: it draws uniformly from the
listed actions and gives them equal priors, at the same price in completions. Planners, candidates
and selectors are exactly those of `armap evaluate`:

    python benchmarks/uniform.py --reward 'runs/results/learning/seed-{seed}/fraction-1/reward' \
        --out runs/results/uniform

`benchmarks/compare.py` puts its rows beside those of a policy.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Annotated, Any

import typer

from armap_agents import Trajectory, Usage, resources
from armap_agents.cli.evaluate import evaluate_spec, parse_seeds, parse_tasks, show
from armap_agents.cli.planners import parse_planners, run_planner, variant_context
from armap_agents.environment import make_environment
from armap_agents.evaluation import RunSpec, Summary
from armap_agents.policy import Answer, Proposal, Proposals

URL = "http://127.0.0.1/v1"
"""Nobody is asked there."""


class Uniform:
    """A policy of environments that list their actions: all of them are equally good."""

    async def check(self) -> None:
        """It is there."""

    async def act(self, trajectory: Trajectory, *, seed: int, **_: Any) -> Answer:
        """Draw an action."""
        action = random.Random(seed).choice(trajectory.last.actions or ())
        return Answer(action, action, Usage(completions=1), True)

    async def propose(self, trajectory: Trajectory, k: int, *, seed: int, **_: Any) -> Proposals:
        """Draw `k` actions without replacement."""
        actions = tuple(dict.fromkeys(trajectory.last.actions or ()))
        drawn = random.Random(seed).sample(actions, min(k, len(actions)))
        proposals = tuple(Proposal(action, 1 / len(drawn)) for action in drawn)
        return Proposals(proposals, Usage(completions=len(actions)))


async def _evaluate(spec: RunSpec, out: Path) -> Summary:
    async def uniform() -> Uniform:
        return Uniform()

    async with resources(out / "runs") as opened:
        # Whoever asks for the policy of this evaluation finds this one open.
        policy = variant_context(spec, spec.planners[0], spec.seeds[0]).policy()
        await opened.get(("policy", policy), uniform)
        return await evaluate_spec(spec, out, run_planner)


def main(
    out: Annotated[Path, typer.Option(help="Folder of results; an interrupted one is resumed.")],
    reward: Annotated[str, typer.Option(help="Reward model; {seed} stands for the seed.")],
    environment: Annotated[str, typer.Option(help="One that lists its actions.")] = "game24",
    split: Annotated[str, typer.Option(help="Split of the tasks.")] = "test",
    tasks: Annotated[str | None, typer.Option(help="Ids and ranges; default: all.")] = None,
    seeds: Annotated[str, typer.Option(help="Separated by commas.")] = "0,1,2",
    planner: Annotated[
        str, typer.Option(help="Planners, as for `armap evaluate`.")
    ] = "sampling,best_of_n",
    n: Annotated[int, typer.Option("--n", min=1, help="Rollouts per task.")] = 32,
) -> None:
    """Evaluate planners with uniform actions."""
    known = [task.id for task in make_environment(environment).tasks(split)]
    spec = RunSpec.from_dict(
        {
            "environment": environment,
            "split": split,
            "tasks": parse_tasks(tasks, known),
            "planners": parse_planners(planner),
            "seeds": parse_seeds(seeds),
            "n": n,
            "reward": reward,
            "policy_url": URL,
            "policy_model": "uniform",
        }
    )
    show(asyncio.run(_evaluate(spec, out)), out)


if __name__ == "__main__":
    typer.run(main)
