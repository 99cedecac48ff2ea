"""Refine: write the instruction that a trajectory fulfils, and make sure that it asks for that.

The domain says what a trajectory fulfils, and has a template for it. A second LLM may word it: it
reads what happened and what is to be asked for. A small model often writes something else, so every
text is checked (form and grounding); where one fails, the template serves, and it is counted why.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from armap_agents.errors import PolicyError
from armap_agents.policy import Policy
from armap_agents.policy.prompts import Message
from armap_agents.policy.thoughts import cut, one_line
from armap_agents.training.domain import Domain, Instruction
from armap_agents.training.explore import write
from armap_agents.trajectory import Trajectory

OBSERVATION_CHARACTERS = 200
"""The most characters of one observation that the writer reads."""

DEEDS = 12
"""The most steps that it reads; the newest, where there are more."""

INSTRUCTION_CHARACTERS = 600

TEMPERATURE = 0.7


def told(trajectory: Trajectory) -> str:
    """Return what was seen and done, as the LLM reads it: a line a step, shortened."""
    start = cut(trajectory.observation.text, OBSERVATION_CHARACTERS)
    deeds = [
        f"{step.action} -> {cut(step.observation.text, OBSERVATION_CHARACTERS)}"
        for step in trajectory.steps[-DEEDS:]
    ]
    return "\n".join([start, *deeds])


def prompt(trajectory: Trajectory, instruction: Instruction, example: str) -> list[Message]:
    """Return the messages that ask for a trajectory's instruction in other words."""
    text = (
        "Someone was given an instruction and carried it out. Write the instruction in one line. "
        f"Another one of the kind:\n{example}\n\nWhat they saw and did:\n{told(trajectory)}\n\n"
        f"The instruction asks for all of this and for nothing else:\n{instruction.text}\n\n"
        "In other words, in one line:"
    )
    return [{"role": "user", "content": text}]


async def refine(
    domain: Domain,
    trajectory: Trajectory,
    instruction: Instruction,
    writer: Policy | None,
    seed: int,
    counts: Counter[str],
) -> Instruction:
    """Return an instruction in the words of an LLM where they ask for the same, else as it was.

    Args:
        domain: Checks the words.
        trajectory: What happened.
        instruction: What it fulfils, in the template's words.
        writer: Words it; None leaves it to the template.
        seed: The writer's.
        counts: Receives who worded it, why a text was refused, and what it cost.
    """
    if writer is None:
        counts["instructions: template"] += 1
        return instruction
    try:
        text = await write(
            writer,
            prompt(trajectory, instruction, domain.example),
            counts,
            temperature=TEMPERATURE,
            max_tokens=128,
            seed=seed,
        )
    except PolicyError:
        refused = "the LLM failed"
    else:
        lines = text.strip().splitlines()
        written = one_line(lines[0], INSTRUCTION_CHARACTERS) if lines else ""
        if written and domain.grounded(written, instruction):
            counts["instructions: written"] += 1
            return replace(instruction, text=written)
        refused = "asks for something else" if written else "empty"
    counts[f"written refused: {refused}"] += 1
    counts["instructions: template"] += 1
    return instruction
