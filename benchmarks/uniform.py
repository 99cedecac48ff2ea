"""What the policy adds: the same evaluation with actions drawn uniformly instead of by an LLM.

A scripted endpoint answers every request with a uniform draw from the allowed actions, so that
planners, candidates and selectors are exactly those of `armap evaluate`, without a policy:

    python benchmarks/uniform.py --reward 'runs/results/learning/seed-{seed}/fraction-1/reward' \
        --out runs/results/uniform

`benchmarks/compare.py` puts its rows beside those of a policy.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from armap_agents.cli.evaluate import evaluate_spec, parse_seeds, parse_tasks, show
from armap_agents.cli.planners import parse_planners, run_planner
from armap_agents.environment import make_environment
from armap_agents.evaluation import RunSpec, Summary
from armap_agents.testing import scripted_policy

MODEL = "uniform"


async def _evaluate(spec: RunSpec, out: Path) -> Summary:
    async with scripted_policy(models=(MODEL,)) as server:
        here = spec.model_copy(update={"policy_url": server.url, "policy_model": MODEL})
        return await evaluate_spec(here, out, run_planner)


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
        }
    )
    show(asyncio.run(_evaluate(spec, out)), out)


if __name__ == "__main__":
    typer.run(main)
