"""Requests to one OpenAI-compatible endpoint, through langchain-openai and our own HTTP client.

Both styles, chat and plain completion, give the same `Completion`. Retries, with back-off, jitter
and Retry-After, are the openai client's: connection errors, timeouts, 429 and 5xx, nothing else.
Here stand the bound on requests in flight, the accounting, and one line for each way in which an
endpoint can fail.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from armap_agents.errors import PolicyError
from armap_agents.policy import prompts
from armap_agents.policy.prompts import Message
from armap_agents.policy.records import PolicyConfig, PolicyFailure
from armap_agents.usage import Usage

if TYPE_CHECKING:
    from langchain_core.outputs import LLMResult
    from langchain_openai import ChatOpenAI, OpenAI

_log = logging.getLogger(__name__)

TOP_LOGPROBS = 20
"""The most alternatives that servers return for a position (OpenAI's and vLLM's bound)."""


class ConstraintRefused(PolicyFailure):
    """The server does not know `structured_outputs` and says so, instead of ignoring it."""


@dataclass(frozen=True)
class Position:
    """One sampled token with what stood beside it.

    Attributes:
        token: The token's text.
        logprobs: Natural log-probabilities of the most likely tokens here, its own included.
    """

    token: str
    logprobs: Mapping[str, float]


@dataclass(frozen=True)
class Completion:
    """The answer to one request.

    Attributes:
        texts: One for each draw.
        positions: The tokens of the only draw, where log-probabilities were asked for and given.
        usage: What the request cost.
    """

    texts: tuple[str, ...]
    positions: tuple[Position, ...]
    usage: Usage


class Endpoint:
    """One endpoint, for one event loop.

    Args:
        config: Where it is.
        http: The event loop's HTTP client; never closed here.

    Attributes:
        failure: The last request that failed for good, None before any did.
    """

    def __init__(self, config: PolicyConfig, http: httpx.AsyncClient) -> None:
        self.config = config
        self.failure: PolicyFailure | None = None
        self._http = http
        self._slots = asyncio.Semaphore(config.max_concurrency)
        self._making = asyncio.Lock()
        self._model: ChatOpenAI | OpenAI | None = None
        self._model_key = ""

    async def complete(
        self,
        messages: list[Message],
        *,
        temperature: float,
        max_tokens: int,
        seed: int | None = None,
        n: int = 1,
        constraint: Mapping[str, Any] | None = None,
        logprobs: bool = False,
        action: bool = True,
    ) -> Completion:
        """Send one request and wait for its answer.

        Args:
            messages: The prompt as a chat, whatever the endpoint's style.
            temperature: 0 takes the most likely token.
            max_tokens: Tokens written at most, per draw.
            seed: Passed on; None lets the server choose.
            n: Draws, 1 where `logprobs` is set.
            constraint: Value of ``structured_outputs``.
            logprobs: Ask for the `TOP_LOGPROBS` most likely tokens of each position.
            action: Ask for an action, not for a text of many lines; only the plain style differs.

        Raises:
            ConstraintRefused: The server says that it does not know the constraint.
            PolicyFailure: It failed for good.
            PolicyError: The variable that should hold the key is not set.
        """
        options: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens}
        if seed is not None:
            options["seed"] = seed
        if n > 1:
            options["n"] = n
        if constraint is not None:
            options["extra_body"] = {"structured_outputs": dict(constraint)}
        async with self._slots:
            model = await self._client()
            started = time.monotonic()
            try:
                result = await self._generate(model, messages, options, logprobs, action)
                return _completion(result, time.monotonic() - started)
            except Exception as error:
                import openai

                spent = Usage(failures=1, seconds=time.monotonic() - started)
                failure = self._failure(error, spent)
                if failure is None:
                    raise
                self.failure = failure
                if isinstance(error, openai.OpenAIError):
                    # The line says it all, and what a server wrote may repeat the key.
                    raise failure from None
                _log.debug("what led to: %s", failure, exc_info=True)
                raise failure from error

    async def _generate(
        self,
        model: ChatOpenAI | OpenAI,
        messages: list[Message],
        options: dict[str, Any],
        logprobs: bool,
        action: bool,
    ) -> LLMResult:
        from langchain_core.messages import convert_to_messages
        from langchain_openai import ChatOpenAI

        if isinstance(model, ChatOpenAI):
            if logprobs:
                options |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
            return await model.agenerate([convert_to_messages(messages)], **options)
        if logprobs:
            options["logprobs"] = TOP_LOGPROBS
        if not action:
            return await model.agenerate([prompts.document(messages)], **options)
        thoughts = self.config.thoughts
        stop = prompts.STOP_WITH_THOUGHT if thoughts else prompts.STOP
        return await model.agenerate([prompts.plain(messages, thoughts)], stop=[stop], **options)

    async def check(self) -> None:
        """Ask for the list of models or, where a server has none, for one token.

        Raises:
            PolicyError: The address is none, nobody answers, the key is refused, it is no OpenAI
                API, or it does not serve the model.
        """
        url = self.config.url.rstrip("/") + "/models"
        headers = {"Authorization": f"Bearer {self._key()}"}
        wait = min(self.config.timeout, 10.0)
        try:
            response = await self._http.get(url, headers=headers, timeout=wait)
        except httpx.InvalidURL as error:
            raise PolicyError(
                self._line(
                    f"has no valid address ({error})", "use one like http://127.0.0.1:8000/v1"
                )
            ) from None
        except (httpx.ConnectError, httpx.ConnectTimeout):  # aiohttp's refusals come as the latter
            raise PolicyError(self._line("cannot be reached", _START)) from None
        except httpx.TimeoutException:
            raise PolicyError(self._line(f"did not answer within {wait:g} s", _START)) from None
        except httpx.HTTPError:
            raise PolicyError(self._line("cannot be reached", _START)) from None
        if response.status_code in (401, 403):
            raise PolicyError(self._line("refuses the key", self._key_cure()))
        if response.status_code == 404:
            probe = [{"role": "user", "content": "Hello"}]
            await self.complete(probe, temperature=0.0, max_tokens=1)
            return
        try:
            served = [str(model["id"]) for model in response.json()["data"]]
        except (ValueError, KeyError, TypeError):
            raise PolicyError(
                self._line(
                    f"is no OpenAI API: /models answers {response.status_code}",
                    "use the address that ends in /v1",
                )
            ) from None
        if self.config.model not in served:
            raise PolicyError(
                self._line(
                    f"does not serve {self.config.model!r}",
                    f"use {', '.join(served[:10]) or 'another one, it serves none'}",
                )
            )

    def _key(self) -> str:
        name = self.config.api_key_env
        if name is None:
            return "EMPTY"
        key = os.environ.get(name)
        if not key:
            raise PolicyError(f"the policy's key is missing: set the environment variable {name}")
        return key

    async def _client(self) -> ChatOpenAI | OpenAI:
        """Return the langchain model, rebuilt when the key in the environment has changed.

        In a thread, since importing langchain-openai takes a second and reads many files.
        """
        key = self._key()
        async with self._making:
            if self._model is None or key != self._model_key:
                self._model = await asyncio.to_thread(self._make, key)
                self._model_key = key
            return self._model

    def _make(self, key: str) -> ChatOpenAI | OpenAI:
        from langchain_openai import OpenAI
        from pydantic import SecretStr

        from armap_agents.policy.chat_model import PlainChatOpenAI

        common: dict[str, Any] = {
            "base_url": self.config.url,
            "model": self.config.model,
            "api_key": SecretStr(key),
            "timeout": self.config.timeout,
            "max_retries": self.config.retries,
            "http_async_client": self._http,
            # A global LLM cache would answer equal prompts with one draw.
            "cache": False,
        }
        if self.config.style == "chat":
            # A graph streamed in the mode `messages` would turn requests into streams, which carry
            # neither usage nor several draws.
            return PlainChatOpenAI(**common, disable_streaming=True, use_responses_api=False)
        return OpenAI(**common)

    def _line(self, what: str, cure: str) -> str:
        return f"the policy at {self.config.url} {what}: {cure}"

    def _key_cure(self) -> str:
        name = self.config.api_key_env
        return f"check the key in ${name}" if name else "name the variable that holds the key"

    def _said(self, message: str) -> str:
        """Return a server's message as one short line without the key, should it repeat that."""
        line = " ".join(message.split())
        return (line.replace(self._model_key, "***") if self._model_key else line)[:300]

    def _failure(self, error: Exception, usage: Usage) -> PolicyFailure | None:
        """Say in one line what failed and what helps; None for what is not the endpoint's doing."""
        import openai

        tries = f"in {self.config.retries + 1} tries" if self.config.retries else "in one try"
        match error:
            case openai.APITimeoutError() if isinstance(error.__cause__, httpx.ConnectTimeout):
                what, cure = f"cannot be reached, {tries}", _START
            case openai.APITimeoutError():
                what = f"did not answer within {self.config.timeout:g} s, {tries}"
                cure = "raise policy_timeout or lower policy_concurrency"
            case openai.APIConnectionError():
                what, cure = f"cannot be reached, {tries}", _START
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                what, cure = "refuses the key", self._key_cure()
            case openai.APIStatusError():
                body = error.body if isinstance(error.body, dict) else {}
                said = self._said(str(body.get("message") or error.message))
                if "structured_outputs" in said and error.status_code in (400, 422):
                    return ConstraintRefused(self._line("refuses a constraint", said), usage)
                what, cure = f"answered {error.status_code}, {said!r}", _status_cure(error)
            case openai.OpenAIError() | ValueError() | KeyError() | TypeError() | AttributeError():
                what = f"answered what is no completion ({type(error).__name__})"
                cure = "is it an OpenAI-compatible server, and is the address its /v1?"
            case _:
                return None
        return PolicyFailure(self._line(what, cure), usage)


