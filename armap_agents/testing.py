"""A scripted OpenAI-compatible server: real HTTP on loopback, with answers that a test decides.

`scripted_policy` serves `/v1/models`, `/v1/chat/completions` and `/v1/completions` on a free port,
from a thread of its own, so that code under test may use any event loop, or none. It keeps vLLM's
behaviour where a policy relies on it: `n`, `seed`, `choice` and `regex` of `structured_outputs`,
log-probabilities of the constrained distribution before temperature, token usage. Latency and
faults are functions of the request, so a failure can be repeated exactly.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import random
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

END = "<|end|>"
"""The token that ends an answer; it stands in log-probabilities, never in the text."""

_GROUP = re.compile(r"(?<!\\)\(((?:\\.|[^\\)])*)\)")
_ALTERNATIVE = re.compile(r"(?:\\.|[^\\|])+")
_HOLE = re.compile(r"\[\^(?:\\.|[^\]\\])*\]\{1,\d+\}")
_ESCAPED = re.compile(r"\\(.)")

_TOKEN = re.compile(r" ?[^\W\d_]+|\d|\s|.", re.DOTALL)


def tokens_of(text: str) -> list[str]:
    """Split text as the scripted server's tokenizer does: words with their space, single digits."""
    return _TOKEN.findall(text)


