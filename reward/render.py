"""Trajectories as the scorer's input: one renderer for training and for serving.

What it writes is the instruction and what was seen and done, step by step. It never writes whether
the episode ended, why, how many steps are allowed or what the environment thinks of it: success and
failure endings must look alike, or the model learns the ending instead of the deed. How an
environment's trajectories are written is data (`Rendering`), stored in the reward model's folder.

Two ways to fit a budget, both of which say what they leave out. Backbones that encode one step at a
time shorten each step by itself (`cut`), so that a step reads the same however long the episode
gets. Backbones that read a whole trajectory take it from `fitted`: the newest step whole, then as
many older actions as there is room for, then their observations, newest first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from armap_agents.errors import ConfigurationError
from armap_agents.trajectory import Image, Observation, Trajectory


@dataclass(frozen=True)
class Rendering:
    """How the trajectories of one environment are written.

    Attributes:
        history: ``all`` writes every step; ``newest`` writes the newest observation alone, for
            environments whose observation shows the whole state, where it costs a quarter of the
            tokens and lets equal states share one cached score.
        shorten: Regular expressions with replacements, applied in order to instruction and
            observations; they take out the words that never change.
        knowledge: Regular expressions with texts: what somebody knows about the tasks whose
            instruction a pattern is found in. The texts are appended to that instruction.
        images: Whether backbones that see are shown the screenshots.
    """

    history: Literal["all", "newest"] = "all"
    shorten: tuple[tuple[str, str], ...] = ()
    knowledge: tuple[tuple[str, str], ...] = ()
    images: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as pure JSON."""
        rules = {name: [list(rule) for rule in getattr(self, name)] for name in _RULES}
        return asdict(self) | rules

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Rendering:
        """Rebuild settings.

        Raises:
            ConfigurationError: They are not what `to_dict` returned.
        """
        try:
            history, images = value["history"], value["images"]
            rules = {
                name: tuple((str(pattern), str(text)) for pattern, text in value[name])
                for name in _RULES
            }
            for pattern, _ in (rule for named in rules.values() for rule in named):
                re.compile(pattern)
            for pattern, new in rules["shorten"]:
                re.sub(pattern, new, "")
            if history not in ("all", "newest"):
                raise ValueError(f"history {history!r}")
            if not isinstance(images, bool):
                raise ValueError(f"images {images!r}")
        except (LookupError, TypeError, ValueError, re.error) as error:
            raise ConfigurationError(
                f"the reward model's rendering settings are damaged ({error}): train it again"
            ) from None
        return cls(history, rules["shorten"], rules["knowledge"], images)


_RULES = ("shorten", "knowledge")


@dataclass(frozen=True)
class RenderedStep:
    """What stands in the input for the opening or for one step.

    Attributes:
        action: What was done; empty for the opening.
        observation: What was seen after it; may be empty.
        image: The screenshot, where the rendering shows them and there is one.
    """

    action: str
    observation: str
    image: Image | None = None

    @property
    def text(self) -> str:
        """Action and observation in one line."""
        return " : ".join(part for part in (self.action, self.observation) if part)


@dataclass(frozen=True)
class Rendered:
    """A trajectory as a backbone reads it.

    Attributes:
        instruction: What was asked, with what is known about it.
        steps: The opening, unless there is nothing to see in it, then each step in order; at least
            one, whatever the trajectory.
    """

    instruction: str
    steps: tuple[RenderedStep, ...]

    @property
    def text(self) -> str:
        """Everything that is words, in order."""
        return " ; ".join([self.instruction, *(step.text for step in self.steps)])


def render(trajectory: Trajectory, rendering: Rendering) -> Rendered:
    """Return a trajectory, finished or not, as the scorer's input."""
    instruction = _short(trajectory.instruction, rendering)
    known = [
        _whole_characters(text)
        for pattern, text in rendering.knowledge
        if re.search(pattern, trajectory.instruction)
    ]
    asked = " ".join([instruction, *known])
    if rendering.history == "newest":
        return Rendered(asked, (_step("", trajectory.last, rendering),))
    opening = _step("", trajectory.observation, rendering)
    steps = [_step(step.action, step.observation, rendering) for step in trajectory.steps]
    if not steps or opening.text or opening.image:
        steps.insert(0, opening)
    return Rendered(asked, tuple(steps))


def _step(action: str, observation: Observation, rendering: Rendering) -> RenderedStep:
    image = observation.image if rendering.images else None
    return RenderedStep(_whole_characters(action), _short(observation.text, rendering), image)


