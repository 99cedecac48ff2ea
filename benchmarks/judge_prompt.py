"""A judge prompt: a language model is asked whether a trajectory does its task.

One of the selectors that a reward model has to beat. The score is the log odds of "yes" against
"no" as the first token of the answer, so that near misses are told apart.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence

from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from armap_agents.reward.render import cut
from armap_agents.trajectory import Trajectory

OBSERVATION = 300
"""Characters of each observation that are shown."""

CHARACTERS = 5000
"""Of what an agent did; where it is more, the newest steps are shown."""

AT_ONCE = 16

QUESTION = "Did the agent do the whole task as it was asked? Answer yes or no."


class JudgePrompt:
    """Scores trajectories by asking an OpenAI-compatible endpoint that gives log-probabilities.

    Args:
        url: Of the endpoint.
        model: Name under which it serves the judge.
    """

    def __init__(self, url: str, model: str) -> None:
        self.fingerprint = f"judge prompt 1, {model}"
        self._asked = asyncio.Semaphore(AT_ONCE)
        self._chat = ChatOpenAI(
            base_url=url,
            model=model,
            api_key=SecretStr("none"),
            temperature=0,
            max_completion_tokens=1,
            logprobs=True,
            top_logprobs=20,
            timeout=600,
        )

    async def ascore(self, trajectories: Sequence[Trajectory]) -> list[float]:
        """Return the log odds of yes for each trajectory."""
        return list(await asyncio.gather(*map(self._score, trajectories)))

    async def _score(self, trajectory: Trajectory) -> float:
        async with self._asked:
            answer = await self._chat.ainvoke(question(trajectory))
        first = answer.response_metadata["logprobs"]["content"][0]["top_logprobs"]
        return log_odds({entry["token"]: entry["logprob"] for entry in first})


def question(trajectory: Trajectory) -> str:
    """Return what the judge is asked."""
    turns = [cut(trajectory.observation.text, OBSERVATION, len)]
    for step in trajectory.steps:
        seen = cut(step.observation.text, OBSERVATION, len)
        turns.append(f"Action: {cut(step.action, OBSERVATION, len)}\nObservation: {seen}")
    shown: list[str] = []
    while turns and sum(map(len, shown)) + len(turns[-1]) <= CHARACTERS:
        shown.insert(0, turns.pop())
    missing = [f"({len(turns)} earlier steps)"] if turns else []
    episode = "\n".join([*missing, *shown])
    return f"Task: {trajectory.instruction}\n\nWhat the agent did:\n{episode}\n\n{QUESTION}"


def log_odds(logprobs: Mapping[str, float]) -> float:
    """Return ln(P(yes)/P(no)) of an answer's first token, however it is spelled.

    A word that is not among the tokens that the endpoint tells is as likely as the last of them.

    Args:
        logprobs: Natural log-probability of the likeliest tokens.
    """
    least = math.exp(min(logprobs.values()))
    shares = [
        sum(math.exp(p) for token, p in logprobs.items() if token.strip().lower() == word) or least
        for word in ("yes", "no")
    ]
    return math.log(shares[0] / shares[1])
