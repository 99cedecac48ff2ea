"""A trained reward model, serving in-process.

All arithmetic happens on threads of its own, so that the event loop never waits for it; what
several callers ask for while they are busy becomes one batch. A trajectory's parts are encoded
once and their vectors remembered, so that a prefix extended by one step, an equal step of another
trajectory and the value of a scored prefix cost next to nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armap_agents.errors import ArmapError
from armap_agents.reward.backbones import Part
from armap_agents.reward.backbones.pretrained import ADAPTER
from armap_agents.reward.loaded import LoadedReward
from armap_agents.reward.model import load_network
from armap_agents.reward.render import render
from armap_agents.reward.settings import SETTINGS
from armap_agents.trajectory import Trajectory

REMEMBERED_BYTES = 256 * 2**20
"""Of part vectors; some 150,000 steps under the default backbone."""

CPU_POSITIONS = 512
"""Padded positions that a core encodes at once: more no longer fit its caches."""

SLICE = 256
"""Trajectories that are taken up at once: bounds memory, and is plenty to batch."""

Output = tuple[float, float]
"""Score and value logit."""

Vector = NDArray[np.float32]


@dataclass(eq=False)
class _Request:
    trajectories: list[Trajectory]
    outputs: Future[list[Output]] = field(default_factory=Future)


class TrainedReward(LoadedReward):
    """Scores trajectories with a model folder.

    Args:
        folder: What `armap train` wrote.

    Raises:
        ConfigurationError: The folder is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._network, settings = load_network(folder)
        super().__init__(settings)
        on_gpu = self._network.heads.weight.device.type == "cuda"
        if not on_gpu:
            self._network.batch_positions = CPU_POSITIONS
        # As training did there, and its calibration.
        self._bfloat16 = on_gpu and torch.cuda.is_bf16_supported()
        # Now, not when asked: the folder may be trained again while this model serves.
        self._fingerprint = _digest(folder)
        self._memory = _Memory(REMEMBERED_BYTES)
        self._waiting: deque[_Request] = deque()
        cores = min(torch.get_num_threads(), len(os.sched_getaffinity(0)))
        self._thread = ThreadPoolExecutor(1, "armap-scorer", _take_cores, (cores,))
        self._encoders = None if on_gpu or cores == 1 else _one_core_each(cores)
        self._cores = cores

    @property
    def fingerprint(self) -> str:
        """Digest of settings and weights: scores under one fingerprint are comparable."""
        return self._fingerprint

    async def ascore(self, trajectories: Sequence[Trajectory]) -> list[float]:
        """Score a batch of any size, in order; higher is better, the scale is the model's own."""
        outputs: list[Output] = await asyncio.wrap_future(self._ask(trajectories))
        return _scores(outputs)

    async def avalue(self, prefixes: Sequence[Trajectory]) -> list[float]:
        """Return each prefix's chance, 0 to 1, that a random continuation succeeds."""
        outputs: list[Output] = await asyncio.wrap_future(self._ask(prefixes))
        return _values(outputs)

    def score(self, trajectories: Sequence[Trajectory]) -> list[float]:
        """Score and wait; for scripts, never inside an event loop."""
        return _scores(self._ask(trajectories).result())

    def value(self, prefixes: Sequence[Trajectory]) -> list[float]:
        """Return what `avalue` returns and wait; for scripts, never inside an event loop."""
        return _values(self._ask(prefixes).result())

    async def aclose(self) -> None:
        """Stop the threads; scoring afterwards is an error."""
        await asyncio.to_thread(self._thread.shutdown)
        if self._encoders is not None:
            await asyncio.to_thread(self._encoders.shutdown)

    def _ask(self, trajectories: Sequence[Trajectory]) -> Future[list[Output]]:
        request = _Request(list(trajectories))
        self._waiting.append(request)
        try:
            self._thread.submit(self._answer_waiting)
        except RuntimeError:
            request.outputs.cancel()
            raise ArmapError("this reward model is closed: load it again") from None
        return request.outputs

    def _answer_waiting(self) -> None:
        """Answer everybody who waits in one batch; who went away meanwhile costs nothing."""
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        taken = [request for request in taken if request.outputs.set_running_or_notify_cancel()]
        try:
            outputs = iter(self._outputs([t for request in taken for t in request.trajectories]))
        except Exception:  # one of them is to blame: it alone shall hear of it
            for request in taken:
                self._answer(request)
            return
        for request in taken:
            request.outputs.set_result([next(outputs) for _ in request.trajectories])

    def _answer(self, request: _Request) -> None:
        try:
            request.outputs.set_result(self._outputs(request.trajectories))
        except Exception as error:
            request.outputs.set_exception(error)

    def _outputs(self, trajectories: Sequence[Trajectory]) -> list[Output]:
        outputs: list[Output] = []
        with torch.inference_mode():
            for start in range(0, len(trajectories), SLICE):
                outputs += self._slice(trajectories[start : start + SLICE])
        return outputs

    def _slice(self, trajectories: Sequence[Trajectory]) -> list[Output]:
        items = [self._parts(trajectory) for trajectory in trajectories]
        names = [b"".join(part.key for part in item) for item in items]
        distinct = dict(zip(names, items, strict=True))
        try:
            vectors = self._vectors([part for item in distinct.values() for part in item])
        except Exception:
            for trajectory, item in zip(trajectories, items, strict=True):
                _check_images(trajectory, item)
            raise
        stacked = np.stack([vectors[part.key] for item in distinct.values() for part in item])
        outputs = self._network.outputs(
            torch.from_numpy(stacked).to(self._network.heads.weight.device),
            [len(item) for item in distinct.values()],
        )
        known = {
            name: (score, logit)
            for name, (score, logit) in zip(distinct, outputs.tolist(), strict=True)
        }
        for trajectory, name in zip(trajectories, names, strict=True):
            if not all(map(math.isfinite, known[name])):
                raise ArmapError(
                    f"trajectory {trajectory.id} (task {trajectory.task.id}): the model's output "
                    "is no finite number: train it again with a smaller --learning-rate"
                )
        return [known[name] for name in names]

    def _parts(self, trajectory: Trajectory) -> list[Part]:
        rendering = self.settings.of(trajectory.task.environment).rendering
        return self._network.backbone.parts(render(trajectory, rendering))

    def _vectors(self, parts: Sequence[Part]) -> Mapping[bytes, Vector]:
        """Return the vector of each part by its key, remembered or fresh."""
        wanted = {part.key: part for part in parts}
        vectors = {key: self._memory.get(key) for key in wanted}
        missing = [part for key, part in wanted.items() if vectors[key] is None]
        found = {key: vector for key, vector in vectors.items() if vector is not None}
        if missing:
            with torch.autocast("cuda", torch.bfloat16, enabled=self._bfloat16):
                fresh = self._network.encode(missing, self._each).cpu().numpy()
            for part, vector in zip(missing, fresh, strict=True):
                found[part.key] = vector.copy()  # a view would keep the whole batch alive
                self._memory.put(part.key, found[part.key])
        return found

    def _each(
        self, encode: Callable[[Sequence[Part]], Tensor], batches: Sequence[Sequence[Part]]
    ) -> Iterable[Tensor]:
        """Encode batches side by side, a core each; a few of them one by one with all cores.

        Cores that share every matrix product wait for each other hundreds of times a batch; that
        still costs less than leaving half of them idle.
        """
        if self._encoders is None or 2 * len(batches) <= self._cores:
            return map(encode, batches)
        return self._encoders.map(torch.inference_mode()(encode), batches)


