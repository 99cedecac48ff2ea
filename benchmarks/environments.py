"""What environments cost: ScienceWorld's steps and restores, WebShop's engine, browser and search.

Each part is a benchmark of its own beside this file, which says what it measures and takes options;
here they run one after another in processes of their own, so that none is measured beside another.
The search's index of 1.18 million documents takes minutes to build and is left out unless named.
Run it so: ``python benchmarks/environments.py``, or with the names of some parts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

PARTS = {
    "scienceworld": "scienceworld_steps.py",
    "webshop-engine": "webshop_engine.py",
    "webshop-browser": "webshop_browser.py",
    "webshop-index": "webshop_index.py",
}


def main() -> None:
    """Run the parts that are asked for; fail where one failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    asked = parser.parse_args().parts or [part for part in PARTS if part != "webshop-index"]
    if unknown := set(asked) - set(PARTS):
        parser.error(f"there is no part {sorted(unknown)[0]!r}: use {', '.join(PARTS)}")
    failed = []
    for part in asked:
        print(f"--- {part}", flush=True)
        script = Path(__file__).parent / PARTS[part]
        if subprocess.run([sys.executable, str(script)]).returncode:
            failed.append(part)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
