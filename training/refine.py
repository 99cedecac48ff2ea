"""Refine: write the instruction that a trajectory fulfils, and make sure that it does.

A second LLM reads what happened and writes the instruction. A small model often writes something
else, so every text is checked against the executed episode (format and grounding); one that fails
is replaced by the environment's template, and counted.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, Protocol

from armap_agents.errors import PolicyError
from armap_agents.policy import Policy
from armap_agents.training.explore import count_failure, count_usage
from armap_agents.trajectory import Trajectory

Refined = Literal["written", "template"]


class Checks(Protocol):
    """What refining must know about an environment."""

    def template(self, trajectory: Trajectory) -> str | None:
        """Return an instruction that the trajectory fulfils, None if there is none."""
        ...

    def grounded(self, trajectory: Trajectory, text: str) -> bool:
        """Whether a written instruction says what the trajectory did."""
        ...


def prompt(trajectory: Trajectory, example: str) -> list[dict[str, str]]:
    """Return the messages that ask for the instruction of a trajectory."""
    deeds = "\n".join(f"{step.action} -> {step.observation.text}" for step in trajectory.steps)
    return [
        {
            "role": "user",
            "content": (
                "Someone followed an instruction. From what they did, write the instruction in "
                f"one line, in this form: {example}\n\n"
                f"Start: {trajectory.observation.text}\n{deeds}\nInstruction:"
            ),
        }
    ]


async def refine(
    checks: Checks, trajectory: Trajectory, policy: Policy | None, seed: int, counts: Counter[str]
) -> tuple[str, Refined] | None:
    """Return an instruction that the trajectory fulfils and who worded it.

    `counts` receives what the policy cost; where it fails, the template serves.

    Returns:
        None where not even the template finds one.
    """
    template = checks.template(trajectory)
    if template is None or policy is None:
        return None if template is None else (template, "template")
    example = trajectory.instruction or template
    try:
        text, usage = await policy.write(
            prompt(trajectory, example), temperature=0.7, max_tokens=64, seed=seed
        )
    except PolicyError as error:
        count_failure(counts, error)
        return template, "template"
    count_usage(counts, usage)
    lines = text.strip().splitlines()
    if lines and checks.grounded(trajectory, lines[0].strip()):
        return lines[0].strip(), "written"
    return template, "template"
