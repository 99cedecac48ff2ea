"""The policy: one frozen LLM, asked for one action, for several with a prior, or for free text.

Where the environment says what is valid, the server is asked to sample nothing else. A server that
ignores this is found out by two invalid answers in a row, reported once, and read as free text from
then on. Answers from which no action can be read are asked for again, with one line on what was
wrong, twice at most. Every call returns what it cost.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import exp, log
from typing import Any

import httpx

from armap_agents.environment import Guide
from armap_agents.errors import PolicyError
from armap_agents.policy import prompts
from armap_agents.policy.actions import (
    abbreviations,
    complaint,
    constraint,
    longest,
    read_action,
    satisfies,
)
from armap_agents.policy.endpoint import Completion, ConstraintRefused, Endpoint, Position
from armap_agents.policy.prior import Members, NoPriorError, choose, walk
from armap_agents.policy.prompts import Message
from armap_agents.policy.records import Answer, PolicyConfig, PolicyFailure, Proposal, Proposals
from armap_agents.trajectory import Observation, Trajectory, content_hash
from armap_agents.usage import Usage

REPAIRS = 2
"""How often an unreadable answer is asked for again."""

CACHED_PRIORS = 4096
"""States whose prior is remembered, the oldest forgotten first; some 4 kB each."""

_log = logging.getLogger(__name__)


class Policy:
    """The policy behind an endpoint, for one event loop.

    Args:
        config: Where it is and how it is asked.
        http: The event loop's HTTP client; never closed here.
    """

    def __init__(self, config: PolicyConfig, http: httpx.AsyncClient) -> None:
        self.config = config
        self._endpoint = Endpoint(config, http)
        self._constrains = True
        self._gives_logprobs = True
        self._lead = " " if config.style == "completion" else ""
        self._priors: OrderedDict[str, tuple[Mapping[str, float], Usage]] = OrderedDict()

    async def act(
        self,
        trajectory: Trajectory,
        *,
        guide: Guide | None = None,
        temperature: float = 0.7,
        seed: int | None = None,
        memory: Sequence[str] = (),
    ) -> Answer:
        """Draw the action after `trajectory`.

        Args:
            trajectory: The episode so far.
            guide: The environment's rules and worked examples.
            temperature: 0 is greedy.
            seed: Passed to the server; draws that should be independent need seeds of their own.
            memory: Notes from earlier attempts at the task, oldest first.

        Raises:
            PolicyFailure: The endpoint failed for good, or no action could be read from its
                answers.
            PolicyError: The state has no valid action, or the key is missing.
        """
        observation = trajectory.last
        _require_actions(observation)
        usage, said = Usage(), list[Message]()
        for attempt in range(1 + REPAIRS):
            if attempt:
                usage += Usage(repairs=1)
            try:
                completion, constrained = await self._sample(
                    trajectory, guide, said, temperature, _further(seed, attempt), memory=memory
                )
            except PolicyFailure as failure:
                failure.usage = usage + failure.usage
                raise
            usage += completion.usage
            text = completion.texts[0]
            action = read_action(text, observation)
            if action is not None:
                return Answer(action, text, usage, constrained)
            said += prompts.objection(text, complaint(text, observation))
        raise PolicyFailure(
            f"no action could be read from {1 + REPAIRS} answers of {self.config.model!r}, "
            f"the last was {text[:60]!r}: try a stronger model or a lower temperature",
            usage + Usage(failures=1),
        )

    async def propose(
        self,
        trajectory: Trajectory,
        k: int,
        *,
        guide: Guide | None = None,
        temperature: float = 1.0,
        seed: int | None = None,
    ) -> Proposals:
        """Return up to `k` distinct actions with a prior, for planners that search.

        Where the environment lists its actions and the server constrains, the prior is exact: see
        `armap_agents.policy.prior.walk`. It is remembered for the state, and the actions are drawn
        from it without replacement at the temperature (prior ∝ p^(1/T); 0 takes the k most likely,
        with their p). Elsewhere k completions are sampled at the temperature, equal actions merge,
        and the prior is each action's share of the samples. What is remembered is charged as when
        it was asked for, so that a budget buys the same whatever ran before.

        Args:
            trajectory: The episode so far.
            k: At least 1.
            guide: The environment's rules and worked examples.
            temperature: See above.
            seed: Decides what is drawn; None draws anew each time.

        Raises:
            PolicyFailure: The endpoint failed for good, or no action could be read.
            PolicyError: The state has no valid action, or the key is missing.
        """
        if k < 1:
            raise ValueError(f"propose(k={k}): k must be at least 1")
        observation = trajectory.last
        _require_actions(observation)
        usage = Usage()
        if observation.actions and not observation.templates:
            known, usage = await self._listed_prior(trajectory, guide)
            if known is not None:
                return _proposals(choose(known, k, temperature, seed), usage)
        try:
            shares, spent = await self._sampled_prior(trajectory, k, guide, temperature, seed)
        except PolicyFailure as failure:
            failure.usage = usage + failure.usage
            raise
        return _proposals(shares, usage + spent)

    async def write(
        self,
        prompt: list[Message],
        *,
        temperature: float,
        max_tokens: int,
        seed: int | None = None,
    ) -> tuple[str, Usage]:
        """Draw free text, for refiners and reflection.

        Args:
            prompt: Chat messages; the completion style continues their contents as one text.
            temperature: 0 is greedy.
            max_tokens: Tokens written at most.
            seed: Passed to the server.

        Raises:
            PolicyFailure: The endpoint failed for good.
            PolicyError: The key is missing.
        """
        completion = await self._endpoint.complete(
            prompt, temperature=temperature, max_tokens=max_tokens, seed=seed, action=False
        )
        return completion.texts[0], completion.usage

    async def check(self) -> None:
        """Make sure that the endpoint answers, takes the key and serves the model.

        Raises:
            PolicyError: It does not; the message names the cure.
        """
        await self._endpoint.check()

    async def _sample(
        self,
        trajectory: Trajectory,
        guide: Guide | None,
        said: list[Message],
        temperature: float,
        seed: int | None,
        n: int = 1,
        memory: Sequence[str] = (),
    ) -> tuple[Completion, bool]:
        """Draw answers, and tell whether they were constrained.

        Args:
            trajectory: The episode so far.
            guide: The environment's rules and worked examples.
            said: Unreadable answers and objections so far, for free text alone.
            temperature: 0 is greedy.
            seed: Passed to the server.
            n: Number of draws.
            memory: Notes from earlier attempts.
        """
        observation = trajectory.last
        allowed = constraint(observation, self._lead) if self._constrains else None
        prompt = prompts.chat(trajectory, guide, list_actions=not self._constrains, memory=memory)
        tokens = self.config.max_tokens
        if allowed is not None:
            tokens = max(tokens, longest(observation))
        else:
            prompt += said
        ask = partial(
            self._endpoint.complete,
            prompt,
            temperature=temperature,
            max_tokens=tokens,
            n=n,
            constraint=allowed,
        )
        try:
            completion = await ask(seed=seed)
        except ConstraintRefused as refusal:
            self._stop_constraining(str(refusal))
            return await self._sample(trajectory, guide, said, temperature, seed, n, memory)
        if allowed is None:
            return completion, False
        if self._constrains and _outside(completion, allowed):
            # One stray answer is an accident, a second one the server's way.
            spent = completion.usage + Usage(repairs=1)
            try:
                completion = await ask(seed=_further(seed, 1 + REPAIRS))
            except PolicyFailure as failure:
                failure.usage = spent + failure.usage
                raise
            completion = replace(completion, usage=spent + completion.usage)
        if outside := _outside(completion, allowed):
            self._stop_constraining(f"it answered {outside[0][:60]!r}, which is not allowed")
            return completion, False
        if "choice" in allowed:
            full = abbreviations(observation.actions or ())
            completion = replace(
                completion, texts=tuple(full[text.strip()] for text in completion.texts)
            )
        return completion, True

    async def _listed_prior(
        self, trajectory: Trajectory, guide: Guide | None
    ) -> tuple[Mapping[str, float] | None, Usage]:
        """Return the log-probability of each listed action, or None where the server has none.

        Scoring a list of choices counts one completion per candidate (Usage), whatever the number
        of requests, which is never larger.
        """
        actions = tuple(dict.fromkeys(trajectory.last.actions or ()))
        if len(actions) == 1:
            return {actions[0]: 0.0}, Usage()
        if not (self._constrains and self._gives_logprobs):
            return None, Usage()
        prompt = prompts.chat(trajectory, guide, list_actions=False)
        key = content_hash([prompt, actions])
        if key in self._priors:
            return self._priors[key]
        usage = Usage()

        async def ask(choices: Members, tokens: int) -> tuple[Position, ...]:
            nonlocal usage
            for _ in range(2):
                completion = await self._endpoint.complete(
                    prompt,
                    temperature=0.0,
                    max_tokens=tokens,
                    constraint={"choice": list(choices)},
                    logprobs=True,
                )
                usage += completion.usage
                text = completion.texts[0]
                if any(choice.startswith(text) for choice in choices):
                    break
            else:
                self._stop_constraining(f"it answered {text[:60]!r}, which is not allowed")
                raise NoPriorError
            if not completion.positions:
                self._stop_asking_logprobs()
                raise NoPriorError
            return completion.positions

        try:
            found = await walk([self._lead + action for action in actions], ask)
        except ConstraintRefused as refusal:
            self._stop_constraining(str(refusal))
            return None, usage
        except NoPriorError:
            return None, usage
        except PolicyFailure as failure:
            failure.usage = usage + failure.usage
            raise
        prior = {action: found[self._lead + action] for action in actions}
        usage = replace(usage, completions=len(actions))
        self._remember(key, prior, usage)
        return prior, usage

    async def _sampled_prior(
        self,
        trajectory: Trajectory,
        k: int,
        guide: Guide | None,
        temperature: float,
        seed: int | None,
    ) -> tuple[Mapping[str, float], Usage]:
        """Return the log of each action's share among k samples."""
        messages = prompts.chat(trajectory, guide, list_actions=not self._constrains)
        key = content_hash([messages, trajectory.last.actions, k, temperature, seed])
        if seed is not None and key in self._priors:
            return self._priors[key]
        n = k if temperature > 0 else 1
        completion, _ = await self._sample(trajectory, guide, [], temperature, seed, n)
        usage = completion.usage
        read = [read_action(text, trajectory.last) for text in completion.texts]
        counts = Counter(action for action in read if action is not None)
        if not counts:
            try:
                answer = await self.act(
                    trajectory, guide=guide, temperature=temperature, seed=_further(seed, 1)
                )
            except PolicyFailure as failure:
                failure.usage = usage + failure.usage
                raise
            counts[answer.action] = 1
            usage += answer.usage + Usage(repairs=1)
        shares = {action: log(count / counts.total()) for action, count in counts.most_common()}
        if seed is not None:
            self._remember(key, shares, usage)
        return shares, usage

    def _remember(self, key: str, prior: Mapping[str, float], usage: Usage) -> None:
        self._priors[key] = prior, replace(usage, seconds=0.0)
        if len(self._priors) > CACHED_PRIORS:
            self._priors.popitem(last=False)

    def _stop_constraining(self, why: str) -> None:
        if self._constrains:
            self._constrains = False
            _log.warning(
                "the policy at %s ignores `structured_outputs`: %s. Valid actions now stand in the "
                "prompt and answers are read as free text; vLLM would keep to them",
                self.config.url,
                why,
            )

    def _stop_asking_logprobs(self) -> None:
        if self._gives_logprobs:
            self._gives_logprobs = False
            _log.warning(
                "the policy at %s returns no log-probabilities: priors are shares of samples",
                self.config.url,
            )


def _require_actions(observation: Observation) -> None:
    if observation.actions == () and not observation.templates:
        raise PolicyError(
            f"no action is valid here ({observation.text[:60]!r}): stop where the episode is done"
        )


def _outside(completion: Completion, allowed: dict[str, Any]) -> list[str]:
    """Return the answers that do not keep to the constraint."""
    return [text for text in completion.texts if not satisfies(text, allowed)]


def _further(seed: int | None, attempt: int) -> int | None:
    """Return another seed for asking again; the first ask keeps the caller's."""
    return None if seed is None else (seed + 1_000_003 * attempt) % 2**63


def _proposals(logprobs: Mapping[str, float], usage: Usage) -> Proposals:
    top = max(logprobs.values())
    weights = {action: exp(p - top) for action, p in logprobs.items()}
    total = sum(weights.values())
    return Proposals(tuple(Proposal(a, weight / total) for a, weight in weights.items()), usage)
