"""Negatives that LLMs make of a good trajectory: a wrong action, or a whole failing counterpart.

The policy picks an action at a random step, which may be another one. The writer reads the
instruction and what was done for it and writes the actions of somebody who makes a mistake
(arXiv 2502.12130, "corrupt"). Nothing but actions is taken from either, and they are executed. A
small writer often writes something else: where its first change is not possible, or nothing is
changed, the answer is dropped and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from random import Random

from armap_agents.environment import Environment
from armap_agents.policy import Policy
from armap_agents.policy.prompts import Message
from armap_agents.policy.thoughts import one_line
from armap_agents.training.corrupt import execute, parting
from armap_agents.training.explore import ask, step_limit, write
from armap_agents.training.refine import DEEDS, TEMPERATURE, told
from armap_agents.trajectory import Trajectory

ACTION_CHARACTERS = 300
ACTION_TOKENS = 48
"""Of one written action, at most, on the average of an answer."""

_MARKS = re.compile(r"\A\s*(?:(?:\d+[.):]|[-*•]|action:)\s+)*", re.IGNORECASE)
"""What lists and labels put before an action."""


def prompt(trajectory: Trajectory, instruction: str) -> list[Message]:
    """Return the messages that ask for a trajectory's failing counterpart."""
    text = (
        f"Someone was given this instruction:\n{instruction}\n\n"
        f"What they saw and did (action -> what they saw then):\n{told(trajectory)}\n\n"
        "Somebody else makes a mistake that is easy to make, such as a wrong choice, a step that "
        "is left out or the wrong order, and does not do what the instruction asks for. Write "
        "what that person does: the same actions but for the mistake and what follows from it, "
        "one action a line, in the same form, without what they see."
    )
    return [{"role": "user", "content": text}]


def actions(text: str) -> list[str]:
    """Return the actions of an answer that lists one a line.

    Left out are a line that announces them, marks of a list, and what they would have led to.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("```")]
    if lines and lines[0].rstrip().endswith(":"):
        del lines[0]
    bare = (_MARKS.sub("", line).partition(" -> ")[0] for line in lines)
    return [action for line in bare if (action := one_line(line, ACTION_CHARACTERS))]


async def picked(
    environment: Environment,
    trajectory: Trajectory,
    instruction: str,
    policy: Policy,
    temperature: float,
    rng: Random,
    counts: Counter[str],
) -> Trajectory | None:
    """Return what happened when the policy picked the action at a random step.

    Args:
        environment: Where to execute it.
        trajectory: Fulfils the instruction.
        instruction: Put to the policy.
        policy: Is asked.
        temperature: The policy's.
        rng: Draws the step, and what is done in place of what has become impossible.
        counts: Receives what it cost, and why an answer was dropped.

    Returns:
        None where the policy picks the same action.

    Raises:
        PolicyError: The policy failed.
        EnvironmentFailure: The environment failed.
    """
    choose = ask(environment, policy, temperature, rng.randrange(2**31), counts, instruction)
    k, own = rng.randrange(len(trajectory)), trajectory.actions
    action = await choose(trajectory.prefix(k))
    if action == own[k]:
        counts["dropped: the policy picked the same action"] += 1
        return None
    return await execute(environment, trajectory, [*own[:k], action, *own[k + 1 :]], rng)


async def written(
    environment: Environment,
    trajectory: Trajectory,
    instruction: str,
    writer: Policy,
    rng: Random,
    counts: Counter[str],
) -> Trajectory | None:
    """Return what happened when the counterpart that the writer wrote was executed.

    Args:
        environment: Where to execute it.
        trajectory: Fulfils the instruction.
        instruction: What was asked for.
        writer: Writes what the other does in the place of the last `DEEDS` steps.
        rng: Seeds the writer, and draws what is done in place of what has become impossible.
        counts: Receives what it cost, and why an answer was dropped.

    Returns:
        None where the answer changes nothing, or its first change is impossible.

    Raises:
        PolicyError: The writer failed.
        EnvironmentFailure: The environment failed.
    """
    kept = trajectory.actions[: max(len(trajectory) - DEEDS, 0)]
    text = await write(
        writer,
        prompt(trajectory, instruction),
        counts,
        temperature=TEMPERATURE,
        max_tokens=ACTION_TOKENS * (len(trajectory) - len(kept) + 1),
        seed=rng.randrange(2**31),
    )
    other = [*kept, *actions(text)][: step_limit(trajectory.task)]
    change = parting(other, trajectory.actions)
    if len(other) == len(kept) or change == len(other) == len(trajectory):
        counts["dropped: the LLM wrote no other actions"] += 1
        return None
    executed = await execute(environment, trajectory, other, rng)
    if other[change : change + 1] != executed.actions[change : change + 1]:
        counts["dropped: what the LLM changed is impossible"] += 1
        return None
    return executed
