"""What is asked for one action, and one answer to it.

A long list is asked about in stages (`narrowing`): each has the same prompt under another
constraint or, in free text, under what was offered and chosen so far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from armap_agents.environment import Guide
from armap_agents.policy import prompts
from armap_agents.policy.actions import complaint
from armap_agents.policy.narrowing import is_long, offered
from armap_agents.policy.prompts import Message
from armap_agents.policy.thoughts import turn
from armap_agents.trajectory import Observation, Trajectory


@dataclass(frozen=True)
class Draw:
    """One answer, read.

    Attributes:
        text: What the model wrote, a chosen abbreviation written out.
        action: The action, or a beginning of several; None where none can be read.
        thought: What it wrote before.
        narrows: Whether it is such a beginning, and the rest is to be asked for.
    """

    text: str
    action: str | None
    thought: str | None = None
    narrows: bool = False

    @property
    def beginning(self) -> str:
        """The beginning of one that narrows."""
        assert self.action is not None
        return self.action


@dataclass(frozen=True)
class Question:
    """What is asked: the action after a trajectory, or what is left to choose of it.

    Attributes:
        trajectory: The episode so far.
        guide: The environment's rules and worked examples.
        memory: Notes from earlier attempts at the task, oldest first.
        chosen: What was drawn of a long list so far, the verb first.
        said: Unreadable answers and objections so far, for free text alone.
    """

    trajectory: Trajectory
    guide: Guide | None = None
    memory: tuple[str, ...] = ()
    chosen: tuple[Draw, ...] = ()
    said: tuple[Message, ...] = ()

    @property
    def thought(self) -> str | None:
        """What was written before the first choice that had a thought."""
        return next((draw.thought for draw in self.chosen if draw.thought), None)

    def prompt(self, *, free: bool, thoughts: bool) -> list[Message]:
        """Return the prompt; for `free` text it names what is valid."""
        messages = prompts.chat(
            self.trajectory, self.guide, list_actions=free, memory=self.memory, thoughts=thoughts
        )
        if free and is_long(self.trajectory.last):
            first, *further = self._stages()
            messages[-1]["content"] += f"\n{prompts.offer(first)}"
            for draw, stage in zip(self.chosen, further, strict=True):
                said = turn(draw.thought, draw.beginning) if thoughts else draw.beginning
                messages.append({"role": "assistant", "content": said})
                messages.append({"role": "user", "content": prompts.offer(stage)})
        return messages

    def stage(self) -> Mapping[str, tuple[str, ...]]:
        """Return what a long list offers next."""
        return self._stages()[-1]

    def _stages(self) -> list[Mapping[str, tuple[str, ...]]]:
        stages = [offered(self.trajectory.last.actions or ())]
        for draw in self.chosen:
            stages.append(offered(stages[-1][draw.beginning]))
        return stages

    def narrowed(self, draw: Draw) -> Question:
        """Return the question for the rest of an action of which the beginning was drawn."""
        return replace(self, chosen=(*self.chosen, draw), said=())

    def objected(self, draw: Draw, valid: Observation) -> Question:
        """Return the question after an unreadable answer."""
        objection = prompts.objection(draw.text, complaint(draw.text, valid))
        return replace(self, said=(*self.said, *objection))
