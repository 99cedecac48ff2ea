"""What `armap evaluate` makes of its options, and what importing evaluation costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from armap_agents.cli.evaluate import parse_seeds, parse_tasks
from armap_agents.errors import ConfigurationError

KNOWN = [str(rank) for rank in range(901, 1001)]


def test_tasks_are_ids_and_ranges_of_the_listing() -> None:
    assert parse_tasks(None, KNOWN) == KNOWN
    assert parse_tasks("901-1000", KNOWN) == KNOWN
    assert parse_tasks("903, 905-907,999", KNOWN) == ["903", "905", "906", "907", "999"]
    assert parse_tasks("n-1-2,b", ["a", "n-1-2", "b"]) == ["n-1-2", "b"]


@pytest.mark.parametrize("text", ["900", "901-1001", "905-903", "", "901-", "x"])
def test_unknown_tasks_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="its ids go from 901 to 1000"):
        parse_tasks(text, KNOWN)


def test_seeds_are_numbers() -> None:
    assert parse_seeds("0, 1,2") == [0, 1, 2]
    with pytest.raises(ConfigurationError, match="such as 0,1,2"):
        parse_seeds("0,x")


def test_evaluation_imports_no_graph_and_nothing_heavy() -> None:
    code = (
        "import sys, armap_agents.evaluation\n"
        "heavy = ('armap_agents.graphs', 'armap_agents.cli', 'langgraph', 'torch', 'matplotlib')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
