"""Where runs lie: finding one by name or path, and listing those of a folder without reading all.

A list reads the two ends of a journal, where they tell what was asked and answered, and parses
those two lines alone; where no answer is near the end, it looks through the whole journal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armap_agents.errors import ArmapError, ConfigurationError
from armap_agents.trace import run_name
from armap_agents.viewer.document import read_document
from armap_agents.viewer.text import one_line, presentable

JOURNAL = "trace.jsonl"

_END = 1 << 16

_ANSWER = b'"kind": "answer"'
_ROLLOUT = b'"kind": "rollout"'


@dataclass(frozen=True)
class RunSummary:
    """A line of the list of runs.

    Attributes:
        name: Name of the run.
        changed: When its journal was last written, in seconds since the epoch.
        planner: Who planned; None in journals that do not say.
        task: Environment and task id.
        instruction: What was asked, where the task says it.
        state: ``finished``, ``failed``, ``unfinished`` or ``damaged``.
        objective: The answer's objective, else its score.
    """

    name: str
    changed: float
    planner: str | None = None
    task: str = ""
    instruction: str = ""
    state: str = "damaged"
    objective: float | None = None


def find_run(run: str, runs: Path) -> Path:
    """Return the folder of a run, given by its name in `runs` or by a path.

    Raises:
        ConfigurationError: There is none.
    """
    if run and run_name(run) == run and (runs / run / JOURNAL).is_file():
        return runs / run
    path = Path(run)
    folder = path.parent if path.name == JOURNAL else path
    if (folder / JOURNAL).is_file():
        return folder
    newest = [summary.name for summary in list_runs(runs, 3)[0]]
    have = f"use a name such as {', '.join(newest)}" if newest else "that folder holds none"
    raise ConfigurationError(
        f"no run is called {one_line(presentable(run), 120)!r} in {runs}: {have}, or give the path "
        "of a run's folder, or set ARMAP_RUNS"
    )


def list_runs(runs: Path, most: int) -> tuple[list[RunSummary], int]:
    """Return the newest runs of a folder, at most `most`, and how many older ones there are."""
    found = []
    try:
        folders = list(runs.iterdir())
    except OSError:
        return [], 0
    for folder in folders:
        try:
            changed = (folder / JOURNAL).stat().st_mtime
        except OSError:
            continue
        if run_name(folder.name) == folder.name:
            found.append((changed, folder))
    found.sort(key=lambda item: (item[0], item[1].name), reverse=True)
    return [_summary(folder, changed) for changed, folder in found[:most]], len(found[most:])


def _summary(folder: Path, changed: float) -> RunSummary:
    try:
        first, answer, rolled_out = _read(folder / JOURNAL)
        settings = first["settings"]
        task = settings["task"]
        return RunSummary(
            name=folder.name,
            changed=changed,
            planner=_text(first.get("planner") or settings.get("planner")),
            task=presentable(f"{task['environment']} {task['id']}"),
            instruction=_text(task.get("instruction")) or "",
            state=_state(folder, answer, rolled_out),
            objective=_number(answer),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArmapError):
        return RunSummary(folder.name, changed)  # one damaged journal must not hide the others


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any] | None, bool]:
    """Return the first event, the last answer, and whether any rollout was finished."""
    with path.open("rb") as file:
        first = json.loads(file.readline())
        size = file.seek(0, 2)
        file.seek(max(0, size - _END))
        answer = _last_answer(file.read())
        if answer is not None:
            return first, answer, True
        file.seek(0)  # a run that went on after its answer may have written megabytes since
        whole = file.read()
        return first, _last_answer(whole), _ROLLOUT in whole


def _last_answer(text: bytes) -> dict[str, Any] | None:
    end = len(text)
    while (at := text.rfind(_ANSWER, 0, end)) >= 0:
        end, stop = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
        try:
            event: dict[str, Any] = json.loads(text[end : stop if stop >= 0 else len(text)])
        except ValueError:
            continue  # torn
        if event["kind"] == "answer":  # and not something within another event
            return event
    return None


def _state(folder: Path, answer: dict[str, Any] | None, rolled_out: bool) -> str:
    if answer is not None:
        return "finished"
    if rolled_out:
        return "unfinished"
    state = read_document(folder)["state"]  # short: nothing was finished
    return "failed" if state == "failed" else "unfinished"


def _text(value: Any) -> str | None:
    return presentable(str(value)) if value else None


def _number(answer: dict[str, Any] | None) -> float | None:
    for key in ("objective", "score"):
        if answer is not None and answer.get(key) is not None:
            return float(answer[key])
    return None
