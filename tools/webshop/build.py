"""Building a catalogue's folder from the official files, in one pass and bounded memory.

What stays in memory for each product are its ASIN and a few numbers, some 250 bytes; texts go from
one file to another, one product at a time.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from armap_agents.errors import ConfigurationError
from armap_agents.tools.webshop.official import OfficialFiles, Progress, elements, members
from armap_agents.tools.webshop.product import pack, read_product

FORMAT = 3
"""Raised whenever the folder's content or its meaning changes."""

MANIFEST = "catalogue.json"
PRODUCTS = "products.jsonl"
HUMAN = "human.json"

ARRAYS = (
    "starts",  # of the products' lines and the last one's end, bytes
    "checksums",  # of the lines, CRC-32
    "asins",  # ascending
    "asin_positions",  # of the products with these ASINs
    "prices",  # two columns, US dollars; the second is NaN where there is one price
    "goals",  # synthetic goals of each product
    "attribute_starts",  # of the products' instruction attributes in the next array, and its end
    "attribute_ids",
)

LONGEST_ASIN = 10


def asin_key(asin: str) -> bytes:
    """Return an ASIN as the index holds it."""
    return asin.encode(errors="replace")


class AsinIndex:
    """Finds the position of an ASIN by binary search.

    Args:
        asins: Ascending UTF-8 bytes, shape ``(n,)``.
        positions: The position that each stands for, shape ``(n,)``.
    """

    def __init__(self, asins: npt.NDArray[np.bytes_], positions: npt.NDArray[np.uint32]) -> None:
        self.asins = asins
        self.positions = positions

    @classmethod
    def of(cls, asins: Sequence[bytes]) -> AsinIndex:
        """Return the index of ASINs in the order of their positions; of equal ones, the last."""
        unsorted = np.array(asins, dtype=np.bytes_)
        positions = np.argsort(unsorted, kind="stable").astype(np.uint32)
        return cls(unsorted[positions], positions)

    def find(self, asin: str) -> int | None:
        """Return the position of an ASIN, None if it is not there."""
        wanted = asin_key(asin)
        # A longer key would make numpy widen the whole array first.
        if not len(self.asins) or len(wanted) > self.asins.itemsize:
            return None
        key = np.array(wanted, dtype=self.asins.dtype)
        at = int(np.searchsorted(self.asins, key, side="right")) - 1
        return int(self.positions[at]) if at >= 0 and self.asins[at] == wanted else None


class _Lines:
    """A file of lines, with where they begin and their checksums."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self.starts = array("Q", [0])
        self.checksums = array("I")

    def append(self, line: bytes) -> None:
        line += b"\n"
        self._file.write(line)
        self.starts.append(self.starts[-1] + len(line))
        self.checksums.append(zlib.crc32(line))

    def read(self, index: int) -> bytes:
        """Return a line; nothing may be appended any more."""
        self._file.flush()
        return os.pread(
            self._file.fileno(), self.starts[index + 1] - self.starts[index], self.starts[index]
        )

    def close(self) -> None:
        self._file.close()


def build_catalogue(files: OfficialFiles, folder: Path) -> None:
    """Write the folder of a catalogue, with a progress bar where there is a terminal.

    Args:
        files: The official files.
        folder: An empty folder.

    Raises:
        ConfigurationError: A file is damaged.
        OSError: The folder cannot be written.
    """
    paths = [path for path in (files.items, files.instructions, files.human) if path]
    with _progress_bar(sum(path.stat().st_size for path in paths)) as progress:
        instructions = _Instructions(folder / "instructions.jsonl", files.instructions, progress)
        try:
            index = _write_products(files.items, instructions, folder, progress)
        finally:
            instructions.remove()
        written = [PRODUCTS, *(f"{name}.npy" for name in ARRAYS)]
        if files.human:
            _write_human(files.human, index, folder / HUMAN, progress)
            written.append(HUMAN)
    _write_manifest(folder, len(index.asins), written)


@contextmanager
def _progress_bar(size: int) -> Iterator[Progress]:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading the WebShop catalogue", total=size)
        yield lambda amount: bar.advance(task, amount)


class _Instructions:
    """The entries of the instructions file, found by ASIN in a file that is removed afterwards."""

    def __init__(self, path: Path, source: Path, progress: Progress) -> None:
        self._path = path
        self._lines = _Lines(path)
        asins = []
        for asin, entry in members(source, progress):
            if not isinstance(entry, dict):
                raise ConfigurationError(
                    f"{source} holds no object for ASIN {asin}: download it again"
                )
            asins.append(asin_key(asin))
            self._lines.append(json.dumps(entry).encode())
        self._index = AsinIndex.of(asins)

    def of(self, asin: str) -> dict[str, Any] | None:
        at = self._index.find(asin)
        if at is None:
            return None
        entry: dict[str, Any] = json.loads(self._lines.read(at))
        return entry

    def remove(self) -> None:
        self._lines.close()
        self._path.unlink()


def _usable(source: Path, progress: Progress) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield the records that the official loader does not skip, with their ASINs."""
    seen: set[bytes] = set()
    for number, record in enumerate(elements(source, progress)):
        asin = record.get("asin") if isinstance(record, dict) else None
        if not isinstance(asin, str) or not isinstance(record.get("name"), str):
            raise ConfigurationError(
                f"{source} holds no product with an ASIN and a name at entry {number}: "
                "download it again"
            )
        key = asin_key(asin)
        if asin == "nan" or len(asin) > LONGEST_ASIN or key in seen:
            continue
        seen.add(key)
        yield key, record


