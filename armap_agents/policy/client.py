"""The policy: one frozen LLM, asked for one action, for several with a prior, or for free text.

Answers from which no action can be read are asked for again, with one line on what was wrong, twice
at most. Every call returns what it cost. How a single answer comes about is the `Sampler`'s matter.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, log

import httpx

from armap_agents.environment import Guide
from armap_agents.errors import PolicyError
from armap_agents.policy.endpoint import Endpoint
from armap_agents.policy.exact import exact_prior
from armap_agents.policy.narrowing import is_long
from armap_agents.policy.prior import choose
from armap_agents.policy.prompts import Message
from armap_agents.policy.question import Draw, Question
from armap_agents.policy.records import Answer, PolicyConfig, PolicyFailure, Proposal, Proposals
from armap_agents.policy.sampling import REPAIRS, Sampler, further
from armap_agents.trajectory import Observation, Trajectory, content_hash
from armap_agents.usage import Usage

CACHED_PRIORS = 4096
"""States whose prior is remembered, the oldest forgotten first; some 4 kB each."""


@dataclass(frozen=True)
class _Prior:
    """What is known of a state's actions.

    Attributes:
        logprobs: Log-probability of each action.
        usage: What it cost to find out.
        thoughts: What was written before the first draw of an action.
    """

    logprobs: Mapping[str, float]
    usage: Usage
    thoughts: Mapping[str, str | None] = field(default_factory=dict)


class Policy:
    """The policy behind an endpoint, for one event loop.

    Args:
        config: Where it is and how it is asked.
        http: The event loop's HTTP client; never closed here.
    """

    def __init__(self, config: PolicyConfig, http: httpx.AsyncClient) -> None:
        self.config = config
        self._endpoint = Endpoint(config, http)
        self._sampler = Sampler(config, self._endpoint)
        self._priors: OrderedDict[str, _Prior] = OrderedDict()

    @property
    def failure(self) -> PolicyFailure | None:
        """The endpoint's last failure, None before any: what to tell where calls may fail alone."""
        return self._endpoint.failure

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

        From a long list the action is drawn in stages, each a completion: see `narrowing`.

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
        _require_actions(trajectory.last)
        question = Question(trajectory, guide, tuple(memory))
        usage, asked, repaired = Usage(), 0, 0
        while True:
            try:
                sample = await self._sampler.sample(question, temperature, further(seed, asked))
            except PolicyFailure as failure:
                failure.usage = usage + failure.usage
                raise
            usage, asked = usage + sample.usage, asked + 1
            draw = sample.draws[0]
            if draw.action is None and repaired == REPAIRS:
                raise PolicyFailure(
                    f"no action could be read from {1 + REPAIRS} answers of "
                    f"{self.config.model!r}, the last was {draw.text[:60]!r}: try a stronger model "
                    "or a lower temperature",
                    usage + Usage(failures=1),
                )
            if draw.action is None:
                usage, repaired = usage + Usage(repairs=1), repaired + 1
                question = question.objected(draw, sample.valid)
            elif draw.narrows:
                question = question.narrowed(draw)
            else:
                return Answer(
                    draw.action,
                    draw.text,
                    usage,
                    sample.constrained,
                    question.thought or draw.thought,
                    tuple(chosen.beginning for chosen in question.chosen),
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

        Samples it also is where thoughts are asked for, since an action's probability depends on
        the thought before it: an action then has the thought of its first sample. And where the
        list is long, since scoring it would cost a completion for each action: the k samples go
        through the stages side by side, those with the same beginning in one request.

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
        _require_actions(trajectory.last)
        known, spent = await self._exact_prior(trajectory, guide)
        if known is not None:
            return _proposals(replace(known, logprobs=choose(known.logprobs, k, temperature, seed)))
        try:
            prior = await self._sampled_prior(trajectory, k, guide, temperature, seed)
        except PolicyFailure as failure:
            failure.usage = spent + failure.usage
            raise
        return _proposals(replace(prior, usage=spent + prior.usage))

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

    async def _exact_prior(
        self, trajectory: Trajectory, guide: Guide | None
    ) -> tuple[_Prior | None, Usage]:
        """Return the exact prior of the listed actions; None, and what that cost, without one."""
        observation = trajectory.last
        if not observation.actions or observation.templates:
            return None, Usage()
        actions = tuple(dict.fromkeys(observation.actions))
        if len(actions) == 1:
            return _Prior({actions[0]: 0.0}, Usage()), Usage()
        asks = self._sampler.constrains and self._sampler.gives_logprobs
        if not asks or self.config.thoughts or is_long(observation):
            return None, Usage()
        prompt = self._sampler.prompt(Question(trajectory, guide))
        key = content_hash([prompt, actions])
        if key in self._priors:
            return self._priors[key], Usage()
        found, usage = await exact_prior(prompt, actions, self._endpoint, self._sampler)
        if found is None:
            return None, usage
        prior = _Prior(found, usage)
        self._remember(key, prior)
        return prior, Usage()

    async def _sampled_prior(
        self,
        trajectory: Trajectory,
        k: int,
        guide: Guide | None,
        temperature: float,
        seed: int | None,
    ) -> _Prior:
        """Return each action's share among k samples."""
        question = Question(trajectory, guide)
        prompt = self._sampler.prompt(question)
        key = content_hash([prompt, trajectory.last.actions, k, temperature, seed])
        if seed is not None and key in self._priors:
            return self._priors[key]
        n = k if temperature > 0 else 1
        draws, usage = await self._draws(question, n, temperature, seed)
        if not draws:
            try:
                answer = await self.act(
                    trajectory, guide=guide, temperature=temperature, seed=further(seed, 1)
                )
            except PolicyFailure as failure:
                failure.usage = usage + failure.usage
                raise
            draws = [(answer.action, answer.thought)]
            usage += answer.usage + Usage(repairs=1)
        counts = Counter(action for action, _ in draws)
        shares = {action: log(count / counts.total()) for action, count in counts.most_common()}
        prior = _Prior(shares, usage, dict(reversed(draws)))
        if seed is not None:
            self._remember(key, prior)
        return prior

    async def _draws(
        self, question: Question, n: int, temperature: float, seed: int | None
    ) -> tuple[list[tuple[str, str | None]], Usage]:
        """Return the actions and thoughts of `n` samples, without what could not be read.

        Samples that begin alike go on in one request; with thoughts they hardly ever do.
        """
        attempt = len(question.chosen)
        sample = await self._sampler.sample(question, temperature, further(seed, attempt), n)
        usage, found, failed = sample.usage, list[tuple[str, str | None]](), None
        begun = defaultdict[tuple[str, str | None], list[Draw]](list)
        for draw in sample.draws:
            if draw.narrows:
                begun[draw.beginning, draw.thought].append(draw)
            elif draw.action is not None:
                found.append((draw.action, question.thought or draw.thought))
        going_on = (
            self._draws(question.narrowed(alike[0]), len(alike), temperature, seed)
            for alike in begun.values()
        )
        for result in await asyncio.gather(*going_on, return_exceptions=True):
            if isinstance(result, PolicyFailure):
                usage, failed = usage + result.usage, result
            elif isinstance(result, BaseException):
                raise result
            else:
                found, usage = found + result[0], usage + result[1]
        if failed is not None:
            failed.usage = usage
            raise failed
        return found, usage

    def _remember(self, key: str, prior: _Prior) -> None:
        # Seconds that pass now are not those that passed then.
        self._priors[key] = replace(prior, usage=replace(prior.usage, seconds=0.0))
        if len(self._priors) > CACHED_PRIORS:
            self._priors.popitem(last=False)


def _require_actions(observation: Observation) -> None:
    if observation.actions == () and not observation.templates:
        raise PolicyError(
            f"no action is valid here ({observation.text[:60]!r}): stop where the episode is done"
        )


def _proposals(prior: _Prior) -> Proposals:
    top = max(prior.logprobs.values())
    weights = {action: exp(p - top) for action, p in prior.logprobs.items()}
    total = sum(weights.values())
    items = (
        Proposal(action, weight / total, prior.thoughts.get(action))
        for action, weight in weights.items()
    )
    return Proposals(tuple(items), prior.usage)
