"""Thoughts: one line that the policy writes before an action, as in ReAct.

An answer then has two lines, ``Thought: …`` and ``Action: …``. A server that constrains samples
both under one regex, so that the action stays valid whatever the thought is (vLLM takes seconds to
compile the first one, and tenths of a second for each one after it); elsewhere they are found in
free text. A thought goes into later prompts and traces and nowhere else: what a model wrote is
untrusted, so it is one line of bounded length and cannot pass for a part of the prompt.
"""

from __future__ import annotations

import re
from typing import Any

from armap_agents.policy.actions import LABEL, alternatives, constraint, satisfies
from armap_agents.trajectory import Observation

THOUGHT = "Thought:"
ACTION = "Action:"

THOUGHT_CHARACTERS = 300
"""The most characters of a thought."""

THOUGHT_TOKENS = 2 * THOUGHT_CHARACTERS + 20
"""The most tokens of a thought and the two labels: two bytes a character, a token at least one."""

_THOUGHT = re.compile(r"\s*thought(?: \d+)?\s*:", re.IGNORECASE)
_ACTION_LINE = re.compile(r"^\s*action(?: \d+)?\s*:", re.IGNORECASE | re.MULTILINE)


def thought_constraint(observation: Observation, *, begun: bool) -> dict[str, Any] | None:
    """Return the value of ``structured_outputs`` for a thought with an action at an observation.

    Args:
        observation: What is valid.
        begun: The prompt ends in ``Thought:``, as in the completion style. No space is asked for
            behind it: the thought may begin with one.

    Returns:
        None where any text may be an action.
    """
    parts = alternatives(observation)
    if parts is None:
        return None
    opening = "" if begun else f"{THOUGHT} "
    thought = f"[^\\n]{{1,{THOUGHT_CHARACTERS}}}"
    return {"regex": f"{opening}{thought}\\n{ACTION} ({'|'.join(parts)})"}


def satisfies_with_thought(text: str, observation: Observation, *, begun: bool) -> bool:
    """Tell whether an answer keeps to `thought_constraint`.

    Without its regex, which Python takes long to compile where there are many actions.
    """
    said, labelled, action = text.partition(f"\n{ACTION} ")
    allowed = constraint(observation)
    if not labelled or allowed is None or not (begun or said.lstrip().startswith(THOUGHT)):
        return False
    return satisfies(action, allowed)


def divided(text: str, *, constrained: bool, begun: bool) -> tuple[str | None, str]:
    """Divide an answer into its thought and what holds the action.

    Args:
        text: The answer, its first label included.
        constrained: It was sampled under `thought_constraint`, and divides at its first line's end.
        begun: It goes on from a prompt that ended in ``Thought:``. A base model may then go on
            with what happens next and act again: the first line that is an action counts. In a
            chat the last ``Action:`` does, since thoughts may speak of actions.

    Returns:
        The thought, None where there is none, and the rest. An answer that is a thought and no
        more has an empty rest: an action that a thought mentions was not chosen.
    """
    if constrained:
        said, _, rest = text.partition(f"\n{ACTION} ")
        return thought_of(said), rest
    lines = list(_ACTION_LINE.finditer(text)) if begun else []
    if lines:
        start = lines[0].start()
        return thought_of(text[:start]), text[start:].strip().splitlines()[0]
    labels = [label for label in LABEL.finditer(text) if text[label.end() :].strip()]
    if labels:
        return thought_of(text[: labels[-1].start()]), text[labels[-1].start() :]
    if _THOUGHT.match(text):
        return thought_of(text), ""
    return None, text


def thought_of(text: str) -> str | None:
    """Return what a model wrote before an action as a thought, without label; None if empty."""
    label = _THOUGHT.match(text)
    return one_line(text[label.end() :] if label else text, THOUGHT_CHARACTERS) or None


def turn(thought: str | None, action: str) -> str:
    """Return an answer as prompts show it."""
    return f"{ACTION} {action}" if thought is None else f"{THOUGHT} {thought}\n{ACTION} {action}"


def one_line(text: str, characters: int) -> str:
    """Return a model's words on one line, of printable characters and so many at most."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return cut(line, characters)


def cut(text: str, characters: int) -> str:
    """Return a text, or as much of it as leaves room for a mark that something is missing."""
    return text if len(text) <= characters else text[: characters - 1] + "…"