@dataclass(frozen=True)
class ScriptedRequest:
    """One request that came in; `answer` is called once per draw of it.

    Attributes:
        number: Position among the completion requests, from 0.
        path: Such as ``/v1/chat/completions``.
        body: The JSON body as sent.
        key: The bearer token that came with it.
        draw: Which of the request's `n` answers is asked for.
    """

    number: int
    path: str
    body: dict[str, Any]
    key: str = field(default="", repr=False)
    draw: int = 0

    @property
    def prompt(self) -> str:
        """The prompt as one text: the messages' contents, one to a line."""
        if self.path.endswith("/chat/completions"):
            return "\n".join(message.get("content") or "" for message in self.body["messages"])
        prompt = self.body["prompt"]
        return prompt if isinstance(prompt, str) else prompt[0]

    @property
    def choices(self) -> list[str] | None:
        """The texts that a `choice` constraint allows, or None without one."""
        return (self.body.get("structured_outputs") or {}).get("choice")

    @property
    def spelled(self) -> list[str] | None:
        """What the constraint allows, or None without one.

        For a `regex` of the kind that a policy sends, each of its alternatives with every hole
        filled by words drawn from the prompt.
        """
        regex = (self.body.get("structured_outputs") or {}).get("regex")
        if regex is None:
            return self.choices
        words = re.findall(r"[^\W\d_]{3,}", self.prompt) or ["words"]

        def fill(_: re.Match[str]) -> str:
            return " ".join(self.random.choices(words, k=3))[:40].strip()

        lead, group, rest = [*_GROUP.split(regex, maxsplit=1), "", ""][:3]
        found = [lead + part + rest for part in _ALTERNATIVE.findall(group) or [""]]
        return [_ESCAPED.sub(_literal, _HOLE.sub(fill, text)) for text in found]

    def fits(self, text: str) -> bool:
        """Tell whether a text keeps to a `regex` constraint."""
        regex = (self.body.get("structured_outputs") or {}).get("regex")
        return regex is not None and re.fullmatch(regex, text) is not None

    @property
    def seed(self) -> int | None:
        """The seed that came with the request."""
        return self.body.get("seed")

    @property
    def random(self) -> random.Random:
        """A generator that depends on prompt, seed and draw; without a seed, on the number."""
        seed = self.number if self.seed is None else self.seed
        text = f"{self.prompt}|{seed}|{self.draw}"
        return random.Random(hashlib.sha256(text.encode()).digest())


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a request instead of its answer.

    Attributes:
        kind: ``status`` answers with an HTTP error, ``hang`` never answers, ``malformed`` sends
            half a JSON document, ``empty`` a completion without choices, ``cut`` closes the
            connection in the middle of the body.
        status: The HTTP status for kind ``status``.
        retry_after: Seconds in its Retry-After header, if any.
        message: The error's message.
    """

    kind: Literal["status", "hang", "malformed", "empty", "cut"]
    status: int = 500
    retry_after: float | None = None
    message: str = "scripted fault"


def _literal(escape: re.Match[str]) -> str:
    """Return the character that a regex writes with a backslash."""
    return "\n" if escape[1] == "n" else escape[1]


Score = Callable[[str], float]
"""Maps an answer to its unnormalised log-probability."""


@dataclass
class ScriptedServer:
    """A running server; see `scripted_policy`, which makes it, for the settings.

    Attributes:
        requests: The completion requests that came in, in order.
        peak: The largest number of them that were in flight at once.
    """

    answer: Callable[[ScriptedRequest], str] | None
    score: Score
    latency: float | Callable[[ScriptedRequest], float]
    faults: Callable[[int], Fault | None]
    models: Sequence[str] | None
    constrains: bool
    requests: list[ScriptedRequest] = field(default_factory=list)
    peak: int = 0
    _in_flight: int = 0
    _socket: socket.socket = field(
        default_factory=lambda: socket.create_server(("127.0.0.1", 0), backlog=512), repr=False
    )

    @property
    def url(self) -> str:
        """The base URL, ending in ``/v1``."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def application(self) -> Starlette:
        """Return the ASGI application that the server runs."""
        from starlette.applications import Starlette
        from starlette.responses import JSONResponse
        from starlette.routing import Route

        def models(_: Request) -> Response:
            data = [{"id": name, "object": "model"} for name in self.models or ()]
            return JSONResponse({"object": "list", "data": data})

        routes = [
            Route("/v1/chat/completions", self._complete, methods=["POST"]),
            Route("/v1/completions", self._complete, methods=["POST"]),
        ]
        if self.models is not None:
            routes.append(Route("/v1/models", models))
        return Starlette(routes=routes)

    async def _complete(self, http: Request) -> Response:
        body = json.loads(await http.body())
        key = http.headers.get("authorization", "").removeprefix("Bearer ")
        request = ScriptedRequest(len(self.requests), http.url.path, body, key)
        self.requests.append(request)
        self._in_flight += 1
        self.peak = max(self.peak, self._in_flight)
        try:
            wait = self.latency(request) if callable(self.latency) else self.latency
            await asyncio.sleep(wait)
            fault = self.faults(request.number)
            return _answer(self, request) if fault is None else await _fail(fault)
        finally:
            self._in_flight -= 1

    def write(self, request: ScriptedRequest) -> str:
        """Return the text of one draw."""
        allowed = request.spelled if self.constrains else None
        text = self.answer(request) if self.answer else None
        if allowed is None:
            return text if text is not None else "scripted answer"
        if text in allowed or (text is not None and request.fits(text)):
            return text
        temperature = request.body.get("temperature", 1.0)
        if temperature == 0:
            return max(allowed, key=self.score)
        weights = [math.exp(w / temperature) for w in _log_softmax([*map(self.score, allowed)])]
        return request.random.choices(allowed, weights)[0]


def _log_softmax(scores: Sequence[float]) -> list[float]:
    top = max(scores)
    total = top + math.log(sum(math.exp(score - top) for score in scores))
    return [score - total for score in scores]


def next_token_logprobs(
    allowed: Sequence[str], score: Score, walked: Sequence[str]
) -> list[dict[str, float]]:
    """Return the next-token log-probabilities at each token of a path through the choices."""
    weights = map(math.exp, _log_softmax([*map(score, allowed)]))
    here = [([*tokens_of(c), END], w) for c, w in zip(allowed, weights, strict=True)]
    positions = []
    for k, token in enumerate(walked):
        mass: dict[str, float] = {}
        for path, weight in here:
            mass[path[k]] = mass.get(path[k], 0.0) + weight
        total = sum(mass.values())
        positions.append({t: math.log(p / total) for t, p in mass.items()})
        here = [(path, weight) for path, weight in here if path[k] == token]
    return positions


