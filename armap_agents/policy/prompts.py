"""What a trajectory looks like to the policy: a chat, or the same as one plain text.

A prompt grows at its end only: the prompt of a prefix is a prefix of the prompt, so that the server
computes each turn once and finds the rest in its prefix cache. Nothing that changes from turn to
turn (a step counter, the actions of the newest state alone) may therefore stand further up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from armap_agents.environment import Guide
from armap_agents.trajectory import Observation, Trajectory

Message = dict[str, str]
"""A chat message: ``role`` (system, user, assistant) and ``content``."""

STOP = "\n"
"""What ends an action in the plain text."""

_RULE = "Answer with the next action alone, on one line."
_CUE = "Action:"
_EPISODE = "---"


def chat(trajectory: Trajectory, guide: Guide | None, *, list_actions: bool) -> list[Message]:
    """Return the chat that asks for the action after `trajectory`.

    Worked examples stand in the system message as plain text: fewer tokens than a turn each, and
    the same for every state of every task, so the server computes them once.

    Args:
        trajectory: The episode so far.
        guide: The environment's rules and worked examples.
        list_actions: Write each observation's valid actions below it: for servers that do not
            constrain, every time, since the prompt may only grow at its end. Examples go without.
    """
    parts = [guide.text, _RULE] if guide else [_RULE]
    for example in guide.examples if guide else ():
        *turns, ending = _episode(example, list_actions=False)
        parts.append(plain(turns) + ending["content"])
    if guide and guide.examples:
        parts.append(_EPISODE)
    system = {"role": "system", "content": "\n\n".join(parts)}
    return [system, *_episode(trajectory, list_actions=list_actions)]


def _episode(trajectory: Trajectory, *, list_actions: bool) -> list[Message]:
    first = _shown(trajectory.observation, list_actions)
    asked = f"{trajectory.instruction}\n\n{first}" if trajectory.instruction else first
    turns = [{"role": "user", "content": asked}]
    for step in trajectory.steps:
        turns.append({"role": "assistant", "content": step.action})
        turns.append({"role": "user", "content": _shown(step.observation, list_actions)})
    return turns


def _shown(observation: Observation, list_actions: bool) -> str:
    lines = [observation.text]
    if list_actions and observation.actions:
        lines.append(f"Valid actions: {'; '.join(observation.actions)}")
    if observation.templates:
        lines.append(f"Actions of your own wording: {'; '.join(observation.templates)}")
    if observation.schema is not None:
        lines.append(f"The action is JSON of this schema: {json.dumps(dict(observation.schema))}")
    return "\n".join(lines)


def plain(messages: Iterable[Message]) -> str:
    """Return a chat as the one text that a completion endpoint continues with an action.

    The text ends in ``Action:`` without a space, since tokenizers join a space with the word after
    it; an action is continued as ``" " + action``.
    """
    parts = []
    for message in messages:
        content = message["content"]
        if message["role"] == "system":
            parts.append(f"{content}\n\n")
        elif message["role"] == "user":
            parts.append(f"{content}\n{_CUE}")
        else:
            parts.append(f" {content}{STOP}")
    return "".join(parts)


def objection(text: str, complaint: str) -> list[Message]:
    """Return the two messages that follow an unreadable answer: the answer, and the complaint."""
    said = " ".join(text.split())[:200] or "(nothing)"
    return [{"role": "assistant", "content": said}, {"role": "user", "content": complaint}]


def document(messages: Iterable[Message]) -> str:
    """Return a chat as the one text that a completion endpoint continues with free text."""
    return "\n\n".join(message["content"] for message in messages) + "\n"
