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

from armap_agents.policy.prompts import transcript
from armap_agents.trajectory import Trajectory

AT_ONCE = 16

QUESTION = "Did the agent do the whole task as it was asked? Answer yes or no."


class JudgePrompt:
    """Scores trajectories by asking an OpenAI-compatible endpoint that gives log-probabilities.

    Args:
        url: Of the endpoint.
        model: Name under which it serves the judge.
    """

    def __init__(self, url: str, model: str) -> None:
        self.fingerprint = f"judge prompt 2, {model}"
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
    seen = transcript(trajectory)
    return f"Task: {trajectory.instruction}\n\nWhat the agent did:\n{seen}\n\n{QUESTION}"


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
