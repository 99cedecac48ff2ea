"""How many steps a second WebShop's engine takes in one process, beside the official environment's.

Every episode has a goal and queries of its own, so that no search was met before; all caches of the
process are empty at the beginning; every observation is rendered. What is done in an episode, and
how often, is that of the 50 recorded episodes of the official text environment: `SHAPES`. The
official environment took about 40 steps a second on two cores, a recorded figure that is not
measured here.
Run it so: ``python benchmarks/webshop_engine.py --data FOLDER``, on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections import defaultdict

from armap_agents import Observation, Task, make_environment
from armap_agents.environment import Environment

OFFICIAL = 40
"""Steps a second of the official text environment, as recorded."""

SHAPES = {
    "search product buy": 24,
    "search product option buy": 9,
    "search product option option buy": 4,
    "search product option option option buy": 3,
    "search back search product sub back search product buy": 1,
    "search product option option option sub prev buy": 1,
    "search product back search product buy": 1,
    "search product back search product sub back search product buy": 1,
    "search product prev product buy": 1,
    "search product option sub back search product option option option option option": 1,
    "search product sub back search product option option option option buy": 1,
    "search back search product buy": 1,
    "search product sub prev sub prev prev product option option option buy": 1,
    "search product sub back search product back search product option buy": 1,
}
"""Kinds of actions in an episode → how many of the 50 recorded episodes went so."""

BUTTONS = {
    "buy": ("click[buy now]",),
    "back": ("click[back to search]",),
    "prev": ("click[< prev]",),
    "sub": ("click[description]", "click[features]", "click[reviews]"),
}
OTHERS = {"click[next >]", *(action for actions in BUTTONS.values() for action in actions)}


def action(kind: str, seen: Observation, instruction: str, draw: random.Random) -> str:
    """Return an action of a kind; a product without options gets a look at its features instead."""
    if kind == "search":
        words = instruction.removeprefix("Find me ").split()
        return f"search[{' '.join(draw.sample(words, min(4, len(words))))}]"
    if kind in BUTTONS:
        return draw.choice(BUTTONS[kind])
    free = [text for text in seen.actions or () if text not in OTHERS]
    return draw.choice(free or ["click[features]"])


async def episode(
    environment: Environment, task: Task, shape: str, draw: random.Random
) -> list[tuple[str, float]]:
    """Act out an episode; return the kind and the seconds of its reset and of every step."""
    taken = []
    began = time.perf_counter()
    seen = await environment.reset(task)
    taken.append(("reset", time.perf_counter() - began))
    for kind in shape.split():
        asked = action(kind, seen, environment.instruction, draw)  # type: ignore[attr-defined]
        began = time.perf_counter()
        result = await environment.step(asked)
        taken.append((kind, time.perf_counter() - began))
        seen = result.observation
    return taken


async def measure(environment: Environment, tasks: list[Task], draw: random.Random) -> None:
    """Act out an episode a task and print the figures."""
    shapes = draw.choices(list(SHAPES), list(SHAPES.values()), k=len(tasks))
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    began = time.perf_counter()
    await environment.reset(tasks[0])
    print(f"opened in {time.perf_counter() - began:.2f} s")
    began = time.perf_counter()
    for task, shape in zip(tasks, shapes, strict=True):
        for kind, spent in await episode(environment, task, shape, draw):
            seconds[kind].append(spent)
    total = time.perf_counter() - began
    steps = sum(len(taken) for kind, taken in seconds.items() if kind != "reset")
    print(f"{len(tasks)} episodes, {steps} steps in {total:.2f} s, resets included")
    print(f"{steps / total:.0f} steps/s, {steps / total / OFFICIAL:.0f} x the official {OFFICIAL}")
    for kind, taken in sorted(seconds.items()):
        print(
            f"  {kind:8} {len(taken):5} times, median {statistics.median(taken) * 1e3:6.2f} ms, "
            f"mean {statistics.mean(taken) * 1e3:6.2f} ms"
        )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--data", help="folder of the official files; default: the embedded shop")
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--observation", default="text", help="text or text_rich")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    # Listing the tasks parses products: another seed is another shop, which has met none yet.
    tasks = make_environment("webshop", data=options.data, render=False, seed=1).tasks("all")
    chosen = draw.sample(tasks, min(options.episodes, len(tasks)))
    environment = make_environment(
        "webshop", data=options.data, render=False, observation=options.observation
    )
    asyncio.run(measure(environment, chosen, draw))


if __name__ == "__main__":
    main()
