"""What an agent was asked, saw and did, as plain frozen records.

Task → Observation → Step → Trajectory are the vocabulary in which every part of the project talks
to every other: planners produce trajectories, reward models score them, training pairs are made of
them, traces store them. They hold data only, serialise to pure JSON and know no environment, no
graph and no tensor. Images are referred to by content hash in JSON; their bytes lie in a blob
folder (`armap_agents.trace`) or, with `to_dict(inline=True)`, travel along as base64.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from armap_agents.errors import ArmapError

JSON = Any
"""A JSON value: None, bool, int, float, str, list or dict with string keys."""

BlobReader = Callable[[str], bytes]
"""Returns the bytes stored under a sha256 hex digest."""


def content_hash(value: JSON) -> str:
    """Return the sha256 hex digest of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # Halves of characters, which models and web pages do write, are hashed like any other text.
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _text(value: object) -> str:
    """Return a text; JSON may hold anything in its place."""
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]!r} is no text")
    return value


@dataclass(frozen=True)
class Image:
    """A picture an environment showed.

    Attributes:
        data: The encoded file's bytes.
        media_type: Its MIME type, such as ``image/jpeg``.
    """

    data: bytes = field(repr=False)
    media_type: str = "image/png"

    @cached_property
    def sha256(self) -> str:
        """Hex digest of `data`; the picture's name in JSON and in the blob folder."""
        return hashlib.sha256(self.data).hexdigest()

    def to_dict(self, *, inline: bool = False) -> dict[str, Any]:
        """Return the reference ``{sha256, media_type}``, with ``base64`` bytes if `inline`."""
        reference = {"sha256": self.sha256, "media_type": self.media_type}
        if inline:
            reference["base64"] = base64.b64encode(self.data).decode()
        return reference

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], blobs: BlobReader | None = None) -> Image:
        """Rebuild a picture from its reference.

        Args:
            value: What `to_dict` returned.
            blobs: Reads the bytes by digest where they do not travel inline.

        Raises:
            ArmapError: The bytes are neither inline nor readable, or do not have their digest.
        """
        if "base64" in value:
            data = base64.b64decode(value["base64"], validate=True)
        elif blobs is not None:
            data = blobs(value["sha256"])
        else:
            raise ArmapError(
                f"image {value['sha256'][:12]}… has no bytes here: pass blobs=… or inline them "
                "with to_dict(inline=True)"
            )
        image = cls(data, value["media_type"])
        if image.sha256 != value["sha256"]:
            raise ArmapError(f"image {value['sha256'][:12]}… is damaged: its bytes hash elsewhere")
        return image


@dataclass(frozen=True)
class Task:
    """One problem of an environment.

    Attributes:
        id: Unique within the environment.
        environment: Registered name of the environment.
        split: The split that it was listed under (``train``, ``dev``, ``test``, …).
        instruction: What the agent is asked; None where it is known only after `reset`.
        max_steps: Step limit; None leaves it to the planner's.
        data: Public JSON that the environment needs to set the task up and that the agent may see.
            Goals, scores and gold answers never stand here: an environment looks them up by id.
    """

    id: str
    environment: str
    split: str = "train"
    instruction: str | None = None
    max_steps: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the task as pure JSON."""
        return {
            "id": self.id,
            "environment": self.environment,
            "split": self.split,
            "instruction": self.instruction,
            "max_steps": self.max_steps,
            "data": dict(self.data),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Task:
        """Rebuild a task; `id` and `environment` are required.

        Raises:
            ArmapError: A required key is missing.
        """
        missing = [key for key in ("id", "environment") if key not in value]
        if missing:
            raise ArmapError(
                f"a task needs {' and '.join(missing)}: pass task.to_dict() or "
                '{"environment": "game24", "id": "901"}'
            )
        return cls(
            id=str(value["id"]),
            environment=_text(value["environment"]),
            split=value.get("split", "train"),
            instruction=value.get("instruction"),
            max_steps=value.get("max_steps"),
            data=dict(value.get("data") or {}),
        )


@dataclass(frozen=True)
class Observation:
    """What the agent sees at one moment.

    Attributes:
        text: The observation in words.
        actions: The valid actions, in the environment's order; None where it does not list them.
        templates: Open-ended actions beside the listed ones, such as ``search[{query}]``.
        schema: JSON Schema of an action, where actions are JSON documents.
        image: What vision models see.
        attachments: Named further pictures, for a person looking at the trace alone.
        facts: Public machine-readable values (a price, …) that penalties and viewers may read.
    """

    text: str
    actions: tuple[str, ...] | None = None
    templates: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    image: Image | None = None
    attachments: Mapping[str, Image] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of text and actions, never of image bytes: rendering may differ, meaning not."""
        return content_hash([self.text, self.actions])[:16]

    def to_dict(self, *, inline: bool = False) -> dict[str, Any]:
        """Return the observation as pure JSON, leaving out what is empty.

        Args:
            inline: Carry the images' bytes as base64 instead of references alone.
        """
        value: dict[str, Any] = {"text": self.text}
        if self.actions is not None:
            value["actions"] = list(self.actions)
        if self.templates:
            value["templates"] = list(self.templates)
        if self.schema is not None:
            value["schema"] = dict(self.schema)
        if self.image is not None:
            value["image"] = self.image.to_dict(inline=inline)
        if self.attachments:
            value["attachments"] = {
                name: image.to_dict(inline=inline) for name, image in self.attachments.items()
            }
        if self.facts:
            value["facts"] = dict(self.facts)
        return value

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], blobs: BlobReader | None = None) -> Observation:
        """Rebuild an observation; `blobs` reads image bytes that do not travel inline."""
        actions = value.get("actions")
        image = value.get("image")
        return cls(
            text=_text(value["text"]),
            actions=None if actions is None else tuple(actions),
            templates=tuple(value.get("templates", ())),
            schema=value.get("schema"),
            image=None if image is None else Image.from_dict(image, blobs),
            attachments={
                name: Image.from_dict(item, blobs)
                for name, item in value.get("attachments", {}).items()
            },
            facts=dict(value.get("facts", {})),
        )


