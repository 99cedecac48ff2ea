"""Runs as the command and the server of the viewer list and show them."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from test_viewer import HOSTILE, PNG, Elements, data_of, hostile_run
from typer import Typer
from typer.testing import CliRunner
from viewer_journals import RandomSearch, attempts, random_search

from armap_agents.cli.trace import trace
from armap_agents.errors import ConfigurationError
from armap_agents.viewer import find_run, read_document
from armap_agents.viewer.runs import list_runs
from armap_agents.viewer.server import routes


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runs"
    random_search(folder / "searched", rollouts=12)
    attempts(folder / "tried")
    monkeypatch.setenv("ARMAP_RUNS", str(folder))
    return folder


def test_a_run_is_found_by_name_and_by_path(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_run("tried", runs) == runs / "tried"
    assert find_run(str(runs / "tried"), Path("elsewhere")) == runs / "tried"
    assert find_run(str(runs / "tried" / "trace.jsonl"), Path("elsewhere")) == runs / "tried"
    for name in ("nope", "../runs/nope", "", "a\x1b[31mb\nc"):
        with pytest.raises(ConfigurationError, match="searched") as caught:
            find_run(name, runs)
        assert "\n" not in str(caught.value)
        assert "\x1b" not in str(caught.value)
    monkeypatch.chdir(runs)
    assert find_run("tried", Path("elsewhere")) == Path("tried")


def test_runs_are_listed_newest_first_by_their_ends_alone(runs: Path) -> None:
    import os

    os.utime(runs / "searched" / "trace.jsonl", (1e9, 1e9))
    (runs / "damaged").mkdir()
    (runs / "damaged" / "trace.jsonl").write_text("rubbish")
    os.utime(runs / "damaged" / "trace.jsonl", (1e8, 1e8))
    (runs / "no run").mkdir()
    RandomSearch(runs / "killed", rollouts=3).run(answer=False)
    os.utime(runs / "killed" / "trace.jsonl", (1e7, 1e7))
    found, older = list_runs(runs, 10)
    assert older == 0
    assert [(run.name, run.state) for run in found] == [
        ("tried", "finished"),
        ("searched", "finished"),
        ("damaged", "damaged"),
        ("killed", "unfinished"),
    ]
    answer = read_document(runs / "searched")["answer"]
    assert found[1].objective == answer["objective"]
    assert (found[1].planner, found[1].task) == ("mcts", "game24 901")
    assert [len(part) if isinstance(part, list) else part for part in list_runs(runs, 1)] == [1, 3]


def command(*arguments: str) -> Any:
    app = Typer()
    app.command()(trace)
    return CliRunner().invoke(app, list(arguments))


def test_the_command_prints_the_tree_the_answer_and_the_costs(runs: Path) -> None:
    shown = command("searched", "--all")
    assert shown.exit_code == 0, shown.output
    document = read_document(runs / "searched")
    for word in ("start", "answer", "objective", "12 rollouts", "run searched"):
        assert word in shown.output
    assert shown.output.count("\n") > len(document["nodes"])


def test_the_command_writes_a_page(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.html"
    shown = command("searched", "--html", str(out))
    assert shown.exit_code == 0, shown.output
    assert data_of(out.read_text())["run"] == "searched"
    assert str(out) in shown.output.replace("\n", "")


def test_bad_input_gets_one_line_that_names_the_cure(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments, words in [
        (["nope"], "no run is called 'nope'"),
        (["searched", "--html", str(tmp_path / "file" / "out.html")], "cannot write"),
    ]:
        error = command(*arguments).exception
        assert isinstance(error, ConfigurationError)
        assert words in str(error)
        assert "\n" not in str(error)
    lines = (
        (runs / "tried" / "trace.jsonl")
        .read_text()
        .replace('"schema_version": 1', '"schema_version": 9')
    )
    (runs / "tried" / "trace.jsonl").write_text(lines)
    assert "update armap-agents" in str(command("tried").exception)
    (runs / "tried" / "trace.jsonl").write_text("{}x\n{}\n")
    assert "line 1 is damaged" in str(command("tried").exception)


@pytest.fixture
def client(runs: Path) -> TestClient:
    return TestClient(Starlette(routes=routes))


def test_the_server_lists_and_shows_runs(client: TestClient, runs: Path) -> None:
    listed = client.get("/traces")
    assert listed.status_code == 200
    assert 'href="traces/searched"' in listed.text
    assert listed.text.index("traces/tried") < listed.text.index("traces/searched")
    shown = client.get("/traces/searched")
    assert data_of(shown.text)["run"] == "searched"
    for answer in (listed, shown, client.get("/traces/nope")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
    assert client.post("/traces").status_code == 405


@pytest.mark.parametrize(
    "path",
    ["nope", "..", "%2e%2e", "..%2f..%2fetc", ".hidden", "a%00b", "x" * 200, "searched/../../x"],
)
def test_the_server_shows_nothing_outside_its_folder(client: TestClient, path: str) -> None:
    for tail in ("", "/pictures/" + "0" * 64, "/pictures/..%2ftrace.jsonl"):
        assert client.get(f"/traces/{path}{tail}").status_code in {404, 405}


def test_the_servers_list_escapes_what_runs_say(client: TestClient, runs: Path) -> None:
    for number, text in enumerate(HOSTILE):
        hostile_run(runs / f"hostile{number}", text)
    page = client.get("/traces").text
    assert {tag for tag, _ in Elements.of(page)} == {
        *("html", "head", "meta", "title", "link", "style", "body", "main", "h1", "p", "code"),
        *("div", "table", "thead", "tr", "th", "tbody", "a", "td", "time", "bdi", "span"),
    }
    assert "\u202e" not in page


def test_the_server_sends_pictures_and_says_what_is_damaged(client: TestClient, runs: Path) -> None:
    name = hashlib.sha256(PNG).hexdigest()
    (runs / "tried" / "blobs" / name).write_bytes(PNG)
    sent = client.get(f"/traces/tried/pictures/{name}")
    assert (sent.content, sent.headers["content-type"]) == (PNG, "image/png")
    svg = hashlib.sha256(b"<svg/>").hexdigest()
    (runs / "tried" / "blobs" / svg).write_bytes(b"<svg/>")
    assert client.get(f"/traces/tried/pictures/{svg}").status_code == 404
    (runs / "tried" / "trace.jsonl").write_text("rubbish\n{}\n")
    answer = client.get("/traces/tried")
    assert answer.status_code == 422
    assert "line 1 is damaged" in answer.text


def test_no_runs_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARMAP_RUNS", str(tmp_path / "none"))
    assert "No runs yet" in TestClient(Starlette(routes=routes)).get("/traces").text
