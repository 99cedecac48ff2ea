"""The shop's search: BM25 over the products' texts, with the scores and ties of Lucene.

The index is a folder of arrays that are mapped into memory, so opening takes milliseconds and all
processes share one copy. A posting holds its document and a code for (term frequency, length of the
document); codes ascend by what they add to a score, so that a term's largest code bounds what the
term can add to any. Scores follow Lucene's `BM25Similarity` step by step in single precision.
"""

from __future__ import annotations

import json
import mmap
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from armap_agents.errors import ConfigurationError
from armap_agents.serving.cache import complete_folder
from armap_agents.tools.webshop.analysis import terms

if TYPE_CHECKING:
    from armap_agents.tools.webshop.product import Product

K1 = np.float32(0.9)
"""How soon repeats of a term stop counting."""
B = np.float32(0.4)
"""How much the length of a document counts."""

_FORMAT = 1
"""Raised whenever the analysis or the files change, so that older folders are not read."""
_TERMS_PER_RUN = 1 << 22
_EXACT_LENGTHS = 24
_LOOKUP_COST = 8
"""How many postings are added in the time that finding one document in them takes, about."""
_LEAST = float(np.finfo(np.float64).tiny)


def indexed_text(product: Product) -> str:
    """Return the text that a product is found by: title, description, first feature and options."""
    options = ", and ".join(f"{name}: {', '.join(of)}" for name, of in product.options.items())
    first_bullet = product.bullets[0] if product.bullets else ""
    return f"{product.title} {product.description} {first_bullet} {options}".lower()


def length_code(length: int) -> int:
    """Return the byte that stands for a document's length in terms (Lucene's `SmallFloat`).

    Lengths below 24 are exact, of longer ones the four highest binary digits of what exceeds 24.
    """
    excess = length - _EXACT_LENGTHS
    if excess < 0:
        return length
    shift = max(excess.bit_length() - 4, 0)
    return _EXACT_LENGTHS + (excess if excess < 8 else ((shift + 1) << 3 | (excess >> shift & 7)))


def coded_length(code: int) -> int:
    """Return the length that the byte of `length_code` stands for."""
    excess = code - _EXACT_LENGTHS
    if excess < 8:
        return code
    return _EXACT_LENGTHS + ((8 | excess & 7) << ((excess >> 3) - 1))


def build_index(folder: Path, texts: Iterable[str], asins: Sequence[str]) -> None:
    """Write the index of texts; the folder appears when it is complete.

    Needs memory for the vocabulary and for one run of some million terms, and on disk three times
    what the index takes. Call it under a lock of the folder's: two builds at once would collide.

    Args:
        folder: Where to write it; there is none yet.
        texts: One per product, read once, in the order of the positions that a search returns.
        asins: Their ASINs in the same order; they decide among equal scores.

    Raises:
        ValueError: There are more texts than ASINs or fewer.
    """
    with complete_folder(folder) as partial:
        _write(partial, texts, asins)


@dataclass
class _Inverted:
    """What the texts came to: runs of postings on disk, and what was counted on the way."""

    vocabulary: dict[str, int]
    runs: list[Path]
    documents: int
    with_terms: int
    length: int


def _write(folder: Path, texts: Iterable[str], asins: Sequence[str]) -> None:
    inverted = _invert(folder, texts)
    if inverted.documents != len(asins):
        raise ValueError(f"{inverted.documents} texts, but {len(asins)} ASINs")
    _merge(folder, inverted)
    for run in inverted.runs:
        run.unlink()
    ranks = np.empty(len(asins), np.uint32)
    ranks[sorted(range(len(asins)), key=asins.__getitem__)] = np.arange(len(asins), dtype=np.uint32)
    np.save(folder / "ranks.npy", ranks)
    counts = {"documents": inverted.with_terms, "length": inverted.length}
    (folder / "index.json").write_text(json.dumps({"format": _FORMAT} | counts))


def _invert(folder: Path, texts: Iterable[str]) -> _Inverted:
    vocabulary: defaultdict[str, int] = defaultdict(count().__next__)
    numbers, lengths = array("I"), array("I")
    inverted = _Inverted(vocabulary, [], 0, 0, 0)

    def end_run() -> None:
        path = folder / f"run-{len(inverted.runs)}.npy"
        np.save(path, _run(numbers, lengths, inverted.documents))
        inverted.runs.append(path)
        inverted.documents += len(lengths)
        inverted.with_terms += sum(map(bool, lengths))
        inverted.length += len(numbers)
        del numbers[:], lengths[:]

    for text in texts:
        found = terms(text)
        numbers.extend(map(vocabulary.__getitem__, found))
        lengths.append(len(found))
        if len(numbers) >= _TERMS_PER_RUN:
            end_run()
    end_run()
    return inverted


