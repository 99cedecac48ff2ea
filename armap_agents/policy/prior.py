"""The probability that a model gives to each of a list of choices, without scoring each of them.

A server that samples under a `choice` constraint and returns the most likely tokens of each
position tells, along one sampled choice, how the probability splits wherever choices part. `walk`
follows the most likely choice, then asks again for each set of choices that parted from it, with
these alone allowed, until every choice has its product of conditional probabilities. All requests
have the one prompt, which the server holds in its prefix cache, and few tokens.

Why not otherwise: `prompt_logprobs` and `echo` bypass the prefix cache; log-probabilities of
sampled completions say nothing about choices that were not sampled, and small models repeat
themselves; continuing the prompt with the beginning of a choice splits it into other tokens than
the model does, and chat endpoints ignore silently that an assistant's turn is to be continued.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import exp, log

from armap_agents.policy.endpoint import Position

Members = tuple[str, ...]
"""Choices that belong together, in the caller's order."""

Ask = Callable[[Members, int], Awaitable[Sequence[Position]]]
"""Samples greedily with only these choices allowed and this many tokens at most; returns the
positions with the log-probabilities of the constrained distribution, the end's among them."""

NEGLIGIBLE = 1e-3
"""Probability below which choices are not told apart: they share it."""

UNSEEN = 1e-9
"""Probability of a choice that no returned token leads to."""


class NoPriorError(Exception):
    """The server does not tell what a prior needs; callers sample instead."""


@dataclass
class _Shares:
    """How a probability divides among sets of choices.

    Attributes:
        apart: Sets that part from the sampled choice, or are single; disjoint.
        beside: Sets that other tokens spell which the sampled choice's tokens spell as well.
    """

    apart: dict[Members, float] = field(default_factory=dict)
    beside: dict[Members, float] = field(default_factory=dict)

    def normalised(self) -> _Shares:
        """Return the shares of their sum."""
        total = sum(self.apart.values()) + sum(self.beside.values()) or 1.0
        return _Shares(
            {members: share / total for members, share in self.apart.items()},
            {members: share / total for members, share in self.beside.items()},
        )


async def walk(choices: Sequence[str], ask: Ask) -> dict[str, float]:
    """Return the natural log-probability of each choice, summing to probability 1.

    Exact up to `NEGLIGIBLE` where each text has one tokenization. Where several spell it, the
    probabilities of all add up, as far as the returned tokens tell.

    Args:
        choices: Distinct texts, at least one.
        ask: See `Ask`.
    """
    found = dict.fromkeys(choices, 0.0)
    asked, beside = {tuple(choices): 1.0}, dict[Members, float]()
    while asked or beside:
        if not asked:
            asked = _spread(beside, found)
            beside = {}
        following: dict[Members, float] = {}
        telling = [members for members, mass in asked.items() if _worth_asking(members, mass)]
        answers = await asyncio.gather(
            *(ask(members, _tokens_needed(members)) for members in telling), return_exceptions=True
        )
        paths = dict(zip(telling, answers, strict=True))
        for members, mass in asked.items():
            path = paths.get(members, ())
            if isinstance(path, BaseException):
                raise path
            shares = _shares(members, path)
            for part, share in shares.apart.items():
                if len(part) == 1 or part == members:
                    for choice in part:
                        found[choice] += mass * share / len(part)
                else:
                    following[part] = following.get(part, 0.0) + mass * share
            for part, share in shares.beside.items():
                beside[part] = beside.get(part, 0.0) + mass * share
        asked = following
    total = sum(max(p, UNSEEN) for p in found.values())
    return {choice: log(max(p, UNSEEN) / total) for choice, p in found.items()}


def _worth_asking(members: Members, mass: float) -> bool:
    return len(members) > 1 and mass >= NEGLIGIBLE


def _spread(beside: Mapping[Members, float], found: dict[str, float]) -> dict[Members, float]:
    """Add what other tokens spell to what was found; return the sets that have to be asked about.

    A set whose members were found with more than its own probability divides as they do. Otherwise
    its own tokens are the usual ones, and only they can tell.
    """
    unknown = {}
    known = dict(found)
    for members, mass in beside.items():
        reached = sum(known[choice] for choice in members)
        if len(members) > 1 and reached < mass:
            unknown[members] = mass
        else:
            for choice in members:
                part = known[choice] / reached if len(members) > 1 else 1.0
                found[choice] += mass * part
    return unknown


