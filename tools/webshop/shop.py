"""The shop as one object: a catalogue, its goals and its index, and what they make of a state.

A `Shop` holds no session: what is shown, where an action leads and what a purchase earns are
functions of a `State`. One process opens each shop once; all environments and the site share it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from armap_agents.errors import ConfigurationError
from armap_agents.serving.cache import cache_folder, complete_folder, lock
from armap_agents.tools.webshop import embedded
from armap_agents.tools.webshop.catalogue import Catalogue, open_catalogue
from armap_agents.tools.webshop.goals import Goal, Goals, Kind, make_goals
from armap_agents.tools.webshop.index import Index, build_index, indexed_text, open_index
from armap_agents.tools.webshop.nouns import Nouns, find_nouns
from armap_agents.tools.webshop.pages import PAGE_SIZE, Page, follow, nodes, targets
from armap_agents.tools.webshop.product import Product
from armap_agents.tools.webshop.reward import Reward, reward
from armap_agents.tools.webshop.state import State

MAX_HITS = 50
"""Products that a search finds at most."""

_SESSION = re.compile(r"(?:fixed_)?([0-9]{1,9})")


class Shop:
    """A catalogue to search and buy from, with the goals that purchases are judged by.

    Args:
        catalogue: The products.
        goals: Their goals; a session's number is its goal's index.
        prices: What each product costs when its purchase is judged, US dollars, shape
            ``(len(catalogue),)``.
        index: Finds products by words.
        nouns: Finds the nouns of titles.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        goals: Goals,
        prices: npt.NDArray[np.float64],
        index: Index,
        nouns: Nouns,
    ) -> None:
        self.catalogue = catalogue
        self.goals = goals
        self.prices = prices
        self.index = index
        self.nouns = nouns
        self._found = lru_cache(maxsize=1024)(self._find)

    @cached_property
    def median_price(self) -> float:
        """The median price of the catalogue, US dollars."""
        return float(np.median(self.prices))

    def goal(self, session: str) -> Goal:
        """Return the goal of a session, which is called by its number, as ``17`` or ``fixed_17``.

        Raises:
            ConfigurationError: There is no such goal.
        """
        number = _SESSION.fullmatch(session)
        if number is None or int(number[1]) >= len(self.goals):
            raise ConfigurationError(
                f"the shop has no goal {session[:40]!r}: use one from 0 to {len(self.goals) - 1}"
            )
        return self.goals[int(number[1])]

    def product(self, asin: str) -> Product:
        """Return a product.

        Raises:
            ConfigurationError: There is none of this ASIN.
        """
        return self.catalogue[self._position(asin)]

    def page(self, state: State, *, scored: bool = False) -> Page:
        """Return what a state shows.

        Args:
            state: Any state of any session.
            scored: Whether the page after a purchase tells the score.

        Raises:
            ConfigurationError: The shop has no such goal or product.
        """
        instruction = self.goal(state.session).instruction
        if state.kind == "index":
            return Page(state, instruction)
        if state.kind == "results":
            hits = self._hits(state)
            shown = hits[(state.page - 1) * PAGE_SIZE : state.page * PAGE_SIZE]
            return Page(state, instruction, tuple(self.catalogue[k] for k in shown), len(hits))
        score = self.reward(state).value if scored and state.kind == "done" else None
        return Page(state, instruction, (self.product(state.asin),), score=score)

    def follow(self, state: State, action: str) -> State:
        """Return where an action leads; `state` itself where it does nothing."""
        return follow(state, action, targets(nodes(self.page(state))))

    def reward(self, state: State) -> Reward:
        """Return the official reward of a purchase.

        Args:
            state: The state after it, or any with a product: what buying it would earn.
        """
        position = self._position(state.asin)
        return reward(
            self.goal(state.session),
            self.catalogue[position],
            float(self.prices[position]),
            state.options,
            self.nouns,
        )

    def _position(self, asin: str) -> int:
        position = self.catalogue.position(asin)
        if position is None:
            raise ConfigurationError(f"the shop has no product {asin[:40]!r}: search for one")
        return position

    def _hits(self, state: State) -> Sequence[int]:
        """Return the positions of all hits of a search, best first."""
        drawn = state.session if state.keywords[:1] == ("<r>",) else ""
        return self._found(state.keywords, drawn)

    def _find(self, keywords: tuple[str, ...], session: str) -> Sequence[int]:
        # The four marks are the official shop's. Its draw for <r> is a new one on every look at any
        # page; ours is one for session and words, so that an address shows the same again. The
        # others read the whole catalogue.
        rest = " ".join(keywords[1:]).strip()
        match keywords[0] if keywords else "":
            case "<r>":
                draw = random.Random(f"{session} {rest}")
                return draw.sample(range(len(self.catalogue)), min(MAX_HITS, len(self.catalogue)))
            case "<c>":
                wanted = keywords[1].strip() if keywords[1:] else ""
                return [k for k, p in enumerate(self.catalogue) if p.category == wanted]
            case "<q>":
                return [k for k, p in enumerate(self.catalogue) if p.query == rest]
            case "<a>":
                return [k for k, p in enumerate(self.catalogue) if rest in p.attributes]
        return self.index.search(" ".join(keywords), MAX_HITS)


_opening = Lock()


def open_shop(
    data: str | None = None,
    goals: Kind = "synthetic",
    seed: int = 0,
    nouns: str | None = None,
) -> Shop:
    """Open a shop; a process opens each once, and the first use of its files takes a while.

    Args:
        data: The folder of WebShop's official files, or one items file in it; None opens the
            embedded catalogue.
        goals: Which goals sessions have.
        seed: Seeds the draw of prices and price limits.
        nouns: The file of a table of title nouns; None takes what `find_nouns` finds.

    Raises:
        ConfigurationError: A file is missing, damaged or unreadable.
    """
    with _opening:  # many environments may ask at once
        return _open_shop(data, goals, seed, nouns)


@lru_cache(maxsize=4)
def _open_shop(data: str | None, goals: Kind, seed: int, nouns: str | None) -> Shop:
    catalogue = open_catalogue(_embedded_files() if data is None else Path(data))
    prices = catalogue.drawn_prices(seed)
    return Shop(
        catalogue,
        make_goals(catalogue, goals, prices, seed),
        prices,
        _open_index(catalogue),
        find_nouns(nouns),
    )


def _embedded_files() -> Path:
    """Return the folder of the embedded catalogue's files, written where they are not yet."""
    sources = files(embedded)
    digest = sha256()
    for name in sorted(source.name for source in sources.iterdir() if source.is_file()):
        digest.update(sources.joinpath(name).read_bytes())
    folder = cache_folder() / "webshop" / f"embedded-{digest.hexdigest()[:16]}"
    with _writable(folder), lock(folder.name):
        if not folder.is_dir():
            with complete_folder(folder) as partial:
                embedded.write_embedded(partial)
    return folder


def _open_index(catalogue: Catalogue) -> Index:
    """Open a catalogue's index, which lies in its folder; the first use builds it."""
    folder = catalogue.folder / "index"
    with _writable(folder), lock(f"webshop-index-{catalogue.folder.name}"):
        if not folder.is_dir():
            texts = _with_progress(map(indexed_text, catalogue), len(catalogue))
            build_index(folder, texts, catalogue.asins(np.arange(len(catalogue))))
    return open_index(folder)


def _with_progress(texts: Iterable[str], total: int) -> Iterable[str]:
    console = Console(stderr=True)
    return track(
        texts,
        "indexing the WebShop catalogue",
        total=total,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be written ({error.strerror}): make room there or set ARMAP_CACHE to "
            "another folder"
        ) from None
