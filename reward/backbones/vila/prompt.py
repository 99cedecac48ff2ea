"""A trajectory as a conversation in the `vicuna_v1` form that VILA1.5 was tuned on.

The user gives the task and shows what is seen, pictures included, the assistant acts; the last turn
asks for the score, so that the last position has read everything. Every text is turned into tokens
by itself: what a page says cannot become a picture's place or the end of a turn.
"""

from __future__ import annotations

from collections.abc import Callable

from armap_agents.reward.backbones import Part
from armap_agents.reward.render import Rendered

IMAGE = -200
"""Stands among the token ids where a picture's positions go."""

SYSTEM = "A user asks for a task; an assistant works on it step by step and is shown what it sees."
QUESTION = "Does the last answer leave the task done as it was asked?"
ANSWER = "The score is"
AROUND = 16
"""Tokens that a turn's roles and end may take."""


def conversation(
    rendered: Rendered,
    tokens: Callable[[str], list[int]],
    begin: int | None,
    end: int,
    image_length: int,
) -> Part:
    """Return a trajectory's token ids, with `IMAGE` where its pictures go.

    Args:
        rendered: What fits.
        tokens: Turns a text into token ids, without special ones.
        begin: Token id that stands before everything; None for none.
        end: Token id that ends the assistant's turns.
        image_length: Positions that a picture takes.
    """
    ids = [] if begin is None else [begin]
    ids += tokens(f"{SYSTEM} USER: {rendered.instruction}")
    images = []
    for step in rendered.steps:
        if step.action:
            ids += [*tokens(f"ASSISTANT: {step.action}"), end, *tokens("USER:")]
        if step.image:
            images.append(step.image)
            ids.append(IMAGE)
        if step.observation:
            ids += tokens(step.observation)
    ids += tokens(f"{QUESTION} ASSISTANT: {ANSWER}")
    return Part(tuple(ids), tuple(images), len(ids) + len(images) * (image_length - 1))