def _tokens_needed(members: Members) -> int:
    """Return how many tokens surely reach the last place where two choices part."""
    shared = max((_common(a, b) for a, b in pairwise(sorted(members))), key=len)
    return len(shared.encode()) + 1


def _common(a: str, b: str) -> str:
    k = 0
    while k < min(len(a), len(b)) and a[k] == b[k]:
        k += 1
    return a[:k]


def _shares(members: Members, path: Sequence[Position]) -> _Shares:
    """Divide a probability of 1 among `members` along a sampled path; without one, equally."""
    shares, here, text, mass = _Shares(), members, "", 1.0
    for position in path:
        if len(here) == 1:
            break
        taken, step = _parting(here, text, position)
        along = step.apart.pop(taken, 0.0)
        for part, share in step.apart.items():
            shares.apart[part] = shares.apart.get(part, 0.0) + mass * share
        for part, share in step.beside.items():
            shares.beside[part] = shares.beside.get(part, 0.0) + mass * share
        mass *= along
        here = taken
        text += position.token
        if not here:
            return shares
    shares.apart[here] = shares.apart.get(here, 0.0) + mass
    return shares


def _parting(here: Members, text: str, position: Position) -> tuple[Members, _Shares]:
    """Divide a probability of 1 among the choices that begin with `text` by the next token.

    Returns:
        The choices that go on with the sampled token, and all sets with their shares.
    """
    mass = {token: exp(p) for token, p in position.logprobs.items()}
    fitting = {
        token: members
        for token in mass
        if token and (members := tuple(c for c in here if c.startswith(token, len(text))))
    }
    sampled = position.token if position.token in fitting else ""
    ended = tuple(choice for choice in here if choice == text)
    ending = sum(p for token, p in mass.items() if token not in fitting)
    divided = _Shares(apart={ended: ending} if ended else {})
    apart, beside = divided.apart, divided.beside
    taken = fitting[sampled] if sampled else ended
    covered = {*ended, *taken}

    def add(shares: dict[Members, float], members: Members, token: str) -> None:
        # The sampled token's choices by another token go the same way.
        target = apart if members == taken else shares
        target[members] = target.get(members, 0.0) + mass[token]

    related = [token for token in fitting if sampled and token.startswith(sampled)]
    related += [token for token in fitting if sampled.startswith(token) and token != sampled]
    roots: list[str] = []
    for token in sorted(fitting.keys() - set(related), key=len):
        # A token that begins with another one's text leads to part of the latter's choices.
        roots += [] if any(token.startswith(root) for root in roots) else [token]
        members = fitting[next(root for root in roots if token.startswith(root))]
        covered.update(members)
        add(apart, members, token)
    longer = set[str]()
    for token in sorted(related, key=len, reverse=True):
        # What a token begins and no longer one does is usually spelt with it.
        others = longer if token.startswith(sampled) else covered
        alone = tuple(choice for choice in fitting[token] if choice not in others)
        others.update(alone)
        if fitting[token] == taken:
            add(apart, taken, token)
        elif alone and others is covered:
            add(apart, alone, token)
        else:
            add(beside, alone or fitting[token], token)
    rest = tuple(choice for choice in here if choice not in covered)
    if rest:
        missing = max(1.0 - sum(mass.values()), 0.0)
        if not taken:
            # The sampled token is a piece of a character: nothing is known of what it leads to.
            taken, missing = rest, missing + ending
        apart[rest] = missing
    return taken, divided.normalised()


def choose(
    logprobs: Mapping[str, float], k: int, temperature: float, seed: int | None
) -> dict[str, float]:
    """Draw `k` actions without replacement, by the Gumbel-top-k trick (Kool et al. 2019).

    Args:
        logprobs: Natural log-probability of each action.
        k: How many; all where there are fewer.
        temperature: Draws follow p^(1/T); 0 takes the most likely ones and leaves p as it is.
        seed: None draws anew each time.

    Returns:
        Unnormalised log-probability of each drawn action at the temperature, in the order drawn.
    """
    if temperature == 0:
        scaled, noise = dict(logprobs), dict.fromkeys(logprobs, 0.0)
    else:
        scaled = {action: p / temperature for action, p in logprobs.items()}
        generator = random.Random(seed)
        noise = {action: -log(generator.expovariate(1.0)) for action in logprobs}
    order = sorted(scaled, key=lambda action: scaled[action] + noise[action], reverse=True)
    return {action: scaled[action] for action in order[:k]}
