"""Which actions a state allows, as a constraint for the server and as a reader of free text.

An observation lists actions, gives templates such as ``search[{query}]``, both, a JSON Schema, or
nothing. `constraint` turns that into what a server can enforce while it samples; `read_action`
finds the action in what a model wrote without one. Both go by the same patterns, so that an answer
sampled under a constraint is always read as itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from armap_agents.trajectory import Observation

HOLE_CHARACTERS = 80
"""The most characters that fill one hole of a template: an unbounded pattern may never end."""

LISTED_CHARACTERS = 4000
"""The most characters of valid actions that a complaint repeats."""

LABEL = re.compile(r"\b(?:next |my )?action(?: \d+)?\s*:\s*", re.IGNORECASE)
"""What a model writes before an action."""

_HOLE = re.compile(r"\{\w*\}")
_BULLET = re.compile(r"^\s*(?:[-*•>]\s+|\d{1,2}[.)]\s+)")
_SPECIAL = re.compile(r"[\\.^$*+?()\[\]{}|]")


def constraint(observation: Observation, lead: str = "") -> dict[str, Any] | None:
    """Return the value of ``structured_outputs`` for the action at an observation.

    Listed actions alone are a `choice`. Beside templates one `regex` holds both with every part
    bounded, because a server takes one constraint at a time and free text would give up the listed
    actions' guarantee.

    Args:
        observation: The newest observation.
        lead: What stands between prompt and action: a space in the completion style.

    Returns:
        None where any text may be an action.
    """
    if observation.actions is not None and not observation.templates:
        return {"choice": [lead + word for word in abbreviations(observation.actions)]}
    parts = alternatives(observation)
    return None if parts is None else {"regex": f"{escaped(lead)}({'|'.join(parts)})"}


def alternatives(observation: Observation) -> list[str] | None:
    """Return bounded regexes of which an action matches one; None where any text may be one.

    Listed actions alone are abbreviated, as in a choice; see `written_out`.
    """
    if observation.templates:
        parts = [escaped(action) for action in observation.actions or ()]
        return parts + [template_pattern(template) for template in observation.templates]
    if observation.actions is not None:
        return [escaped(word) for word in abbreviations(observation.actions)]
    return None


def written_out(text: str, observation: Observation) -> str:
    """Return the action of an answer that was sampled under a constraint."""
    if observation.templates or observation.actions is None:
        return text
    return abbreviations(observation.actions)[text.strip()]


@lru_cache(maxsize=4096)  # rollouts side by side stand in the same states
def abbreviations(actions: tuple[str, ...]) -> Mapping[str, str]:
    """Return the words by which each action is told apart from all others, mapped to the action.

    Under a constraint the rest of an action follows by itself, yet each of its tokens costs a step
    of the model: ``13 - 9 = 4`` is decided at ``13 - 9``. An abbreviation ends where the next word
    begins, never within one, since the model's token for a whole word is another than for its
    beginning.
    """
    ordered = sorted(set(actions))
    decided = {}
    for k, action in enumerate(ordered):
        neighbours = ordered[max(k - 1, 0) : k] + ordered[k + 1 : k + 2]
        shared = max((_shared(action, other) for other in neighbours), default=0)
        word = len(action) - len(action[shared:].lstrip())
        space = action.find(" ", word)
        decided[action] = action if space < 0 else action[:space]
    return MappingProxyType({decided[action].strip(): action for action in actions})


def _shared(a: str, b: str) -> int:
    """Return how many leading characters two texts share."""
    return next(
        (k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def satisfies(text: str, allowed: dict[str, Any]) -> bool:
    """Tell whether an answer keeps to a constraint; spaces around it do not count."""
    if "regex" in allowed:
        return re.fullmatch(rf"\s*{allowed['regex']}\s*", text) is not None
    return text.strip() in {choice.strip() for choice in allowed["choice"]}


def longest(observation: Observation) -> int:
    """Return the most tokens that an allowed action takes, its end included.

    A token has at least one byte; a hole is counted at two bytes a character.
    """
    actions = [len(action.encode()) for action in observation.actions or ()]
    templates = [
        len(template.encode()) + 2 * HOLE_CHARACTERS * len(_HOLE.findall(template))
        for template in observation.templates
    ]
    return max(actions + templates, default=0) + 2


def escaped(text: str) -> str:
    """Escape what every regex dialect takes as special, and nothing else.

    `re.escape` also escapes spaces, ``-`` and ``#``, which the engines of servers refuse.
    """
    return _SPECIAL.sub(lambda match: "\\" + match[0], text)


def template_pattern(template: str) -> str:
    """Return a bounded regex of a template; a hole ends at the character that follows it."""
    pattern, at = "", 0
    for hole in _HOLE.finditer(template):
        pattern += escaped(template[at : hole.start()])
        at = hole.end()
        closing = template[at : at + 1]
        excluded = "\\" + closing if closing in list("]^-\\") else closing
        pattern += f"[^\\n{excluded}]{{1,{HOLE_CHARACTERS}}}"
    return pattern + escaped(template[at:])


def read_action(text: str, observation: Observation, *, inside: bool = True) -> str | None:
    """Find the action in a model's answer.

    An answer that is an action is that action. Else the text after the last ``Action:`` counts, or
    the whole where there is none. Listed actions and templates
    are matched line by line, first as a whole, then inside a line; case and spaces do not count. A
    line that names two different actions is not guessed at.

    Args:
        text: The answer.
        observation: What is valid.
        inside: Look inside lines too, which takes long where there are many actions.

    Returns:
        The action as the environment lists it, or None where none can be read.
    """
    exact = _exact(text.strip(), observation)
    if exact is not None:
        return exact
    labels = list(LABEL.finditer(text))
    if labels and text[labels[-1].end() :].strip():
        text = text[labels[-1].end() :]
    if observation.schema is not None and not observation.actions and not observation.templates:
        return _json_in(text)
    lines = [line for line in map(_bare, text.splitlines()) if line]
    if observation.actions is None and not observation.templates:
        return lines[0] if lines else None
    for find in (_whole, _inside) if inside else (_whole,):
        for line in lines:
            found = find(line, observation)
            if found is not None:
                return found
    return None


def complaint(text: str, observation: Observation) -> str:
    """Say in one line what was wrong with an unreadable answer, and what would be valid."""
    said = " ".join(text.split())[:80]
    wrong = f"{said!r} is not a valid action." if said else "The answer was empty."
    if observation.schema is not None and not observation.actions and not observation.templates:
        return f"{wrong} Answer with JSON of the given schema alone."
    ways = "; ".join([*(observation.actions or ()), *observation.templates])
    if not ways:
        return f"{wrong} Answer with one action alone."
    if len(ways) > LISTED_CHARACTERS:
        ways = ways[:LISTED_CHARACTERS].rsplit("; ", 1)[0] + "; …"
    return f"{wrong} Answer with exactly one of: {ways}"


def _bare(line: str) -> str:
    return _BULLET.sub("", line).strip().strip("`\"'*").strip()


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".!")


def _exact(text: str, observation: Observation) -> str | None:
    for action in observation.actions or ():
        if text == action.strip():
            return action
    for template in observation.templates:
        if re.fullmatch(template_pattern(template), text, re.IGNORECASE):
            return text
    return None


def _whole(line: str, observation: Observation) -> str | None:
    wanted = _folded(line)
    for action in observation.actions or ():
        if wanted == _folded(action):
            return action
    return _exact(line, observation)


def _inside(line: str, observation: Observation) -> str | None:
    wanted = _folded(line)
    found = {
        action
        for action in observation.actions or ()
        if action.strip()
        and re.search(rf"(?<![\w/-]){re.escape(_folded(action))}(?![\w/])", wanted)
    }
    # `open door` inside `open door to kitchen` is the longer action, not both.
    found = {a for a in found if not any(a != b and _folded(a) in _folded(b) for b in found)}
    for template in observation.templates:
        # A template without literal characters matches any line, which says nothing.
        if len(_HOLE.sub("", template)) >= 2:
            found |= {m[0] for m in re.finditer(template_pattern(template), line, re.IGNORECASE)}
    return found.pop() if len(found) == 1 else None


def _json_in(text: str) -> str | None:
    start = text.find("{")
    try:
        value, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, IndexError):
        return None
    return json.dumps(value, ensure_ascii=False)