def _run(numbers: array[int], lengths: array[int], first: int) -> NDArray[np.uint32]:
    """Return the postings of some documents, sorted by term and document.

    Returns:
        Shape (3, postings): number of the term, document, and term frequency × 256 + length code.
    """
    documents = np.repeat(np.arange(first, first + len(lengths), dtype=np.uint64), lengths)
    keys = np.frombuffer(numbers, np.uint32).astype(np.uint64) << np.uint64(32) | documents
    keys, frequencies = np.unique(keys, return_counts=True)
    codes = np.array([length_code(length) for length in lengths], np.uint32)
    documents = (keys & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    pairs = frequencies.astype(np.uint32) << np.uint32(8) | codes[documents - np.uint32(first)]
    return np.stack([(keys >> np.uint64(32)).astype(np.uint32), documents, pairs])


def _merge(folder: Path, inverted: _Inverted) -> None:
    """Write postings and vocabulary, terms in the order of their bytes."""
    runs = [np.load(path, mmap_mode="r") for path in inverted.runs]
    words = list(inverted.vocabulary)
    order = np.array(sorted(range(len(words)), key=words.__getitem__), np.int64)
    _save_words(folder, [words[number].encode() for number in order])
    sizes = np.zeros(len(words), np.int64)
    for run in runs:
        sizes += np.bincount(run[0], minlength=len(words))
    ends = np.concatenate([[0], np.cumsum(sizes[order])])
    np.save(folder / "posting_ends.npy", ends)

    pairs = np.unique(np.concatenate([np.unique(run[2]) for run in runs]))
    parts = _saturations(pairs, inverted.length, inverted.with_terms)
    codes = np.empty(len(pairs), np.uint16 if len(pairs) <= 1 << 16 else np.uint32)
    codes[np.argsort(parts, kind="stable")] = np.arange(len(pairs))
    np.save(folder / "saturations.npy", np.sort(parts))

    free = np.empty_like(ends[:-1])
    free[order] = ends[:-1]
    size = int(ends[-1])
    documents_out = _new_array(folder / "documents.npy", np.uint32, size)
    codes_out = _new_array(folder / "codes.npy", codes.dtype, size)
    for run in runs:
        present, first, lengths = np.unique(run[0], return_index=True, return_counts=True)
        places = np.repeat(free[present] - first, lengths) + np.arange(run.shape[1])
        documents_out[places] = run[1]
        codes_out[places] = codes[np.searchsorted(pairs, run[2])]
        free[present] += lengths
    largest = np.maximum.reduceat(codes_out, ends[:-1]) if size else codes_out
    np.save(folder / "largest_codes.npy", largest)


def _save_words(folder: Path, words: list[bytes]) -> None:
    (folder / "words.bin").write_bytes(b"".join(words) or b" ")
    np.save(folder / "word_ends.npy", np.cumsum([0, *map(len, words)], dtype=np.int64))


def _new_array(path: Path, dtype: Any, size: int) -> NDArray[Any]:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(size,))


def _saturations(pairs: NDArray[np.uint32], length: int, documents: int) -> NDArray[np.float32]:
    """Return tf / (k1 (1 − b + b dl / avgdl)) of pairs of term frequency and length code."""
    average = np.float32(max(length, 1) / max(documents, 1))
    lengths = np.array([coded_length(code) for code in range(256)], np.float32)
    one = np.float32(1)
    inverses = one / (K1 * ((one - B) + B * lengths / average))
    frequencies = (pairs >> np.uint32(8)).astype(np.float32)
    saturations: NDArray[np.float32] = frequencies * inverses[pairs & np.uint32(255)]
    return saturations


@dataclass(frozen=True, slots=True)
class Clause:
    """A term of a query.

    Attributes:
        documents: The positions of the products that have it, ascending.
        codes: One per product: stands for how often it has the term, and how long it is.
        parts: What a term adds to a score, by code.
        most: The largest part that any of the products gets.
    """

    documents: NDArray[np.uint32]
    codes: NDArray[Any]
    parts: NDArray[np.float32]
    most: float

    def parts_of(self, documents: NDArray[Any]) -> NDArray[np.float32]:
        """Return what the term adds to each of some documents, which ascend."""
        wanted = documents.astype(np.uint32)
        places = np.minimum(np.searchsorted(self.documents, wanted), len(self.documents) - 1)
        parts = self.parts[self.codes[places]]
        return np.where(self.documents[places] == wanted, parts, np.float32(0))


