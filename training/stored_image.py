"""Pictures of a data folder, which stay on the disk until they are looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armap_agents.errors import ConfigurationError
from armap_agents.trajectory import Image

_AGAIN = "make the data again with `armap generate`, or delete that trajectory and its pairs"


class StoredImage(Image):
    """A picture that lies in a data folder, read each time it is looked at.

    Args:
        path: The file.
        reference: What the trajectory's line says about it: digest and MIME type.
        trajectory: Id of the trajectory that shows it, for the message.
    """

    def __init__(self, path: Path, reference: Mapping[str, Any], trajectory: str) -> None:
        given = {"path": path, "trajectory": trajectory}
        given |= {name: reference[name] for name in ("sha256", "media_type")}
        for name, value in given.items():
            object.__setattr__(self, name, value)
        if not path.is_file():
            raise ConfigurationError(f"{self._what} is missing: {_AGAIN}")

    path: Path
    trajectory: str

    @property
    def data(self) -> bytes:
        """The encoded file's bytes.

        Raises:
            ConfigurationError: The file is gone or damaged.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise ConfigurationError(
                f"{self._what} cannot be read ({error.strerror}): {_AGAIN}"
            ) from None
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ConfigurationError(f"{self._what} is damaged: {_AGAIN}")
        return data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and (self.sha256, self.media_type) == (
            other.sha256,
            other.media_type,
        )

    def __hash__(self) -> int:
        return hash((self.sha256, self.media_type))

    def __repr__(self) -> str:
        return f"StoredImage({str(self.path)!r})"

    @property
    def _what(self) -> str:
        return f"{self.path}, a picture of trajectory {self.trajectory!r},"