def _short(text: str, rendering: Rendering) -> str:
    for pattern, new in rendering.shorten:
        text = re.sub(pattern, new, text)
    return _whole_characters(text).strip()


def _whole_characters(text: str) -> str:
    """Return a text without halves of characters, which pages and models write."""
    try:
        text.encode()
    except UnicodeEncodeError:  # two halves that belong together become one character again
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


LEFT_OUT = "…"
"""Stands where something was left out."""


def cut(text: str, budget: int, length: Callable[[str], int]) -> str:
    """Return a text within a budget: both ends stay, what is left out in the middle is marked.

    Args:
        text: Any text.
        budget: Greatest `length` of the result; 0 gives an empty text.
        length: Of a text, such as its number of tokens; longer for longer texts.
    """
    if length(text) <= budget:
        return text
    low, high = 0, len(text)
    while low < high:  # the most characters that fit
        kept = (low + high + 1) // 2
        if length(_ends(text, kept)) <= budget:
            low = kept
        else:
            high = kept - 1
    return next((short for short in (_ends(text, low), LEFT_OUT) if length(short) <= budget), "")


def _ends(text: str, kept: int) -> str:
    head = (kept + 1) // 2
    return f"{text[:head].rstrip()} {LEFT_OUT} {text[len(text) - (kept - head) :].lstrip()}"


def fitted(
    rendered: Rendered, budget: int, length: Callable[[str], int], image_length: int = 0
) -> Rendered:
    """Return what a backbone reads that takes a whole trajectory at once, within a budget.

    What fits stays as it is. Else the instruction has at most half of the budget. The newest step
    stays whole or, should it be too long alone, loses its middle and leaves a quarter of the room
    to what came before it. Of the older steps the actions come first, newest first, and those that
    find no room become a count; then their observations and images come back, newest first, as long
    as they fit.

    Args:
        rendered: The whole of it.
        budget: Greatest length of instruction and steps together; exceeded only by a `length` that
            leaves no room for empty texts.
        length: Of a text, such as its number of tokens, separators included.
        image_length: What an image counts.
    """

    def cost(step: RenderedStep) -> int:
        return length(step.text) + (image_length if step.image else 0)

    if length(rendered.instruction) + sum(map(cost, rendered.steps)) <= budget:
        return rendered
    instruction = cut(rendered.instruction, budget // 2, length)
    left = budget - length(instruction)
    *older, newest = rendered.steps
    reserved = sum(map(cost, _earlier(len(older), left // 2, cost)))
    room = left - reserved
    if older and cost(newest) > room:
        room -= room // 4
    kept = [_newest(newest, room, length, image_length)]
    left -= cost(kept[0])
    for step in reversed(older):
        bare, uncounted = _bare(step), len(older) - len(kept)
        if cost(bare) + (cost(_count(uncounted)) if uncounted else 0) > left:
            break
        kept.append(bare)
        left -= cost(bare)
    earlier = _earlier(len(rendered.steps) - len(kept), left, cost)
    left -= sum(map(cost, earlier))
    for i, step in zip(range(1, len(kept)), reversed(older), strict=False):
        left -= cost(step) - cost(kept[i])
        if left < 0:
            break
        kept[i] = step
    return replace(rendered, instruction=instruction, steps=(*earlier, *reversed(kept)))


def _newest(
    step: RenderedStep, room: int, length: Callable[[str], int], image_length: int
) -> RenderedStep:
    needed = image_length if step.image else 0
    if length(step.text) + needed <= room:
        return step
    if needed > room // 2:
        return RenderedStep("", cut(f"{step.text} {LEFT_OUT}", room, length))
    return RenderedStep("", cut(step.text, room - needed, length), step.image)


def _bare(step: RenderedStep) -> RenderedStep:
    """Return a step without what was seen."""
    seen = step.observation or step.image
    return RenderedStep(step.action, LEFT_OUT if seen else "")


def _earlier(
    count: int, room: int, cost: Callable[[RenderedStep], int]
) -> tuple[RenderedStep, ...]:
    """Return what says that the oldest steps are missing, in the most words that fit, if any."""
    notes = (_count(count), RenderedStep("", LEFT_OUT)) if count else ()
    return tuple(note for note in notes if cost(note) <= room)[:1]


def _count(count: int) -> RenderedStep:
    return RenderedStep("", f"({count} earlier steps)")
