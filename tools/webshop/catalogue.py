"""The products of a shop, on disk and memory-mapped: a million of them open in milliseconds.

The first use of a set of official files writes a folder of the cache: one line a product, in
official order, and arrays of what drawing prices, making goals and finding an ASIN need of all
products at once. A product is parsed when it is asked for. The folder's manifest holds the size of
every file, which is compared whenever the folder is opened, and checksums, which are compared when
something is read: a folder that was damaged is made anew or refused, never used.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import random
import shutil
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from armap_agents.errors import ConfigurationError
from armap_agents.serving.cache import cache_folder, complete_folder, lock
from armap_agents.tools.webshop.build import (
    FORMAT,
    HUMAN,
    MANIFEST,
    PRODUCTS,
    AsinIndex,
    build_catalogue,
)
from armap_agents.tools.webshop.official import OfficialFiles, find_official_files
from armap_agents.tools.webshop.product import Product, unpack

PARSED_PRODUCTS = 4096
"""How many parsed products a catalogue keeps; a few kB each."""


@dataclass(frozen=True)
class HumanInstruction:
    """What a person wrote for the product at `position`, with the parts that they meant."""

    position: int
    text: str
    attributes: tuple[str, ...]
    options: tuple[str, ...]


class Catalogue(Sequence[Product]):
    """Products in official order, those that the official loader skips left out.

    Args:
        folder: What `open_catalogue` built.

    Raises:
        ConfigurationError: The folder is incomplete; a damaged file in it raises the same when it
            is first read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._manifest = _manifest(folder)
        with (folder / PRODUCTS).open("rb") as file:
            self._lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._length: int = self._manifest["products"]
        self._array = lru_cache(maxsize=None)(self._load)
        self._parsed = lru_cache(maxsize=PARSED_PRODUCTS)(self._parse)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Product: ...

    @overload
    def __getitem__(self, index: slice) -> list[Product]: ...

    def __getitem__(self, index: int | slice) -> Product | list[Product]:
        if isinstance(index, slice):
            return [self._parsed(i) for i in range(*index.indices(self._length))]
        return self._parsed(range(self._length)[index])

    def __iter__(self) -> Iterator[Product]:
        # Past the kept products, which a walk over all would push out.
        return map(self._parse, range(self._length))

    def position(self, asin: str) -> int | None:
        """Return the place of a product in the catalogue, None if it has none of this ASIN."""
        return self._asins.find(asin)

    def asins(self, positions: npt.NDArray[np.int64]) -> list[str]:
        """Return the ASINs of the products at `positions`, without parsing them."""
        index = self._asins
        rank = np.empty(self._length, dtype=np.int64)
        rank[index.positions] = np.arange(self._length)
        return [asin.decode() for asin in index.asins[rank[positions]].tolist()]

    @property
    def synthetic_goals(self) -> npt.NDArray[np.uint64]:
        """The number of synthetic goals of each product, shape ``(len(self),)``."""
        return self._array("goals")

    @property
    def instructed(self) -> npt.NDArray[np.bool_]:
        """Whether each product has a synthetic instruction, shape ``(len(self),)``."""
        return np.diff(self._array("attribute_starts")) > 0

    @cached_property
    def attribute_counts(self) -> npt.NDArray[np.float64]:
        """How many synthetic goals ask for an attribute, by the ids of `goal_attributes`."""
        ids = self._array("attribute_ids").astype(np.int64)
        sizes = np.diff(self._array("attribute_starts")).astype(np.int64)
        goals = np.repeat(self.synthetic_goals, sizes)
        return np.bincount(ids, weights=goals).astype(np.float64)

    def goal_attributes(self, position: int) -> npt.NDArray[np.uint32]:
        """Return the ids of a product's instruction attributes, in their order."""
        starts = self._array("attribute_starts")
        return self._array("attribute_ids")[starts[position] : starts[position + 1]]

    @property
    def price_ranges(self) -> int:
        """How many products have two prices; `drawn_prices` draws that many numbers."""
        return int(np.count_nonzero(~np.isnan(self._array("prices")[:, 1])))

    def drawn_prices(self, seed: int) -> npt.NDArray[np.float64]:
        """Return the price of every product that rewards are reckoned with.

        It is the price shown, or, for a range, a uniform draw from it. The official code draws in
        the order of the catalogue from Python's global stream, so seeding that first and drawing
        gives the same prices.

        Returns:
            US dollars, shape ``(len(self),)``.
        """
        rng = random.Random(seed)
        low, high = self._array("prices").T
        prices: npt.NDArray[np.float64] = np.array(low)
        for position in np.flatnonzero(~np.isnan(high)):
            prices[position] = rng.uniform(float(low[position]), float(high[position]))
        return prices

    def human_instructions(self) -> list[HumanInstruction]:
        """Read the human instructions for its products, in official order.

        Raises:
            ConfigurationError: The official files had none.
        """
        if HUMAN not in self._manifest["files"]:
            raise ConfigurationError(
                "human goals need items_human_ins.json beside the other WebShop files: "
                "put it there, or use synthetic goals"
            )
        return [
            HumanInstruction(position, text, tuple(attributes), tuple(options))
            for position, text, attributes, options in json.loads(self._intact(HUMAN))
        ]

    @cached_property
    def _asins(self) -> AsinIndex:
        return AsinIndex(self._array("asins"), self._array("asin_positions"))

    def _load(self, name: str) -> npt.NDArray[Any]:
        self._intact(f"{name}.npy")
        array: npt.NDArray[Any] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return array

    def _parse(self, position: int) -> Product:
        starts = self._array("starts")
        line = self._lines[starts[position] : starts[position + 1]]
        if zlib.crc32(line) != self._array("checksums")[position]:
            raise _damaged(self.folder)
        return unpack(line)

    def _intact(self, name: str) -> bytes:
        """Return a file's content, which must be what was written."""
        try:
            content = (self.folder / name).read_bytes()
        except OSError:
            raise _damaged(self.folder) from None
        if zlib.crc32(content) != self._manifest["files"][name]["checksum"]:
            raise _damaged(self.folder)
        return content