def _answer(server: ScriptedServer, request: ScriptedRequest) -> Response:
    from starlette.responses import JSONResponse

    body = request.body
    if server.models is not None and body["model"] not in server.models:
        message = f"The model `{body['model']}` does not exist."
        return JSONResponse({"error": {"message": message}}, 404)
    chat = request.path.endswith("/chat/completions")
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or 1024
    choices, written = [], 0
    for draw in range(body.get("n") or 1):
        whole = server.write(replace(request, draw=draw))
        tokens = [*tokens_of(whole), END][:limit]
        written += len(tokens)
        text = "".join(token for token in tokens if token is not END)
        reason = "stop" if tokens[-1] is END else "length"
        choice: dict[str, Any] = {"index": draw, "finish_reason": reason, "logprobs": None}
        if body.get("logprobs"):
            top = body.get("top_logprobs") or 1 if chat else int(body["logprobs"])
            allowed = (request.choices if server.constrains else None) or [whole]
            positions = next_token_logprobs(allowed, server.score, tokens)
            choice["logprobs"] = _logprobs(tokens, positions, top, chat)
        content = {"role": "assistant", "content": text}
        choices.append(choice | ({"message": content} if chat else {"text": text}))
    read = len(tokens_of(request.prompt))
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    kind = "chat.completion" if chat else "text_completion"
    answer = {"id": str(request.number), "object": kind, "created": 0, "model": body["model"]}
    return JSONResponse(answer | {"choices": choices, "usage": usage})


def _logprobs(
    tokens: list[str], positions: list[dict[str, float]], top: int, chat: bool
) -> dict[str, Any]:
    ranked = [sorted(p.items(), key=lambda item: -item[1])[:top] for p in positions]
    own = [position[token] for token, position in zip(tokens, positions, strict=True)]
    if not chat:
        return {"tokens": tokens, "token_logprobs": own, "top_logprobs": [*map(dict, ranked)]}
    tops = [[{"token": t, "logprob": p} for t, p in best] for best in ranked]
    items = zip(tokens, own, tops, strict=True)
    return {"content": [{"token": t, "logprob": p, "top_logprobs": b} for t, p, b in items]}


async def _fail(fault: Fault) -> Response:
    from starlette.responses import JSONResponse, Response

    if fault.kind == "hang":
        await asyncio.Event().wait()
    if fault.kind == "malformed":
        return Response('{"choices": [{"mess', media_type="application/json")
    if fault.kind == "empty":
        return JSONResponse({"id": "0", "object": "x", "created": 0, "model": "x", "choices": []})
    if fault.kind == "cut":
        # Promising more bytes than are sent makes the server close the connection under the client.
        return Response("{", headers={"content-length": "4096"}, media_type="application/json")
    headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
    return JSONResponse({"error": {"message": fault.message}}, fault.status, headers)


@asynccontextmanager
async def scripted_policy(
    answer: Callable[[ScriptedRequest], str] | None = None,
    *,
    score: Score = lambda _: 0.0,
    latency: float | Callable[[ScriptedRequest], float] = 0.0,
    faults: Callable[[int], Fault | None] = lambda _: None,
    models: Sequence[str] | None = ("scripted",),
    constrains: bool = True,
) -> AsyncIterator[ScriptedServer]:
    """Run a scripted OpenAI-compatible server for the time of a block.

    Args:
        answer: Returns the text of one draw. Under a constraint an answer outside it is replaced by
            a seeded draw from what it allows (`ScriptedRequest.spelled`), as is every answer by
            default.
        score: The unnormalised log-probability of each choice; drawn from at the request's
            temperature, and returned exactly as log-probabilities.
        latency: Seconds before each answer.
        faults: What goes wrong with the request of a number, if anything.
        models: The names that are served; None serves any, and no list of them.
        constrains: False ignores `structured_outputs` silently, as many servers do.

    Yields:
        The server; `server.url` goes into a `PolicyConfig`.
    """
    import uvicorn

    server = ScriptedServer(answer, score, latency, faults, models, constrains)
    http = uvicorn.Server(
        uvicorn.Config(
            server.application(), log_config=None, log_level=60, access_log=False, lifespan="off"
        )
    )
    # The socket listens from here on: a request sent before the thread is up waits in its backlog.
    thread = threading.Thread(target=http.run, kwargs={"sockets": [server._socket]}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.should_exit = http.force_exit = True
        await asyncio.to_thread(thread.join)
        server._socket.close()
