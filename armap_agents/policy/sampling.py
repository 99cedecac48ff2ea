"""Drawing answers to a question from an endpoint, and reading them.

Where the environment says what is valid, the server is asked to sample nothing else. A server that
ignores this is found out by two invalid answers in a row, reported once, and read as free text from
then on. Of a long list only a stage is valid at a time; but where thoughts are asked for, a server
that constrains samples from the whole list in one request: a stage that follows would have it write
the thought again, and 1,300 actions compile in half a second.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from armap_agents.policy.actions import (
    constraint,
    longest,
    read_action,
    satisfies,
    written_out,
)
from armap_agents.policy.endpoint import Completion, ConstraintRefused, Endpoint
from armap_agents.policy.narrowing import is_long
from armap_agents.policy.prompts import Message
from armap_agents.policy.question import Draw, Question
from armap_agents.policy.records import PolicyConfig, PolicyFailure
from armap_agents.policy.thoughts import (
    THOUGHT,
    THOUGHT_TOKENS,
    divided,
    satisfies_with_thought,
    thought_constraint,
    turn,
)
from armap_agents.trajectory import Observation
from armap_agents.usage import Usage

REPAIRS = 2
"""How often an unreadable answer is asked for again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """The answers to one request.

    Attributes:
        draws: One for each that was asked for.
        valid: What was valid; of a long list, what the stage offered.
        usage: What they cost.
        constrained: Whether the server sampled valid answers alone.
    """

    draws: tuple[Draw, ...]
    valid: Observation
    usage: Usage
    constrained: bool


class Sampler:
    """Draws answers from one endpoint, and knows what it has found out about it.

    Args:
        config: How it is asked.
        endpoint: The endpoint.

    Attributes:
        constrains: Whether it keeps to constraints, as far as is known.
        gives_logprobs: Whether it returns log-probabilities, as far as is known.
        lead: What stands between prompt and action.
    """

    def __init__(self, config: PolicyConfig, endpoint: Endpoint) -> None:
        self.config = config
        self.constrains = True
        self.gives_logprobs = True
        self.lead = " " if config.style == "completion" else ""
        self._endpoint = endpoint

    def prompt(self, question: Question) -> list[Message]:
        """Return the prompt of a question as this endpoint needs it."""
        return question.prompt(free=not self.constrains, thoughts=self.config.thoughts)

    async def sample(
        self, question: Question, temperature: float, seed: int | None, n: int = 1
    ) -> Sample:
        """Draw `n` answers.

        Args:
            question: What is asked.
            temperature: 0 is greedy.
            seed: Passed to the server.
            n: Number of draws.

        Raises:
            PolicyFailure: The endpoint failed for good.
            PolicyError: The key is missing.
        """
        valid, thoughts = self._valid(question), self.config.thoughts
        allowed = self._constraint(valid) if self.constrains else None
        prompt, tokens = self.prompt(question), self.config.max_tokens
        if allowed is not None:
            tokens = max(tokens, longest(valid))
        else:
            prompt += question.said
        ask = partial(
            self._endpoint.complete,
            prompt,
            temperature=temperature,
            max_tokens=tokens + (THOUGHT_TOKENS if thoughts else 0),
            n=n,
            constraint=allowed,
        )
        try:
            completion = await ask(seed=seed)
        except ConstraintRefused as refusal:
            self.stop_constraining(str(refusal))
            return await self.sample(question, temperature, seed, n)
        if allowed is None:
            return self._answers(question, completion, None)
        if self.constrains and self._outside(completion, valid, allowed):
            # One stray answer is an accident, a second one the server's way.
            spent = completion.usage + Usage(repairs=1)
            try:
                completion = await ask(seed=further(seed, 1 + REPAIRS))
            except PolicyFailure as failure:
                failure.usage = spent + failure.usage
                raise
            completion = replace(completion, usage=spent + completion.usage)
        outside = self._outside(completion, valid, allowed)
        if outside:
            self.stop_constraining(f"it answered {outside[0][:60]!r}, which is not allowed")
        return self._answers(question, completion, None if outside else valid)

    def _valid(self, question: Question) -> Observation:
        """Return the observation with what may be answered now as its actions."""
        last = question.trajectory.last
        if not is_long(last) or (self.config.thoughts and self.constrains):
            return last
        return replace(last, actions=tuple(question.stage()))

    def _constraint(self, valid: Observation) -> dict[str, Any] | None:
        if self.config.thoughts:
            return thought_constraint(valid, begun=bool(self.lead))
        return constraint(valid, self.lead)

    def _outside(
        self, completion: Completion, valid: Observation, allowed: dict[str, Any]
    ) -> list[str]:
        """Return the answers that do not keep to the constraint."""
        if self.config.thoughts:
            begun = bool(self.lead)
            keeps = partial(satisfies_with_thought, observation=valid, begun=begun)
        else:
            keeps = partial(satisfies, allowed=allowed)
        return [text for text in completion.texts if not keeps(text)]

    def _answers(
        self, question: Question, completion: Completion, kept_to: Observation | None
    ) -> Sample:
        """Read the answers, which may have been sampled from what was valid alone."""
        constrained = kept_to is not None
        valid = kept_to or self._valid(question)
        draws = [self._read(text, question, valid, constrained) for text in completion.texts]
        return Sample(tuple(draws), valid, completion.usage, constrained)

    def _read(self, text: str, question: Question, valid: Observation, constrained: bool) -> Draw:
        last, thought, said = question.trajectory.last, None, text
        if self.config.thoughts:
            text = THOUGHT + text if self.lead else text
            thought, said = divided(text, constrained=constrained, begun=bool(self.lead))
        if constrained:
            said = written_out(said, valid)
            text = turn(thought, said) if self.config.thoughts else said
        action = read_action(said, valid, inside=valid is last)
        if action is None and valid is not last:
            # Beginnings were offered, but the model may see from earlier steps what follows one.
            action = read_action(said, last, inside=False) or read_action(said, valid)
        members = question.stage().get(action or "", ()) if valid is not last else ()
        return Draw(text, action, thought, narrows=len(members) > 1)

    def stop_constraining(self, why: str) -> None:
        """Read answers as free text from now on, and say so once."""
        if self.constrains:
            self.constrains = False
            _log.warning(
                "the policy at %s ignores `structured_outputs`: %s. Valid actions now stand in the "
                "prompt and answers are read as free text; vLLM would keep to them",
                self.config.url,
                why,
            )

    def stop_asking_logprobs(self) -> None:
        """Do without log-probabilities from now on, and say so once."""
        if self.gives_logprobs:
            self.gives_logprobs = False
            _log.warning(
                "the policy at %s returns no log-probabilities: priors are shares of samples",
                self.config.url,
            )


def further(seed: int | None, attempt: int) -> int | None:
    """Return another seed for asking again; the first ask keeps the caller's."""
    return None if seed is None else (seed + 1_000_003 * attempt) % 2**63
