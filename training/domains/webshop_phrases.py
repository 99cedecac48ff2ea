"""Finds the words in the texts of a shop's pages that somebody might ask for.

A title mixes what a product is with who makes it. Words count as ordinary if titles of different
makers share them, or if they were shown in small letters; the rest are taken for names. An ordinary
word at the end of a run names the kind of product ("… tea bags"), what stands around it are
features, and what follows "with", "for" or "of" belongs behind that word.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from armap_agents.tools.webshop.analysis import STOP_WORDS, terms
from armap_agents.training.domains.webshop_asks import stems

MAKER_WORDS = 2
"""Words at the beginning of a title that may be the names of maker and series."""

KIND_WORDS = 3
"""Words that name a kind of product, at most."""

_PREPOSITIONS = ("with", "for", "of")
_FILLING = frozenset({
    "about", "all", "also", "any", "best", "can", "color", "colors", "count", "each", "every",
    "from", "has", "have", "her", "here", "his", "how", "inch", "inches", "its", "made", "more",
    "most", "much", "new", "ounce", "ounces", "our", "out", "pack", "pcs", "per", "piece", "pieces",
    "set", "she", "than", "those", "very", "what", "when", "where", "which", "who", "without",
    "you", "your",
})  # fmt: skip
_ENDS_OF_FEATURES = frozenset({
    "certified", "fit", "free", "friendly", "proof", "quality", "resistant", "safe", "size",
    "style",
})  # fmt: skip
_NO_KINDS = _ENDS_OF_FEATURES | {
    "adults", "black", "blue", "boys", "brown", "children", "easy", "girls", "gmo", "gold", "gray",
    "green", "grey", "high", "home", "kids", "men", "men's", "modern", "natural", "organic", "pink",
    "purple", "red", "room", "silver", "soft", "travel", "unisex", "vegan", "waterproof", "white",
    "women", "women's", "yellow",
}  # fmt: skip
_MODIFIER = re.compile(r"\w{4,}(?:able|ible|less|ed)|\w{3,}ing")
_BREAK = re.compile(r"\s-\s|[^\w\s'’-]|_")
_MAKER_LAST = re.compile(r"(?<=\w) - [^-,]{1,40}$")
_MARKUP = re.compile(r"<[^<>]*>")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


@dataclass(frozen=True)
class Phrase:
    """Some ordinary words that stand together on a page.

    Attributes:
        words: In lower case.
        after: The preposition before them; empty for none.
    """

    words: tuple[str, ...]
    after: str = ""

    @property
    def text(self) -> str:
        """The words."""
        return " ".join(self.words)


class Ordinary:
    """Tells ordinary words from names, by what one episode was shown.

    Args:
        titles: Of the products that were listed.
        texts: What else was shown: sub pages, the task.
    """

    def __init__(self, titles: Iterable[str], texts: Iterable[str]) -> None:
        self._makers: defaultdict[str, set[str]] = defaultdict(set)
        self._small: set[str] = set()
        for title in titles:
            words = _WORD.findall(_MAKER_LAST.sub("", title))
            rest = " ".join(words[MAKER_WORDS:])
            for stem in stems(rest):
                self._makers[stem].add(words[0].lower())
            self._small.update(_small_words(rest))
        for text in texts:
            self._small.update(_small_words(text))

    def makers(self, word: str) -> int:
        """Return how many makers' titles have the word, as far as first words tell makers."""
        return max((len(self._makers.get(stem, ())) for stem in stems(word)), default=0)

    def __contains__(self, word: str) -> bool:
        """Whether a lower-case word is an ordinary one that says something."""
        if len(word) < 3 or word in STOP_WORDS or word in _FILLING or not _WORD.fullmatch(word):
            return False
        return self.makers(word) > 1 or bool(stems(word) & self._small)


def _small_words(text: str) -> Iterator[str]:
    return (stem for word in _WORD.findall(text) if word.islower() for stem in terms(word))