def _write_products(
    source: Path, instructions: _Instructions, folder: Path, progress: Progress
) -> AsinIndex:
    lines = _Lines(folder / PRODUCTS)
    asins: list[bytes] = []
    prices = array("d")
    goals = array("Q")
    attribute_starts = array("Q", [0])
    attribute_ids = array("I")
    ids: dict[str, int] = {}
    for key, record in _usable(source, progress):
        try:
            product = read_product(record, instructions.of(record["asin"]))
        except (TypeError, AttributeError, ValueError):
            raise ConfigurationError(
                f"{source} or the instructions hold no product as {record['asin']}: "
                "download them again"
            ) from None
        lines.append(pack(product))
        asins.append(key)
        prices.extend((*product.prices, math.nan)[:2])
        goals.append(product.goals)
        attribute_ids.extend(ids.setdefault(a, len(ids)) for a in product.instruction_attributes)
        attribute_starts.append(len(attribute_ids))
    lines.close()
    if not asins:
        raise ConfigurationError(f"{source} holds no product: download it again")
    index = AsinIndex.of(asins)
    arrays: dict[str, npt.NDArray[Any]] = {
        "starts": np.frombuffer(lines.starts, dtype=np.uint64),
        "checksums": np.frombuffer(lines.checksums, dtype=np.uint32),
        "asins": index.asins,
        "asin_positions": index.positions,
        "prices": np.frombuffer(prices, dtype=np.float64).reshape(-1, 2),
        "goals": np.frombuffer(goals, dtype=np.uint64),
        "attribute_starts": np.frombuffer(attribute_starts, dtype=np.uint64),
        "attribute_ids": np.array(attribute_ids, dtype=np.uint32),
    }
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", arrays[name])
    return index


def _write_human(source: Path, index: AsinIndex, target: Path, progress: Progress) -> None:
    rows: dict[int, list[list[Any]]] = {}
    for asin, entries in members(source, progress):
        position = index.find(asin)
        if position is None:
            continue
        try:
            rows[position] = [
                [position, e["instruction"], e["instruction_attributes"], e["instruction_options"]]
                for e in entries
            ]
        except (KeyError, TypeError):
            raise ConfigurationError(
                f"{source} lacks a part of an instruction for {asin}: download it again"
            ) from None
    in_order = [row for position in sorted(rows) for row in rows[position]]
    target.write_text(json.dumps(in_order), "utf-8")


def _write_manifest(folder: Path, products: int, names: Sequence[str]) -> None:
    files = {}
    for name in names:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())  # else a power cut could leave the right size without content
            # The products' lines have checksums of their own.
            checksum = None if name == PRODUCTS else zlib.crc32(file.read())
        files[name] = {"size": (folder / name).stat().st_size, "checksum": checksum}
    manifest = {"format": FORMAT, "products": products, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")
