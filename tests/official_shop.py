"""Where the official shop's recordings lie, and a cache of a test module's own for built shops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "shared" / "data" / "webshop"
TRACES = DATA / "golden" / "traces.jsonl"

here = pytest.mark.skipif(not TRACES.is_file(), reason=f"{TRACES}: recorded episodes not here")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Shops are built in a folder of the test module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARMAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
