"""What a trajectory looks like to the policy: a chat, or the same as one plain text.

A prompt grows at its end only: the prompt of a prefix is a prefix of the prompt, so that the server
computes each turn once and finds the rest in its prefix cache. Nothing that changes from turn to
turn (a step counter, the actions of the newest state alone) may therefore stand further up. What is
offered of a long list stands below the newest observation, and is gone in the next prompt.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from armap_agents.environment import Guide
from armap_agents.policy.narrowing import is_long
from armap_agents.policy.thoughts import ACTION, THOUGHT, cut, one_line, turn
from armap_agents.trajectory import Observation, Status, Trajectory

Message = dict[str, str]
"""A chat message: ``role`` (system, user, assistant) and ``content``."""

STOP = "\n"
"""What ends an action in the plain text."""

STOP_WITH_THOUGHT = f"\n{THOUGHT}"
"""What ends a thought and an action there at the latest: the next turn's thought."""

_RULE = "Answer with the next action alone, on one line."
_RULE_WITH_THOUGHT = (
    f"Answer in two lines: `{THOUGHT}` with one short sentence on what to do next and why, then "
    f"`{ACTION}` with the next action alone."
)
_EPISODE = "---"
_MEMORY = "What you noted after earlier attempts at this task:"
_REFLECT = (
    "That attempt was not good enough. In one or two sentences, say what went wrong and what to do "
    "differently in the next attempt. Write the plan alone, on one line."
)
_ENDINGS = {
    Status.ENDED: "The episode was over.",
    Status.LIMIT: "No steps were left.",
    Status.FAILED: "The attempt was cut off here.",
}

TRANSCRIPT_CHARACTERS = 4000
"""The most characters of an attempt that one text shows; the earliest steps are left out."""

OBSERVATION_CHARACTERS = 400
"""The most characters of one observation or action in it."""

NOTE_CHARACTERS = 400
"""The most characters of a note."""


def chat(
    trajectory: Trajectory,
    guide: Guide | None,
    *,
    list_actions: bool,
    memory: Sequence[str] = (),
    thoughts: bool = False,
) -> list[Message]:
    """Return the chat that asks for the action after `trajectory`.

    Worked examples stand in the system message as plain text: fewer tokens than a turn each, and
    the same for every state of every task, so the server computes them once.

    Args:
        trajectory: The episode so far.
        guide: The environment's rules and worked examples.
        list_actions: Write each observation's valid actions below it: for servers that do not
            constrain, every time, since the prompt may only grow at its end. Examples go without,
            and so do observations with long lists, which would fill the prompt.
        memory: What was noted after earlier attempts, oldest first; it stands before the task.
        thoughts: Ask for a thought before the action, and show those of earlier steps.
    """
    rule = _RULE_WITH_THOUGHT if thoughts else _RULE
    parts = [guide.text, rule] if guide else [rule]
    parts += [_worked(example, thoughts) for example in guide.examples] if guide else []
    if guide and guide.examples:
        parts.append(_EPISODE)
    system = {"role": "system", "content": "\n\n".join(parts)}
    turns = _episode(trajectory, list_actions=list_actions, thoughts=thoughts)
    if memory:
        turns[0]["content"] = f"{_notes(memory)}\n\n{turns[0]['content']}"
    return [system, *turns]


def reflection(
    trajectory: Trajectory, guide: Guide | None, memory: Sequence[str] = ()
) -> list[Message]:
    """Return the chat that asks, after an attempt that was not good enough, for a plan.

    It tells what the agent saw and did, never how the environment judged it. The transcript is one
    message, since the plan is no turn of the episode.

    Args:
        trajectory: The attempt.
        guide: The environment's rules; its worked examples are left out.
        memory: What was noted after earlier attempts, oldest first.
    """
    parts = [f"Task: {trajectory.instruction}"]
    if memory:
        parts.append(_notes(memory))
    parts += [f"Your last attempt:\n{transcript(trajectory)}", _REFLECT, "Plan:"]
    asked = {"role": "user", "content": "\n\n".join(parts)}
    return [{"role": "system", "content": guide.text}, asked] if guide else [asked]


