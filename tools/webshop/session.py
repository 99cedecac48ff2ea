"""A session as its agent lives it: where it stands, what is shown there, and how that is told.

The environment, its guide and every way of showing pages share these few lines, so that a worked
example looks exactly like the page that a policy is asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from armap_agents.tools.webshop.pages import (
    SEARCH,
    Node,
    Page,
    follow,
    nodes,
    plain_text,
    rich_text,
    targets,
)
from armap_agents.tools.webshop.state import State
from armap_agents.trajectory import Image, Observation

ObservationMode = Literal["text", "text_rich"]

SEARCH_TEMPLATE = "search[{query}]"


@dataclass(frozen=True)
class Place:
    """A state, and the products looked at since the session was last on its start page.

    The official text environment forgets them there too. They are all of a session that its
    address does not hold; ``text_rich`` marks them.
    """

    state: State
    visited: frozenset[str] = frozenset()

    def after(self, action: str, clickable: Mapping[str, Node]) -> Place:
        """Return where an action leads; this object itself where it does nothing."""
        state = follow(self.state, action, clickable)
        return self if state is self.state else self.at(state)

    def at(self, state: State) -> Place:
        """Return this session at another state."""
        if state.kind == "index":
            return Place(state)
        return Place(state, self.visited | {state.asin} if state.asin else self.visited)


@dataclass(frozen=True)
class View:
    """What is shown at a state.

    Attributes:
        state: Where the session is.
        nodes: The page's text nodes.
        searchable: Whether it has a search field.
        image: The screenshot that vision models see.
        attachments: Further pictures, for people.
    """

    state: State
    nodes: Sequence[Node]
    searchable: bool = False
    image: Image | None = None
    attachments: Mapping[str, Image] | None = None

    @cached_property
    def clickable(self) -> Mapping[str, Node]:
        """What can be clicked; see `targets`."""
        return targets(self.nodes)

    @classmethod
    def of(cls, page: Page) -> View:
        """Return what the engine shows of a page."""
        return cls(page.state, nodes(page), searchable=page.state.kind == "index")


def observation(
    view: View, visited: frozenset[str], mode: ObservationMode, facts: Mapping[str, Any]
) -> Observation:
    """Return what the agent sees: the official text in a mode, with what it can do.

    Args:
        view: What is shown.
        visited: See `Place`.
        mode: Which of the official texts.
        facts: See `Observation`.
    """
    if mode == "text":
        text = plain_text(view.nodes)
    else:
        text = rich_text(view.nodes, view.state.path, visited)
    return Observation(
        text,
        actions=_clicks(view.clickable),
        templates=(SEARCH_TEMPLATE,) if view.searchable else (),
        image=view.image,
        attachments=view.attachments or {},
        facts=facts,
    )


def _clicks(clickable: Iterable[str]) -> tuple[str, ...]:
    # Clicking the search button does nothing in the official environment.
    return tuple(f"click[{text}]" for text in clickable if text != SEARCH.lower())
