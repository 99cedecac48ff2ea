"""The probability that a model gives to each of a list of choices, without scoring each of them.

A server that samples under a `choice` constraint and returns the most likely tokens of each
position tells, along one sampled choice, how the probability splits wherever choices part. `walk`
follows the most likely choice first, then asks again for each branch that still holds several
choices, with these alone allowed, until every choice has its product of conditional probabilities:
at most one request fewer than there are choices, usually a third of that, all with one prompt that
the server holds in its prefix cache.

Why not otherwise: `prompt_logprobs` and `echo` bypass the prefix cache; log-probabilities of sampled
completions say nothing about choices that were not sampled, and small models repeat themselves;
continuing the prompt with a branch's beginning would split its tokens elsewhere than the model does,
and chat endpoints ignore silently that an assistant's turn should be continued.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp, log
from os.path import commonprefix

from armap_agents.policy.endpoint import Position

Ask = Callable[[list[str], int], Awaitable[Sequence[Position]]]
"""Samples greedily with only these choices allowed and this many tokens at most."""

_END = ""

UNSEEN = 1e-9
"""Least probability of what lies beyond the returned alternatives."""


class NoPriorError(Exception):
    """The server does not tell what a prior needs; callers sample instead."""


@dataclass(frozen=True)
class _Branch:
    """Choices whose beginning is settled.

    Attributes:
        choices: All texts with that beginning.
        logprob: Of that beginning.
        tokens: How many tokens the beginning took.
        characters: Its length.
    """

    choices: tuple[str, ...]
    logprob: float
    tokens: int = 0
    characters: int = 0


async def walk(choices: Sequence[str], ask: Ask) -> dict[str, float]:
    """Return the natural log-probability of each choice, summing to probability 1.

    Exact where a text has one tokenization: a choice that several can spell counts with the one of
    the longest tokens, the usual one.

    Args:
        choices: Distinct texts.
        ask: See `Ask`; its log-probabilities are those of the constrained distribution.
    """
    found: dict[str, float] = {}
    branches = [_Branch(tuple(choices), 0.0)]
    while branches:
        answers = await asyncio.gather(
            *(ask(list(branch.choices), _tokens_needed(branch)) for branch in branches),
            return_exceptions=True,
        )
        following: list[_Branch] = []
        for branch, answer in zip(branches, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            for part in _followed(branch, answer):
                if len(part.choices) == 1:
                    found[part.choices[0]] = part.logprob
                elif part.choices != branch.choices:
                    following.append(part)
                elif branch.tokens < _most_tokens(branch):
                    following.append(replace(branch, tokens=_most_tokens(branch)))
                else:
                    # Nothing parts them that the server can tell: they share what they have.
                    share = part.logprob - log(len(part.choices))
                    found |= dict.fromkeys(part.choices, share)
        branches = following
    return {choice: found[choice] for choice in choices}


def _most_tokens(branch: _Branch) -> int:
    """Return a bound on the tokens of any choice and its end: a token has at least one byte."""
    return max(len(choice.encode()) for choice in branch.choices) + 1


def _tokens_needed(branch: _Branch) -> int:
    """Return how many tokens surely reach the last place where the choices part."""
    shared = max(len(commonprefix(pair)) for pair in pairwise(sorted(branch.choices)))
    ahead = max(branch.choices, key=len)[branch.characters : shared]
    return min(branch.tokens + len(ahead.encode()) + 1, _most_tokens(branch))


def _followed(branch: _Branch, path: Sequence[Position]) -> list[_Branch]:
    """Split a branch along a sampled path into what lies on it and what parts from it."""
    here, text, logprob = branch.choices, "", branch.logprob
    parts: list[_Branch] = []
    for k, position in enumerate(path):
        if len(here) == 1:
            break
        groups = _parted(here, text, position.logprobs)
        total = log(sum(exp(p) for p, _ in groups.values()))
        taken = position.token if position.token in groups else _END
        for token, (p, members) in groups.items():
            if token != taken:
                reached = len(text) + len(token or "")
                parts.append(_Branch(members, logprob + p - total, k + 1, reached))
        if taken not in groups:
            return parts
        p, here = groups[taken]
        logprob += p - total
        text += taken
    return [*parts, _Branch(here, logprob, len(path), len(text))]


def _parted(
    choices: tuple[str, ...], text: str, logprobs: Mapping[str, float]
) -> dict[str | None, tuple[float, tuple[str, ...]]]:
    """Group choices that begin with `text` by the token that each continues with.

    Returns:
        For each token its log-probability and the choices that it is the longest match for;
        `_END` stands for every token that ends the answer, None for what is not among `logprobs`.
    """
    groups: dict[str | None, list[str]] = {}
    extending = {
        token
        for token in logprobs
        if token and any(choice.startswith(token, len(text)) for choice in choices)
    }
    for choice in choices:
        fitting = [token for token in extending if choice.startswith(token, len(text))]
        token = _END if choice == text else max(fitting, key=len, default=None)
        groups.setdefault(token, []).append(choice)
    mass: dict[str | None, float] = {token: exp(logprobs[token]) for token in extending}
    ending = sum(exp(p) for token, p in logprobs.items() if token not in extending)
    missing = 1.0 - sum(mass.values()) - ending
    mass |= {_END: ending, None: missing}
    return {
        token: (log(max(mass[token], UNSEEN)), tuple(members)) for token, members in groups.items()
    }


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
