"""A data folder of a made-up environment that a tiny backbone learns in a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from random import Random

from armap_agents.training.records import (
    IMAGES,
    PAIRS,
    TRAJECTORIES,
    VALUES,
    Dataset,
    Pair,
    PrefixValue,
    Source,
    record_line,
    trajectory_line,
)
from armap_agents.trajectory import Image, Observation, Status, Step, Task, Trajectory

GOOD, BAD = ("1", "2", "3"), ("4", "5", "6")
"""What is seen after a right step and after a wrong one."""


def write_data(data: Dataset, folder: Path) -> Path:
    """Write the files of a data folder, pictures aside, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        TRAJECTORIES: map(trajectory_line, data.trajectories.values()),
        PAIRS: map(record_line, data.pairs),
        VALUES: map(record_line, data.values),
    }
    for name, lines in texts.items():
        (folder / name).write_text("".join(lines), "utf-8")
    return folder


@dataclass
class TinyData:
    """Makes the folder: per task a good episode, bad ones that part from it, pairs at all depths.

    Attributes:
        environment: Name of the environment.
        tasks: How many tasks.
        steps: Length of an episode.
        sources: Label sources, in turn.
        label: Of every pair.
        pictures: Say in pictures what is right, and nothing in words.
    """

    environment: str = "counting"
    tasks: int = 30
    steps: int = 3
    sources: Sequence[Source] = ("perturb",)
    label: float = 1.0
    pictures: bool = False
    trajectories: dict[str, Trajectory] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    values: list[PrefixValue] = field(default_factory=list)

    def save(self, folder: Path) -> Path:
        """Write the folder and return it."""
        rng = Random(f"tiny {self.environment}")
        for number in range(self.tasks):
            self._task(str(number), rng)
        (folder / IMAGES).mkdir(parents=True)
        for trajectory in self.trajectories.values():
            for step in trajectory.steps:
                if step.observation.image:
                    path = folder / IMAGES / step.observation.image.sha256
                    path.write_bytes(step.observation.image.data)
        return write_data(Dataset(self.trajectories, self.pairs, self.values), folder)

    def _task(self, number: str, rng: Random) -> None:
        instruction = f"1 2 3 {300 + int(number) % 90}"
        task = Task(number, self.environment, instruction=instruction)
        good = self._episode(task, instruction, self.steps, rng)
        self._value(good, instruction, number, self.steps, 4.0)
        for right in range(self.steps):
            bad = self._episode(task, instruction, right, rng, good)
            self._value(bad, instruction, number, right + 1, 0.0)
            for depth in range(right + 1, self.steps + 1):
                source = self.sources[len(self.pairs) % len(self.sources)]
                self.pairs.append(
                    Pair(
                        self.environment, instruction, good.id, depth, bad.id, depth, number,
                        source=source, label=self.label,
                    )
                )  # fmt: skip

    def _episode(
        self, task: Task, instruction: str, right: int, rng: Random, good: Trajectory | None = None
    ) -> Trajectory:
        """Play an episode whose first steps are right, the same as in a good one."""
        steps = list(good.steps[:right]) if good else []
        while len(steps) < self.steps:
            well = len(steps) < right
            seen = rng.choice(GOOD if well else BAD)
            shown = picture((0, 255, 0) if well else (255, 0, 0)) if self.pictures else None
            observation = Observation("" if self.pictures else seen, image=shown)
            last = len(steps) + 1 == self.steps
            steps.append(Step(str(rng.randrange(100, 300)), observation, last))
        episode = Trajectory(task, instruction, Observation("7"), tuple(steps), Status.ENDED)
        self.trajectories[episode.id] = episode
        return episode

    def _value(
        self, episode: Trajectory, instruction: str, task: str, steps: int, successes: float
    ) -> None:
        self.values.append(
            PrefixValue(self.environment, instruction, episode.id, steps, 4, successes, task)
        )


def picture(colour: tuple[int, int, int]) -> Image:
    """Return a picture of one colour."""
    from PIL import Image as Pictures

    file = BytesIO()
    Pictures.new("RGB", (8, 8), colour).save(file, "PNG")
    return Image(file.getvalue(), "image/png")
