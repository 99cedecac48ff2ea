"""ChatOpenAI for prompts of many short turns.

The openai client checks every message against the union of all message types before it sends it,
in pure Python on the event loop. For a few-shot prompt of 25 messages that costs more than all the
rest of a request and makes the planner, not the server, the bottleneck of a fan-out. What stands in
`extra_body` is sent as it is.
"""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_openai import ChatOpenAI


class PlainChatOpenAI(ChatOpenAI):
    """ChatOpenAI that hands its messages, plain JSON by then, to the HTTP client unchecked."""

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        payload: dict[str, Any] = super()._get_request_payload(input_, stop=stop, **kwargs)
        payload["extra_body"] = {
            **(payload.get("extra_body") or {}),
            "messages": payload["messages"],
        }
        payload["messages"] = []
        return payload