def open_catalogue(data: Path) -> Catalogue:
    """Open the catalogue of official files, which builds it if this is its first use.

    Args:
        data: The folder of the files, or one items file in it; `official` says which files are
            taken. They are read, never changed.

    Raises:
        ConfigurationError: A file is missing or damaged, or the cache folder cannot be written.
    """
    files = find_official_files(data)
    try:
        key = _key(files)
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename} cannot be read ({error.strerror}): give files that are there"
        ) from None
    folder = cache_folder() / "webshop" / key
    try:
        return Catalogue(folder)
    except ConfigurationError:
        pass  # not built yet, or damaged
    try:
        with lock(f"webshop-{key}", _say):
            try:
                return Catalogue(folder)
            except ConfigurationError:
                shutil.rmtree(folder, ignore_errors=True)
            with complete_folder(folder) as partial:
                build_catalogue(files, partial)
                if _key(files) != key:
                    raise ConfigurationError(
                        f"the files beside {files.items} changed while they were read: try again"
                    )
    except OSError as error:
        raise ConfigurationError(
            f"the catalogue cannot be written to {folder} ({error.strerror or error}): "
            "make room there or set ARMAP_CACHE to another folder"
        ) from None
    return Catalogue(folder)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _key(files: OfficialFiles) -> str:
    """Return a name for the content of the files: a changed file is a new catalogue."""
    paths = [path for path in (files.items, files.instructions, files.human) if path]
    stamps = [(str(p.resolve()), (s := p.stat()).st_size, s.st_mtime_ns) for p in paths]
    return hashlib.sha256(json.dumps([FORMAT, stamps]).encode()).hexdigest()[:16]


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        complete = all(
            (folder / name).stat().st_size == file["size"]
            for name, file in manifest["files"].items()
        )
        complete = complete and manifest["products"] > 0
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise _damaged(folder)
    return manifest


def _damaged(folder: Path) -> ConfigurationError:
    return ConfigurationError(f"the catalogue in {folder} is damaged: remove that folder")