class _Memory:
    """The vectors that were used last, up to a number of bytes."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._bytes = 0
        self._vectors: OrderedDict[bytes, Vector] = OrderedDict()

    def get(self, key: bytes) -> Vector | None:
        vector = self._vectors.get(key)
        if vector is not None:
            self._vectors.move_to_end(key)
        return vector

    def put(self, key: bytes, vector: Vector) -> None:
        self._vectors[key] = vector
        self._bytes += vector.nbytes
        while self._bytes > self._budget:
            self._bytes -= self._vectors.popitem(last=False)[1].nbytes


def _scores(outputs: Sequence[Output]) -> list[float]:
    return [score for score, _ in outputs]


def _values(outputs: Sequence[Output]) -> list[float]:
    """Return σ(value logit) of each output."""
    values: list[float] = torch.sigmoid(torch.tensor([logit for _, logit in outputs])).tolist()
    return values


def _take_cores(count: int) -> None:
    """Let torch compute on so many cores in this thread."""
    torch.set_num_threads(count)
    torch.get_num_threads()  # until a thread has asked, it would take what others set later


def _one_core_each(count: int) -> ThreadPoolExecutor:
    """Return a pool of threads in each of which torch computes on one core.

    They begin at once, because a thread that is new to torch takes the count that was set last in
    any thread: it is set back before others can meet it.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, "armap-encoder", _take_cores, (1,))
    begun = threading.Barrier(count)
    for _ in pool.map(lambda _: begun.wait(), range(count)):
        pass
    torch.set_num_threads(before)
    return pool


def _check_images(trajectory: Trajectory, parts: Sequence[Part]) -> None:
    """Raise an error that names the trajectory if one of its screenshots is none."""
    images = [image for part in parts for image in part.images]
    if images:
        from armap_agents.reward.backbones.pictures import open_picture
    for image in images:
        try:
            open_picture(image)
        except ArmapError as error:
            raise ArmapError(
                f"trajectory {trajectory.id} (task {trajectory.task.id}): {error}"
            ) from None


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    weights = [*folder.glob("*.safetensors"), *(folder / ADAPTER).glob("*.safetensors")]
    for path in (folder / SETTINGS, *sorted(weights)):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()[:16]
