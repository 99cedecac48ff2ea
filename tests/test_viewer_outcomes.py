"""What came of a run as the viewer says it: failures, stops, answers that are not the last word."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from test_viewer import data_of, seen_in_terminal
from viewer_journals import (
    ERROR,
    RandomSearch,
    Writer,
    attempts,
    failed_search,
    random_search,
    settings,
    step,
    trajectory,
    usage,
)

from armap_agents.viewer import read_document, render_page
from armap_agents.viewer.runs import list_runs
from armap_agents.viewer.server import routes
from armap_agents.viewer.terminal import best_path, final_rows


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]


def rewrite(folder: Path, events: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(event) + "\n" for event in events)
    (folder / "trace.jsonl").write_text(text)


def interrupted(folder: Path, *, pause: float = 0.0) -> tuple[float, float]:
    """Write a search that was killed side by side rollouts; return seconds before and in all."""
    search = RandomSearch(folder)
    search.writer.write("run", "run", planner="mcts", settings=settings(), parent=None)
    search.iterate(1)
    search.spent["seconds"] = 4.0
    search.iterate(2)
    events = lines_of(folder)
    begun = events[-1]["time"]
    writer = search.writer
    search.expand("0.0")
    side_by_side = usage(completions=8, seconds=50.0)  # added up: longer than the whole iteration
    writer.write("expand/0.1", "proposals", node="0.1", items=[], usage=side_by_side)
    cost = usage(completions=1, seconds=2.0)
    for k in range(3):
        writer.time = begun + 2.0 + 0.5 * k + (pause if k == 2 else 0.0)
        found = trajectory(f"i{k}", [step("a", "b")])
        writer.write(f"rollout/0.0.{k}", "rollout", trajectory=found, usage=cost)
    return events[-1]["spent"]["seconds"], writer.time - begun - pause


def test_side_by_side_rollouts_of_an_interrupted_search_do_not_add_up(tmp_path: Path) -> None:
    before, took = interrupted(tmp_path / "r")
    document = read_document(tmp_path / "r")
    assert not document["frames"][-1]["whole"]
    assert document["spent"]["seconds"] == pytest.approx(before + took, abs=0.3)
    assert f"{document['spent']['seconds']:.1f} s" in seen_in_terminal(document)


def test_the_hours_before_a_resume_are_no_time_of_the_search(tmp_path: Path) -> None:
    before, took = interrupted(tmp_path / "r", pause=7200.0)
    spent = read_document(tmp_path / "r")["spent"]["seconds"]
    assert before + took <= spent <= before + took + 2.1  # the rollout afterwards took 2 s


def test_seconds_of_independent_rollouts_are_called_so(tmp_path: Path) -> None:
    alone = seen_in_terminal(read_document(attempts(tmp_path / "a")))
    tree = seen_in_terminal(read_document(random_search(tmp_path / "r")))
    assert re.search(r"\d s in rollouts", alone)
    assert "in rollouts" not in tree


def test_a_search_that_failed_says_why(tmp_path: Path) -> None:
    failed_search(tmp_path / "r")
    document = read_document(tmp_path / "r")
    assert document["state"] == "failed"
    shown = seen_in_terminal(document)
    assert f"✗ start  failed: {ERROR}" in shown
    assert f"Every rollout failed: {ERROR}" in shown
    assert "No answer is recorded" not in shown


def test_attempts_that_all_failed_say_why(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "r")
    writer.write("run", "run", planner="sampling", settings=settings(), parent=None)
    for k in range(2):
        failed = trajectory("f" * 24, [], "failed", f"error {k}\nof two lines")
        writer.write(f"rollout/{k}/failed/1", "failure", trajectory=failed, usage=usage(failures=1))
    document = read_document(tmp_path / "r")
    assert document["notice"] == "Every rollout failed: error 1 of two lines"
    assert "✗ rollout 0  failed: error 0 of two lines" in seen_in_terminal(document)
    done = trajectory("a" * 24, [step("x", "y", True)])
    writer.write("rollout/0", "rollout", trajectory=done, usage=usage())
    assert read_document(tmp_path / "r")["state"] == "unfinished"


def test_a_failed_node_stays_one_line_in_a_narrow_terminal(tmp_path: Path) -> None:
    failed_search(tmp_path / "r")
    shown = seen_in_terminal(read_document(tmp_path / "r"), width=60).splitlines()
    [node] = [k for k, line in enumerate(shown) if "✗ start  failed: the policy" in line]
    assert shown[node].rstrip().endswith("…")
    assert shown[node + 1].strip() == "✗ failed"  # the legend


def test_opened_again_nodes_are_as_the_iteration_leaves_them(tmp_path: Path) -> None:
    search = failed_search(tmp_path / "r")
    search.reopen(1)
    document = read_document(tmp_path / "r")
    assert [frame["reopened"] for frame in document["frames"]] == [0, 0, 1]
    [row] = final_rows(document)
    assert (document["statuses"][row[1]], row[-1]) == ("open", False)
    assert document["state"] == "unfinished"
    search.iterate(2)
    assert read_document(tmp_path / "r")["frames"][-1]["reopened"] == 0


def deep_answer(folder: Path) -> None:
    """Write a search whose best rollout began at 0.0, and passed 0.0.1, which came later."""
    search = RandomSearch(folder)
    writer = search.writer
    writer.write("run", "run", planner="mcts", settings=settings(), parent=None)
    opened = {"status": "open", "children": 2}
    long = "b" * 200
    for node, items in (("0", ["a", "z"]), ("0.0", ["y", long])):
        proposals = [{"action": action, "prior": 0.5} for action in items]
        writer.write(f"expand/{node}", "proposals", node=node, items=proposals, usage=usage())
    best = {"node": "0.0", "trajectory": "a" * 24, "score": 1.0, "objective": 1.0}
    found = trajectory("a" * 24, [step("a", "1"), step(long, "2"), step("c", "3", done=True)])
    writer.write("rollout/0.0", "rollout", trajectory=found, usage=usage())
    first = {
        "0": search.tree["0"] | opened,
        "0.0": search.node("0", "a", 0.5, 1) | opened,
        "0.1": search.node("0", "z", 0.5, 1),
        "0.0.0": search.node("0.0", "y", 0.5, 2) | {"status": "ended"},
        "0.0.1": search.node("0.0", long[:80], 0.5, 2),
    }
    tried = search.node("0.0", long[:80], 0.5, 2) | {"status": "ended", "closed": True}
    for iteration, nodes in enumerate([first, {"0.0.1": tried}]):
        writer.write(
            f"backup/{iteration}", "backup", iteration=iteration, nodes=nodes, best=best,
            spent=usage(), evaluations=[],
        )  # fmt: skip
    writer.write("answer/2", "answer", **best, stopped="rollouts", usage=usage())


def test_the_best_path_runs_on_along_the_answer_as_far_as_it_was_tried(tmp_path: Path) -> None:
    deep_answer(tmp_path / "r")
    document = read_document(tmp_path / "r")
    name = [node["id"] for node in document["nodes"]]
    assert {name[number] for number in best_path(document)} == {"0", "0.0", "0.0.1"}
    assert name[document["answer"]["node"]] == "0.0"
    ends = [frame["best"] and name[frame["best"]["end"]] for frame in document["frames"]]
    assert ends == [None, "0.0", "0.0.1"]  # at first nobody had tried it
    assert "★" in next(line for line in seen_in_terminal(document).splitlines() if "bbb" in line)
    assert data_of(render_page(document, lambda _: None))["best"]["end"] == name.index("0.0.1")


def extended(folder: Path) -> RandomSearch:
    """Write a search that was answered, resumed with a larger budget and stopped again."""
    search = RandomSearch(folder, seed=2, rollouts=8)
    search.run()
    search.rollouts = 200
    search.best = search.best and search.best | {"objective": -9.0}  # what follows is better
    for iteration in range(9, 100):
        search.iterate(iteration)
    return search


def test_costs_and_best_are_the_newest_where_a_run_went_on(tmp_path: Path) -> None:
    search = extended(tmp_path / "r")
    document = read_document(tmp_path / "r")
    assert document["state"] == "finished"
    assert document["spent"] == document["frames"][-1]["spent"] == search.spent
    assert search.best is not None
    assert document["best"]["objective"] == search.best["objective"]
    assert document["answer"]["objective"] != search.best["objective"]
    shown = seen_in_terminal(document)
    assert "The run goes on beyond its last recorded answer" in shown
    assert f"{search.spent['completions']:,} completions" in shown
    assert document["notice"] == data_of(render_page(document, lambda _: None))["notice"]


def test_an_answer_for_a_smaller_budget_is_not_the_last_word(tmp_path: Path) -> None:
    search = RandomSearch(tmp_path / "r", seed=2, rollouts=30)
    search.run()
    assert read_document(tmp_path / "r")["notice"] == ""
    events = lines_of(tmp_path / "r")
    backup = [event for event in events if event["kind"] == "backup"][9]
    small = {**events[-1], "id": "answer/10", "usage": backup["spent"]}
    rewrite(tmp_path / "r", [*events, small])
    document = read_document(tmp_path / "r")
    assert "given after 10 of 30 rollouts" in document["notice"]
    assert document["spent"] == search.spent


def test_what_an_answer_cost_after_the_last_iteration_is_counted(tmp_path: Path) -> None:
    search = RandomSearch(tmp_path / "r", seed=2, rollouts=10)
    search.run()
    events = lines_of(tmp_path / "r")
    events[-1]["usage"] = search.spent | {"completions": search.spent["completions"] + 5}
    rewrite(tmp_path / "r", events)
    document = read_document(tmp_path / "r")
    assert document["spent"]["completions"] == search.spent["completions"] + 5
    assert document["notice"] == ""


def test_the_list_finds_an_answer_in_the_middle_and_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extended(tmp_path / "went-on")
    failed_search(tmp_path / "failed")
    size = (tmp_path / "went-on" / "trace.jsonl").stat().st_size
    text = (tmp_path / "went-on" / "trace.jsonl").read_bytes()
    assert size - text.index(b'"kind": "answer"') > 1 << 16  # not near the end
    found = {run.name: run for run in list_runs(tmp_path, 10)[0]}
    answer = read_document(tmp_path / "went-on")["answer"]
    assert found["went-on"].state == "finished"
    assert found["went-on"].objective == answer["objective"]
    assert found["failed"].state == "failed"
    failed_search(tmp_path / "again").reopen(1)
    assert {run.name: run.state for run in list_runs(tmp_path, 10)[0]}["again"] == "unfinished"
    monkeypatch.setenv("ARMAP_RUNS", str(tmp_path))
    assert 'class="failed">failed<' in TestClient(Starlette(routes=routes)).get("/traces").text


@pytest.mark.parametrize("planner", ["mcts", "best_of_n"])
def test_kinds_that_no_reader_knows_change_nothing(tmp_path: Path, planner: str) -> None:
    folder = tmp_path / "r"
    if planner == "mcts":
        RandomSearch(folder, seed=4, rollouts=12, width=3).run(answer=False)
    else:
        attempts(folder)
    events, before = lines_of(folder), read_document(folder)
    shown = seen_in_terminal(before)
    told = {"id": "told", "kind": "told", "time": 1.8e9, "left": [None, {"rollouts": 3}]}
    more = {"id": "context/1", "kind": "context", "time": 1.8e9, "context": {"rollouts": 64}}
    new = {"id": "new", "kind": "something new", "time": 1.8e9}
    for event in events:
        if event["kind"] == "selection":
            event["left"] = {"rollouts": 3, "completions": None}
    rewrite(folder, [events[0], told, *events[1:], more, new])
    assert read_document(folder) == before
    assert seen_in_terminal(read_document(folder)) == shown
    [listed] = list_runs(tmp_path, 1)[0]
    assert listed.state == before["state"]
