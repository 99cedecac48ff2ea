"""How the shop's search does at the size of the full catalogue: time to build, size, query times.

The products at hand (those of `--data`, else the embedded ones) are inflated to `--size` documents.
Each document mixes two real ones: a fair coin for every word says which of the two it comes from,
with all its places there. So every word keeps the share of documents that has it, and the number of
its repeats; the vocabulary grows by words that occur once, by the power law (Heaps) that the source
itself follows. Rare words are thus commoner than in a real catalogue, which makes queries dearer.
Queries are whole instructions of 15 to 30 words and 2 to 4 words in a row of a title. Each is also
answered by scoring all postings, without bounds and tables of parts: the answers must be equal, and
the ratio of the times is printed. Run it so: ``python benchmarks/webshop_index.py``.
"""

from __future__ import annotations

import argparse
import math
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from armap_agents.tools.webshop.analysis import terms
from armap_agents.tools.webshop.index import Index, build_index, indexed_text, open_index
from armap_agents.tools.webshop.shop import Shop, open_shop

CHECKED = 100
"""Queries of each kind that are answered by scoring all postings too."""


class Inflation:
    """Endless documents that are like those of a source.

    Args:
        source: Texts.
        seed: Of the draws.
    """

    def __init__(self, source: Sequence[str], seed: int) -> None:
        self._random = np.random.default_rng(seed)
        numbers: dict[str, int] = {}
        self._texts = [
            np.array([numbers.setdefault(word, len(numbers)) for word in text.split()], np.int64)
            for text in source
        ]
        self._words = np.array(list(numbers), dtype=object)
        half = len({word for text in source[::2] for word in text.split()})
        self.exponent = math.log2(len(numbers) / half)
        self._first = len(numbers)

    def texts(self, size: int) -> Iterator[str]:
        """Generate `size` documents."""
        new = 0
        for made in range(size):
            first, second = self._random.integers(len(self._texts), size=2)
            heads = self._random.integers(0, 2, len(self._words), dtype=np.bool_)
            one, other = self._texts[first], self._texts[second]
            words = [*self._words[one[heads[one]]], *self._words[other[~heads[other]]]]
            growth = self._first * ((made + 1) / len(self._texts)) ** self.exponent - self._first
            while new < growth:
                words.append(f"n{new:x}")
                new += 1
            yield " ".join(words)


def print_likeness(source: Sequence[str], inflated: Sequence[str]) -> None:
    """Print which share of the documents has a word, in the source and in inflated ones."""
    counts, others = (
        Counter(t for text in texts for t in set(terms(text))) for texts in (source, inflated)
    )
    print("share of documents, source and inflated:")
    for rank in (1, 10, 30, 100, 300, 1000, 3000):
        for term, count in counts.most_common(rank)[rank - 1 :]:
            shares = count / len(source), others[term] / len(inflated)
            print(f"  {rank:5} {term:16} {shares[0]:.4f} {shares[1]:.4f}")


def queries(shop: Shop, count: int, seed: int) -> dict[str, list[str]]:
    """Return `count` queries of each kind."""
    draw = random.Random(seed)
    whole: list[str] = []
    for number in draw.sample(range(len(shop.goals)), len(shop.goals)):
        text = shop.goals[number].instruction.lower()
        if 15 <= len(text.split()) <= 30 and len(whole) < count:
            whole.append(text)
    short: list[str] = []
    while len(short) < count:
        words = draw.choice(shop.catalogue).title.lower().split()
        size = draw.randint(2, 4)
        start = draw.randrange(max(len(words) - size, 0) + 1)
        short.append(" ".join(words[start : start + size]))
    return {"whole instructions": whole, "short queries": short}


def milliseconds(search: Callable[[str], list[int]], asked: Sequence[str]) -> NDArray[np.float64]:
    """Return how long each query takes, and the processor time of it, shape (2, queries)."""
    taken = []
    for query in asked:
        started = time.perf_counter(), time.thread_time()
        search(query)
        taken.append((time.perf_counter() - started[0], time.thread_time() - started[1]))
    return np.array(taken).T * 1e3


def score_all(index: Index, query: str) -> list[int]:
    """Answer a query by adding up all postings of its terms and sorting all that was found."""
    scores = np.zeros(len(index))
    for clause in index.clauses(query):
        scores[clause.documents] += clause.parts[clause.codes]
    found = np.flatnonzero(scores)
    order = np.lexsort((index.ranks[found], -scores[found].astype(np.float32)))
    return [int(position) for position in found[order[:50]]]


def print_times(index: Index, kind: str, asked: Sequence[str]) -> None:
    """Print the query times of one kind of queries, and of scoring all postings."""
    few = asked[:CHECKED]
    wrong = sum(index.search(query) != score_all(index, query) for query in few)
    words = sum(len(query.split()) for query in asked) / len(asked)
    print(f"{kind}: {len(asked)} of {words:.1f} words; {wrong} of {len(few)} answers differ")
    ours = milliseconds(index.search, asked)
    theirs = milliseconds(lambda query: score_all(index, query), few)
    for name, taken in (("search", ours), ("all postings", theirs)):
        for clock, values in zip(("passed", "processor"), taken, strict=True):
            p50, p95 = np.percentile(values, [50, 95])
            print(
                f"  {name:12} {clock:9} p50 {p50:6.1f}  p95 {p95:6.1f}  max {values.max():6.1f} ms"
            )
    ratio = np.median(theirs[1]) / np.median(ours[1, : len(few)])
    print(f"  ratio of the medians, processor time: {ratio:.1f}")


def main() -> None:
    """Build, query, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder of official WebShop files")
    parser.add_argument("--size", type=int, default=1_180_000, help="documents")
    parser.add_argument("--queries", type=int, default=500, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for the index; default: a temporary one")
    options = parser.parse_args()
    shop = open_shop(options.data, "synthetic", options.seed, None)
    source = [indexed_text(product) for product in shop.catalogue]
    inflation = Inflation(source, options.seed)
    print(f"{len(source)} source documents; vocabulary grows as N^{inflation.exponent:.2f}")
    print_likeness(source, list(inflation.texts(20_000)))
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.out or Path(temporary)) / f"index-{options.size}"
        if not folder.exists():
            build(folder, inflation, options.size)
        started = time.perf_counter()
        index = open_index(folder)
        print(f"opened in {(time.perf_counter() - started) * 1e3:.1f} ms")
        for kind, asked in queries(shop, options.queries, options.seed).items():
            print_times(index, kind, asked)


def build(folder: Path, inflation: Inflation, size: int) -> None:
    """Build the index and print what that takes."""
    started = time.perf_counter()
    generating = 0.0

    def texts() -> Iterator[str]:
        nonlocal generating
        began = time.perf_counter()
        for text in inflation.texts(size):
            generating += time.perf_counter() - began
            yield text
            began = time.perf_counter()

    build_index(folder, texts(), [f"B{number:09d}" for number in range(size)])
    seconds = time.perf_counter() - started - generating
    on_disk = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{size} documents indexed in {seconds:.0f} s ({generating:.0f} s more to generate them), "
        f"{on_disk:.0f} MB on disk, {peak:.1f} GB peak memory with mapped files"
    )


if __name__ == "__main__":
    main()
