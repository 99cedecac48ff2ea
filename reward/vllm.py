"""A reward model that vLLM serves: what `armap reward export` wrote, behind ``POST /classify``.

vLLM returns two raw numbers for a text's tokens. Everything else is known here from the export's
small files, which must be readable on this machine: how a trajectory is written, its tokens, and
the heads' biases.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from armap_agents.errors import ConfigurationError
from armap_agents.reward.backbones.pretrained import read_tokenizer
from armap_agents.reward.backbones.text import TextBackbone
from armap_agents.reward.client import ServedReward, in_batches
from armap_agents.reward.endpoint import Endpoint
from armap_agents.reward.export import EXPORT, LABELS, ExportSettings
from armap_agents.reward.render import render
from armap_agents.reward.settings import Settings
from armap_agents.reward.wire import Output
from armap_agents.trajectory import Trajectory

FOLDER_VARIABLE = "ARMAP_REWARD_SETTINGS"
"""Environment variable with the export's folder, where the server's own path means nothing here."""

TRAJECTORIES = 32
"""In a request."""

SERVE = "serve the export with `vllm serve FOLDER --runner pooling --convert classify`"


def open_vllm(endpoint: Endpoint, served: Sequence[Any]) -> VllmReward:
    """Return the reward model that a vLLM server serves.

    Args:
        endpoint: The server.
        served: What its ``/v1/models`` lists.

    Raises:
        ConfigurationError: The export's files are not readable here, or damaged.
        ArmapError: The list is none.
    """
    try:
        name, root = str(served[0]["id"]), served[0].get("root")
    except (KeyError, TypeError, AttributeError):
        raise endpoint.error("answers /v1/models like no vLLM server", SERVE) from None
    folder = Path(os.environ.get(FOLDER_VARIABLE) or str(root)).expanduser()
    if not (folder / EXPORT).is_file():
        raise ConfigurationError(
            f"{endpoint.url} serves {root}, and {folder} is no exported reward model here: put the "
            f"folder that `armap reward export` wrote, or a copy without weights, into "
            f"{FOLDER_VARIABLE}"
        )
    return VllmReward(endpoint, name, folder)


class VllmReward(ServedReward):
    """An exported reward model behind a vLLM server.

    Args:
        endpoint: The server.
        name: Under which it serves the model.
        folder: The export, weights not needed.

    Raises:
        ConfigurationError: The folder is no export, or is damaged.
    """

    def __init__(self, endpoint: Endpoint, name: str, folder: Path) -> None:
        exported = ExportSettings.read(folder)
        # A server computes in a precision of its own.
        super().__init__(Settings.read(folder), f"{exported.fingerprint}-vllm")
        self._endpoint = endpoint
        self._name = name
        self._bias = exported.bias
        self._writer = _Writer(read_tokenizer(folder), exported.tokens)

    async def _ask(self, trajectories: Sequence[Trajectory], output: Output) -> list[float]:
        async with self._endpoint.opened() as http:

            async def ask(batch: Sequence[Trajectory]) -> list[float]:
                rows = await asyncio.to_thread(self._tokens, batch)
                body = {"model": self._name, "input": rows, "use_activation": False}
                answer = await self._endpoint.post(
                    http, "/classify", json.dumps(body).encode(), cure=SERVE
                )
                return self._numbers(answer, output, len(batch))

            return await in_batches(ask, trajectories, TRAJECTORIES)

    def _tokens(self, batch: Sequence[Trajectory]) -> list[list[int]]:
        rows = []
        for trajectory in batch:
            rendering = self.settings.of(trajectory.task.environment).rendering
            (part,) = self._writer.parts(render(trajectory, rendering))
            rows.append(list(part.ids))
        return rows

    def _numbers(self, answer: Any, output: Output, count: int) -> list[float]:
        try:
            data = sorted(answer["data"], key=lambda item: int(item["index"]))
            pairs = [[float(number) for number in item["probs"]] for item in data]
        except (KeyError, TypeError, ValueError):
            pairs = []
        whole = all(len(pair) == len(LABELS) and all(map(math.isfinite, pair)) for pair in pairs)
        if len(pairs) != count or not whole:
            raise self._endpoint.error("answered what are no two numbers for each text", SERVE)
        scores, logits = zip(*pairs, strict=True)
        if output == "score":
            return [score + self._bias[0] for score in scores]
        # σ, written so that nothing overflows
        return [0.5 * (1.0 + math.tanh((logit + self._bias[1]) / 2.0)) for logit in logits]


class _Writer(TextBackbone):
    """The words and tokens of a text backbone, without its model."""

    def __init__(self, tokenizer: Any, limit: int) -> None:
        nn.Module.__init__(self)
        self.tokenizer = tokenizer
        self.limit = limit
