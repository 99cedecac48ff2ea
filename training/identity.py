"""What a data or model folder is made with, noted in it so that nothing else goes on from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armap_agents.errors import ConfigurationError


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a kill leaves the old one or the new one, never half of one."""
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(text, "utf-8")
    draft.replace(path)


def check_identity(path: Path, identity: Mapping[str, Any], holds: str) -> None:
    """Note what a folder is made with, or compare with what was noted.

    Args:
        path: The note in the folder.
        identity: What it is made with, as JSON.
        holds: What the folder holds, for the message, such as ``another training run``.

    Raises:
        ConfigurationError: Something differs, or the note is damaged.
    """
    if not path.exists():
        write_whole(path, json.dumps(identity, indent=2) + "\n")
        return
    try:
        found: dict[str, Any] = dict(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError):
        raise ConfigurationError(
            f"{path} is damaged: use another --out or delete {path.parent}"
        ) from None
    different = [
        f"{key} {found.get(key)!r} there, {identity.get(key)!r} now"
        for key in sorted({*found, *identity})
        if found.get(key) != identity.get(key)
    ]
    if different:
        raise ConfigurationError(
            f"{path.parent} holds {holds} ({'; '.join(different)}): use another --out or delete it"
        )