def runs(title: str, ordinary: Ordinary) -> list[list[Phrase]]:
    """Return the runs of ordinary words in each part of a title that signs set off."""
    return [list(_runs(part, ordinary)) for part in _parts(_MAKER_LAST.sub("", title))]


def _parts(text: str) -> list[list[str]]:
    return [re.findall(r"[^\s-]+", part) for part in _BREAK.split(text.lower())]


def _runs(words: Sequence[str], ordinary: Ordinary) -> Iterator[Phrase]:
    run: list[str] = []
    after = ""
    for word in [*words, ""]:
        if word in ordinary:
            run.append(word)
            continue
        if run:
            yield Phrase(tuple(run), after)
            run = []
        if word in _PREPOSITIONS:
            after = word


def kind_of(
    title: str, parts: Sequence[Sequence[Phrase]], ordinary: Ordinary, rng: Random
) -> Phrase | None:
    """Return what a product is called: the last word that most makers use, and what leads to it.

    Words before it belong to it the more, the more makers use them too.

    Args:
        title: Its title.
        parts: The `runs` of it; the first part counts double.
        ordinary: Which words are.
        rng: Draws how many words.
    """
    heads = [
        (ordinary.makers(run.words[-1]) * (1 if k else 2), run)
        for k, part in enumerate(parts)
        for run in part
        if not run.after and _may_name(run.words[-1])
    ]
    if not heads:
        return _plain_kind(title)
    _, head = max(heads, key=lambda counted: counted[0])
    most = ordinary.makers(head.words[-1])
    words = [head.words[-1]]
    for word in reversed(head.words[:-1]):
        common = rng.random() * most < ordinary.makers(word)
        if len(words) == KIND_WORDS or word in _ENDS_OF_FEATURES or not common:
            break
        words.insert(0, word)
    return Phrase(tuple(words))


def _plain_kind(title: str) -> Phrase | None:
    """Return the last word of a title's first part, where no title beside it shares any."""
    first = _parts(_MAKER_LAST.sub("", title))[0]
    end = next((k for k, word in enumerate(first) if word in _PREPOSITIONS), len(first))
    named = [
        word
        for word in first[MAKER_WORDS:end]
        if len(word) > 2 and _WORD.fullmatch(word) and stems(word) and _may_name(word)
    ]
    return Phrase((named[-1],)) if named else None


def _may_name(word: str) -> bool:
    return word not in _NO_KINDS and not _MODIFIER.fullmatch(word)


def features_in(parts: Iterable[Iterable[Phrase]], ordinary: Ordinary) -> Iterator[Phrase]:
    """Yield what a title says of a product, two words at a time; one that makers share alone.

    Words such as "free" say nothing without the one before them and stay with it.
    """
    for run in (run for part in parts for run in part):
        end = len(run.words)
        while end:
            words = run.words[max(0, end - 2) : end]
            if len(words) == 2 and words[0] in _ENDS_OF_FEATURES:
                end -= 1
                continue
            alone = len(words) == 1 and ordinary.makers(words[0]) < 2
            if words[0] not in _ENDS_OF_FEATURES and not alone:
                yield Phrase(words, run.after if end == len(run.words) else "")
            end -= len(words)


def features_said(text: str, ordinary: Ordinary) -> Iterator[Phrase]:
    """Yield what a description or a list of features says in so many words.

    Only two or three words that signs set off, or that end such a part after a preposition: out of
    the midst of a sentence they say nothing.
    """
    for words in _parts(_MARKUP.sub(" . ", text)):
        places = [k for k, word in enumerate(words) if word in _PREPOSITIONS]
        start = places[-1] + 1 if places else 0
        said = tuple(word for word in words[start:] if word not in ("a", "an", "the"))
        if 2 <= len(said) <= KIND_WORDS and all(word in ordinary for word in said):
            yield Phrase(said, words[start - 1] if places else "")
