"""The ablations hand their seeds on to all that draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmark_modules import benchmark


def test_every_command_of_a_seed_gets_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ablations = benchmark("ablations")
    commands: list[list[str]] = []
    judged: list[Any] = []
    monkeypatch.setattr(ablations, "run", lambda *command: commands.append([*map(str, command)]))
    monkeypatch.setattr(ablations, "judge_by_search", lambda _, seeds, __: judged.append(seeds))
    ablations.main(ablations.Ablation.SOURCES, tmp_path, "game24", seeds="0, 1")
    assert judged == [[0, 1]]
    assert {command[1] for command in commands} == {"generate", "label", "train"}
    for command in commands:
        seed = command[command.index("--seed") + 1]
        assert command[command.index("--out") + 1].endswith(f"-{seed}")