@dataclass(frozen=True)
class Step:
    """One action and what the environment showed after it.

    Attributes:
        action: The action as the environment took it.
        observation: What came after.
        done: Whether the environment ended the episode with this step.
        thought: What the policy wrote before the action, for prompts and people alone: neither
            environments nor reward models read it, and it is part of no id and no fingerprint.
    """

    action: str
    observation: Observation
    done: bool = False
    thought: str | None = None

    def to_dict(self, *, inline: bool = False) -> dict[str, Any]:
        """Return the step as pure JSON; the thought only where there is one."""
        value = {
            "action": self.action,
            "observation": self.observation.to_dict(inline=inline),
            "done": self.done,
        }
        return value if self.thought is None else value | {"thought": self.thought}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], blobs: BlobReader | None = None) -> Step:
        """Rebuild a step; `blobs` reads image bytes that do not travel inline."""
        return cls(
            _text(value["action"]),
            Observation.from_dict(value["observation"], blobs),
            value.get("done", False),
            value.get("thought"),
        )


class Status(StrEnum):
    """Why a trajectory stops where it stops.

    Success and failure endings share `ENDED`: what the environment thinks of the episode is the
    true score's business, which planners and reward models never see.
    """

    OPEN = "open"
    """It goes on: a prefix, or a rollout under way."""
    ENDED = "ended"
    """The environment ended the episode."""
    LIMIT = "limit"
    """The step limit came first."""
    FAILED = "failed"
    """The policy, the environment or a deadline failed; `Trajectory.error` says how."""


@dataclass(frozen=True)
class Trajectory:
    """An episode, or the beginning of one.

    Attributes:
        task: The task it was acted out on.
        instruction: What the trajectory is judged against: the task's, known after reset, or the
            one that a refiner wrote for it.
        observation: The opening observation.
        steps: Actions with what followed each.
        status: Why it stops here.
        error: One line on the failure, for status `FAILED` alone.
    """

    task: Task
    instruction: str
    observation: Observation
    steps: tuple[Step, ...] = ()
    status: Status = Status.OPEN
    error: str | None = None

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def actions(self) -> list[str]:
        """The actions in order."""
        return [step.action for step in self.steps]

    @property
    def last(self) -> Observation:
        """The newest observation."""
        return self.steps[-1].observation if self.steps else self.observation

    @property
    def done(self) -> bool:
        """Whether the environment ended the episode."""
        return bool(self.steps) and self.steps[-1].done

    @cached_property
    def id(self) -> str:
        """Content hash over task, instruction, actions and observations; not over the status."""
        return content_hash(
            [
                self.task.environment,
                self.task.id,
                self.instruction,
                self.observation.fingerprint,
                [[s.action, s.observation.fingerprint, s.done] for s in self.steps],
            ]
        )[:24]

    def prefix(self, k: int) -> Trajectory:
        """Return the first `k` steps as an open trajectory.

        Args:
            k: Number of steps to keep, 0 ≤ k ≤ len(self); k = len(self) keeps the status.

        Raises:
            ValueError: `k` is out of range.
        """
        if not 0 <= k <= len(self.steps):
            raise ValueError(f"prefix({k}) of a trajectory with {len(self.steps)} steps")
        if k == len(self.steps):
            return self
        return replace(self, steps=self.steps[:k], status=Status.OPEN, error=None)

    def extended(self, step: Step) -> Trajectory:
        """Return this trajectory with one more step; it ends where the step is done."""
        status = Status.ENDED if step.done else Status.OPEN
        return replace(self, steps=(*self.steps, step), status=status)

    def to_dict(self, *, inline: bool = False) -> dict[str, Any]:
        """Return the trajectory as pure JSON.

        Args:
            inline: Carry the images' bytes as base64, for a scorer on another machine.
        """
        return {
            "id": self.id,
            "task": self.task.to_dict(),
            "instruction": self.instruction,
            "observation": self.observation.to_dict(inline=inline),
            "steps": [step.to_dict(inline=inline) for step in self.steps],
            "status": self.status.value,
            "error": self.error,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], blobs: BlobReader | None = None) -> Trajectory:
        """Rebuild a trajectory; `blobs` reads image bytes that do not travel inline.

        Raises:
            KeyError, TypeError, ValueError, ArmapError: It is no trajectory.
        """
        return cls(
            task=Task.from_dict(value["task"]),
            instruction=_text(value["instruction"]),
            observation=Observation.from_dict(value["observation"], blobs),
            steps=tuple(Step.from_dict(step, blobs) for step in value["steps"]),
            status=Status(value["status"]),
            error=value.get("error"),
        )