_START = "start one with `armap serve policy`, or give its address"


def _status_cure(error: Any) -> str:
    if error.status_code == 404:
        return "check the model's name and that the address ends in /v1"
    if error.status_code == 429:
        return "it limits the rate; lower policy_concurrency"
    if error.status_code >= 500:
        return "look into the server's log"
    if "chat template" in error.message.lower():
        return "a model without a chat template needs the style `completion`"
    return "the request does not suit this server or its context length"


def _completion(result: LLMResult, seconds: float) -> Completion:
    generations = result.generations[0]
    if not generations:
        raise ValueError("no choices")
    counts = (result.llm_output or {}).get("token_usage") or {}
    usage = Usage(
        completions=len(generations),
        prompt_tokens=int(counts.get("prompt_tokens") or 0),
        completion_tokens=int(counts.get("completion_tokens") or 0),
        seconds=seconds,
    )
    texts = tuple(generation.text for generation in generations)
    given = (generations[0].generation_info or {}).get("logprobs")
    return Completion(texts, _positions(given) if given else (), usage)


def _positions(given: Mapping[str, Any]) -> tuple[Position, ...]:
    """Read log-probabilities of either style."""
    if "content" in given:
        return tuple(
            Position(
                item["token"],
                {top["token"]: top["logprob"] for top in reversed(item["top_logprobs"])}
                | {item["token"]: item["logprob"]},
            )
            for item in given["content"] or ()
        )
    return tuple(
        Position(token, {**(top or {}), token: logprob})
        for token, logprob, top in zip(
            given["tokens"], given["token_logprobs"], given["top_logprobs"], strict=True
        )
    )
