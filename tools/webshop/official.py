"""The official WebShop files in a user's folder: which are taken, and reading them bit by bit.

The full items file has about 5 GB, so no file is read whole: entries are decoded one after another
from a buffer, and memory is that of one entry.

Several sizes may lie in one folder (``items_shuffle.json`` and ``items_shuffle_1000.json``). The
full file, whose name has no number, is taken where it is there, else the one with the largest
number; whoever wants another names that file instead of the folder. Its instructions come from
``items_ins_v2`` of the same number, else from the full one.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from armap_agents.errors import ConfigurationError

ITEMS = re.compile(r"items_shuffle(?:_(\d+))?\.json")

READ_BYTES = 1 << 20

LARGEST_ENTRY = 32 << 20
"""Characters; what is longer is no product but a file that is damaged at this place."""

Progress = Callable[[int], None]
"""Is told how many more bytes have been read."""


@dataclass(frozen=True)
class OfficialFiles:
    """The files that a catalogue is made of.

    Attributes:
        items: The products.
        instructions: Attributes and synthetic instructions by ASIN.
        human: Human instructions by ASIN, None where the folder has none.
    """

    items: Path
    instructions: Path
    human: Path | None


def find_official_files(data: Path) -> OfficialFiles:
    """Find the files of a catalogue.

    Args:
        data: The folder that they lie in, or the items file of the size that is wanted.

    Raises:
        ConfigurationError: A file is missing.
    """
    data = data.expanduser().absolute()
    if data.is_dir():
        try:
            sizes = {p: m for p in data.iterdir() if (m := ITEMS.fullmatch(p.name))}
        except OSError as error:
            raise _unreadable(data, error) from None
        if not sizes:
            raise ConfigurationError(
                f"{data} has no items_shuffle.json nor items_shuffle_1000.json: "
                "put WebShop's official files there, or name the folder that has them"
            )
        items = max(sizes, key=lambda path: float(sizes[path][1] or "inf"))
    elif data.is_file() and ITEMS.fullmatch(data.name):
        items = data
    else:
        raise ConfigurationError(
            f"{data} is neither a folder of WebShop's official files nor one of its items_shuffle "
            "files: correct the path"
        )
    human = items.with_name("items_human_ins.json")
    return OfficialFiles(items, _instructions(items), human if human.is_file() else None)


def _instructions(items: Path) -> Path:
    full = items.with_name("items_ins_v2.json")
    same_size = items.with_name(items.name.replace("items_shuffle", "items_ins_v2"))
    for path in (same_size, full):
        if path.is_file():
            return path
    raise ConfigurationError(
        f"{same_size} is missing: it belongs to {items.name}, download it from where that came from"
    )


def elements(path: Path, progress: Progress) -> Iterator[Any]:
    """Yield the elements of a file that is one JSON array.

    Raises:
        ConfigurationError: The file cannot be read or is no such array.
    """
    with _opened(path) as file:
        entries = _Entries(path, file, progress)
        while entries.another("[", "]"):
            yield entries.value()


def members(path: Path, progress: Progress) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of a file that is one JSON object.

    Raises:
        ConfigurationError: The file cannot be read or is no such object.
    """
    with _opened(path) as file:
        entries = _Entries(path, file, progress)
        while entries.another("{", "}"):
            name = entries.value()
            if entries.character() != ":" or not isinstance(name, str):
                raise entries.damaged()
            yield name, entries.value()


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ConfigurationError:
    reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
    return ConfigurationError(
        f"{path} cannot be read ({reason}): make it readable or download it again"
    )


class _Entries:
    """A cursor over a JSON file; between calls it stands after a value or a delimiter."""

    def __init__(self, path: Path, file: BinaryIO, progress: Progress) -> None:
        self._path = path
        self._file = file
        self._progress = progress
        self._decode = json.JSONDecoder().raw_decode
        self._decode_bytes = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._buffer = ""
        self._at = 0
        self._passed = 0  # characters that have left the buffer
        self._inside = False
        self._ended = False

    def another(self, opening: str, closing: str) -> bool:
        """Step over the delimiter before the next entry; False after the last one."""
        found = self.character()
        if not self._inside:
            if found != opening:
                raise self.damaged()
            self._inside = True
            if self._peek() != closing:
                return True
            found = self.character()
        if found == ",":
            return True
        if found != closing or self._peek():
            raise self.damaged()
        return False

    def character(self) -> str:
        """Step over the next character that is no white space; empty at the file's end."""
        found = self._peek()
        self._at += len(found)
        return found

    def value(self) -> Any:
        """Step over the next value, a string, array or object, and return it."""
        if self._peek() not in ('"', "[", "{"):
            raise self.damaged()
        while True:
            try:
                value, self._at = self._decode(self._buffer, self._at)
                return value
            except (ValueError, RecursionError):
                if self._ended or len(self._buffer) - self._at > LARGEST_ENTRY:
                    raise self.damaged() from None
                self._fill()

    def damaged(self) -> ConfigurationError:
        """Return the error that says where the file is damaged."""
        place = self._passed + self._at
        return ConfigurationError(
            f"{self._path} is damaged after character {place}: download it again"
        )

    def _peek(self) -> str:
        while True:
            while self._at < len(self._buffer):
                if not self._buffer[self._at].isspace():
                    return self._buffer[self._at]
                self._at += 1
            if self._ended:
                return ""
            self._fill()

    def _fill(self) -> None:
        try:
            read = self._file.read(READ_BYTES)
            self._ended = len(read) == 0
            text = self._decode_bytes(read, self._ended)
        except (OSError, UnicodeDecodeError) as error:
            raise _unreadable(self._path, error) from None
        self._passed += self._at
        self._buffer = self._buffer[self._at :] + text
        self._at = 0
        self._progress(len(read))