class Index:
    """An index on disk; made by `open_index`, safe to use from several threads.

    Attributes:
        ranks: The place of each product in the order of the ASINs, by position.
    """

    def __init__(self, folder: Path) -> None:
        counts = json.loads((folder / "index.json").read_text())
        if counts["format"] != _FORMAT:
            raise ValueError
        self._documents = counts["documents"]
        self.ranks = _load(folder / "ranks.npy")
        self._posting_ends = _load(folder / "posting_ends.npy")
        self._posting_documents = _load(folder / "documents.npy")
        self._posting_codes = _load(folder / "codes.npy")
        self._largest_codes = _load(folder / "largest_codes.npy")
        self._saturations = np.load(folder / "saturations.npy")
        self._word_ends = _load(folder / "word_ends.npy")
        with (folder / "words.bin").open("rb") as words:
            self._words = mmap.mmap(words.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self.ranks)

    def search(self, query: str, k: int = 50) -> list[int]:
        """Return the positions of the k best products, best first, equal ones by ASIN.

        Terms are taken in the order of what they can add at most. Once k documents are known to
        score more than the terms left can add together, only documents that have been met already
        can be among the best, and of these the ones that are close enough; the long lists of the
        frequent terms are then looked up for few documents. What is left out cannot be a result.
        """
        clauses = sorted(self.clauses(query), key=lambda clause: -clause.most)
        rest = [sum(clause.most for clause in clauses[i:]) for i in range(len(clauses) + 1)]
        # Like Lucene in double precision, where the order in which parts are added has no effect.
        scores = np.zeros(len(self))
        found: NDArray[np.int64] | None = None
        limit, seen, next_probe = 0.0, 0, k
        for i, clause in enumerate(clauses):
            if found is None and rest[i] < limit:
                found = np.flatnonzero(scores >= limit - rest[i])
            if found is None or len(found) > len(clause.documents) // _LOOKUP_COST:
                scores[clause.documents] += clause.parts[clause.codes]
            else:
                scores[found] += clause.parts_of(found)
            seen += len(clause.documents)
            if found is not None:
                limit = max(limit, _limit(scores[found], k))
                found = found[scores[found] >= limit - rest[i + 1]]
            elif seen >= next_probe:
                limit = max(limit, _probe(scores, clause.documents, clauses[i + 1 :], k))
                next_probe = 2 * seen
        if found is None:
            found = np.flatnonzero(scores >= max(limit, _LEAST))
        best = scores[found].astype(np.float32)
        order = np.lexsort((self.ranks[found], -best))[:k]
        return [int(position) for position in found[order]]

    def clauses(self, query: str) -> Iterator[Clause]:
        """Return a clause for each term of the query that the index has."""
        for term, repeats in Counter(terms(query)).items():
            number = self._number(term.encode())
            if number is None:
                continue
            start, end = (int(at) for at in self._posting_ends[number : number + 2])
            frequency = end - start
            odds = (self._documents - frequency + 0.5) / (frequency + 0.5)
            weight = np.float32(repeats) * np.float32(np.log(1 + odds))
            parts = weight - weight / (np.float32(1) + self._saturations)
            yield Clause(
                self._posting_documents[start:end],
                self._posting_codes[start:end],
                parts,
                float(parts[self._largest_codes[number]]),
            )

    def _number(self, word: bytes) -> int | None:
        def at(number: int) -> bytes:
            return self._words[self._word_ends[number] : self._word_ends[number + 1]]

        number = bisect_left(range(len(self._word_ends) - 1), word, key=at)
        return number if number < len(self._word_ends) - 1 and at(number) == word else None


def open_index(folder: Path) -> Index:
    """Return the index in a folder.

    Raises:
        ConfigurationError: There is none, or one of another version.
    """
    try:
        return Index(folder)
    except (OSError, ValueError, KeyError):
        raise ConfigurationError(
            f"{folder} is no search index of this version: delete it, and it is built anew"
        ) from None


def _load(path: Path) -> NDArray[Any]:
    # As a plain array, because slices of a memmap object cost several times as much.
    return np.asarray(np.load(path, mmap_mode="r"))


def _probe(
    scores: NDArray[np.float64], documents: NDArray[np.uint32], left: Sequence[Clause], k: int
) -> float:
    """Return a limit as `_limit` does, from the full scores of the k best of some documents."""
    if len(documents) < k:
        return 0.0
    best = np.sort(documents[np.argpartition(scores[documents], -k)[-k:]])
    full = scores[best]
    for clause in left:
        full += clause.parts_of(best)
    return _limit(full, k)


def _limit(scores: NDArray[np.float64], k: int) -> float:
    """Return a number that k of the scores, rounded to single precision, are above."""
    if len(scores) < k:
        return 0.0
    kth = np.float32(np.partition(scores, -k)[-k])
    return float(np.nextafter(kth, np.float32(0)))