def transcript(trajectory: Trajectory) -> str:
    """Return an attempt as one text of about `TRANSCRIPT_CHARACTERS` at most.

    The first observation and the newest steps are shown, in order, and how the attempt ended.
    """
    turns = [f"Observation: {cut(trajectory.observation.text, OBSERVATION_CHARACTERS)}"]
    for step in trajectory.steps:
        said = turn(step.thought, cut(step.action, OBSERVATION_CHARACTERS))
        seen = cut(step.observation.text, OBSERVATION_CHARACTERS)
        turns.append(f"{said}\nObservation: {seen}")
    opening, *steps = turns
    kept: list[str] = []
    left = TRANSCRIPT_CHARACTERS - len(opening)
    while steps and len(steps[-1]) < left:
        kept.insert(0, steps.pop())
        left -= len(kept[0]) + 1
    missing = [f"({len(steps)} earlier steps)"] if steps else []
    return "\n".join([opening, *missing, *kept, _ENDINGS.get(trajectory.status, "")]).rstrip()


def note(text: str) -> str:
    """Return what a policy wrote as a note: one line of at most `NOTE_CHARACTERS` characters.

    A note goes into later prompts; on one line it cannot pass for a part of their structure.
    """
    return one_line(text, NOTE_CHARACTERS)


def _notes(memory: Sequence[str]) -> str:
    return "\n".join([_MEMORY, *(f"- {line}" for line in memory)])


def _worked(example: Trajectory, thoughts: bool) -> str:
    """Return a worked example as plain text, as its prompts and answers would follow one another.

    A step without a thought has no label for one: an empty thought is no example.
    """
    *turns, ending = _episode(example, list_actions=False, thoughts=thoughts)
    written = "".join(f"{message['content']}\n" for message in turns) if thoughts else plain(turns)
    return written + ending["content"]


def _episode(trajectory: Trajectory, *, list_actions: bool, thoughts: bool) -> list[Message]:
    first = _shown(trajectory.observation, list_actions)
    asked = f"{trajectory.instruction}\n\n{first}" if trajectory.instruction else first
    turns = [{"role": "user", "content": asked}]
    for step in trajectory.steps:
        said = turn(step.thought, step.action) if thoughts else step.action
        turns.append({"role": "assistant", "content": said})
        turns.append({"role": "user", "content": _shown(step.observation, list_actions)})
    return turns


def _shown(observation: Observation, list_actions: bool) -> str:
    lines = [observation.text]
    if list_actions and observation.actions and not is_long(observation):
        lines.append(f"Valid actions: {'; '.join(observation.actions)}")
    if observation.templates:
        lines.append(f"Actions of your own wording: {'; '.join(observation.templates)}")
    if observation.schema is not None:
        lines.append(f"The action is JSON of this schema: {json.dumps(dict(observation.schema))}")
    return "\n".join(lines)


def offer(stage: Mapping[str, Sequence[str]]) -> str:
    """Return the line that offers a stage of a long list to a server that does not constrain."""
    if all(len(members) == 1 for members in stage.values()):
        return f"Valid actions: {'; '.join(stage)}"
    return f"Begin with one of these alone, you will be asked for the rest: {'; '.join(stage)}"


def plain(messages: Iterable[Message], thoughts: bool = False) -> str:
    """Return a chat as the one text that a completion endpoint continues with an answer.

    The text ends in ``Action:``, or ``Thought:``, without a space, since tokenizers join a space
    with the word after it; an action is continued as ``" " + action``. Once the text has ended in
    ``Thought:`` it says so of that turn for good, even if no thought followed.
    """
    cue = THOUGHT if thoughts else ACTION
    parts = []
    for message in messages:
        content = message["content"]
        if message["role"] == "system":
            parts.append(f"{content}\n\n")
        elif message["role"] == "user":
            parts.append(f"{content}\n{cue}")
        elif not thoughts:
            parts.append(f" {content}{STOP}")
        else:
            begun = content.startswith(cue)
            parts.append(f"{content.removeprefix(cue) if begun else STOP + content}{STOP}")
    return "".join(parts)


def objection(text: str, complaint: str) -> list[Message]:
    """Return the two messages that follow an unreadable answer: the answer, and the complaint."""
    said = " ".join(text.split())[:200] or "(nothing)"
    return [{"role": "assistant", "content": said}, {"role": "user", "content": complaint}]


def document(messages: Iterable[Message]) -> str:
    """Return a chat as the one text that a completion endpoint continues with free text."""
    return "\n\n".join(message["content"] for message in messages) + "\n"
