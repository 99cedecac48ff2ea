"""Small reward models, trajectories for them, and servers of them in threads and processes."""

from __future__ import annotations

import io
import os
import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from armap_agents.reward.calibration import Calibration
from armap_agents.reward.loaded import LoadedReward
from armap_agents.reward.render import Rendering
from armap_agents.reward.settings import EnvironmentSettings, Settings
from armap_agents.trajectory import Image, Observation, Step, Task, Trajectory

ARMAP = [sys.executable, "-m", "armap_agents"]

CALIBRATED = EnvironmentSettings(
    Rendering(), mean=0.25, std=2.0, calibration=Calibration(0.5, 1.5, -0.5, 0.3, 100)
)


def trajectories(count: int, *, seed: int = 0, environment: str = "maze") -> list[Trajectory]:
    """Return different trajectories of 0 to 7 steps."""
    generator = random.Random(seed)

    def words() -> str:
        return " ".join(str(generator.randrange(400)) for _ in range(generator.randint(1, 12)))

    found = []
    for number in range(count):
        steps = tuple(
            Step(words(), Observation(words(), ("go",), facts={"price": 1}), thought="hm")
            for _ in range(generator.randrange(8))
        )
        task = Task(f"{seed}-{number}", environment)
        found.append(Trajectory(task, words(), Observation(words()), steps))
    return found


def picture(shade: int) -> Image:
    """Return a small grey picture."""
    import PIL.Image

    file = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), (shade, shade, shade)).save(file, "PNG")
    return Image(file.getvalue())


class Shade(LoadedReward):
    """Scores a trajectory by what arrives of it: a model that fails when a test wants it to."""

    def __init__(self, *environments: str, images: bool = True) -> None:
        known = EnvironmentSettings(Rendering(images=images))
        backbone = {"kind": "minilm", "weights": "none", "sha256": "0", "options": {}}
        super().__init__(Settings(backbone, dict.fromkeys(environments or ("maze",), known)))
        self.seen: list[Trajectory] = []
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()

    @property
    def fingerprint(self) -> str:
        return "shade-1"

    async def ascore(self, trajectories: Sequence[Trajectory]) -> list[float]:
        import asyncio

        self.calls += 1
        self.seen += trajectories
        await asyncio.to_thread(self.gate.wait)
        return [self._shade(trajectory) for trajectory in trajectories]

    async def avalue(self, prefixes: Sequence[Trajectory]) -> list[float]:
        return [len(prefix) / 100 for prefix in prefixes]

    def score(self, trajectories: Sequence[Trajectory]) -> list[float]:
        return [self._shade(trajectory) for trajectory in trajectories]

    def value(self, prefixes: Sequence[Trajectory]) -> list[float]:
        return [len(prefix) / 100 for prefix in prefixes]

    async def aclose(self) -> None: ...

    @staticmethod
    def _shade(trajectory: Trajectory) -> float:
        import PIL.Image

        if trajectory.last.image is None:
            return float(trajectory.last.text or "nan")
        with PIL.Image.open(io.BytesIO(trajectory.last.image.data)) as opened:
            shade: Any = opened.getpixel((0, 0))
        return float(shade[0])


@contextmanager
def serving(app: Any, port: int = 0) -> Iterator[str]:
    """Serve an application from a thread for the length of a block; give its address."""
    import uvicorn

    with socket.create_server(("127.0.0.1", port), backlog=512) as listening:
        config = uvicorn.Config(app, log_config=None, log_level=60, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


@contextmanager
def serve_command(
    model: Path, *options: str, variables: dict[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `armap serve reward` for the length of a block; give its address and the process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ARMAP_")}
    process = subprocess.Popen(
        [*ARMAP, "serve", "reward", str(model), "--port", "0", *options],
        env=kept | {"OMP_NUM_THREADS": "1", **(variables or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            said = re.fullmatch(r"Serving .* at (http://\S+); Ctrl-C stops it\.\n", line)
            assert said, line
            yield said[1], process
        finally:
            process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def save_tiny_llama(folder: Path) -> Path:
    """Write a random Llama with a tokenizer of whole words, and return the folder."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "<unk>", *["Task", ":", "Action", "Seen", "Does", "the", "last", "go"]]
    words += [str(number) for number in range(400)]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        pad_token_id=0,
        initializer_range=0.2,
    )
    LlamaModel(config).save_pretrained(folder)
    return folder
