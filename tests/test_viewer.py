"""Documents, terminal and pages of the viewer, from journals that follow the contract."""

import base64
import hashlib
import io
import json
import re
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from viewer_journals import (
    RandomSearch,
    Writer,
    attempts,
    observation,
    random_search,
    step,
    trajectory,
    usage,
)
from viewer_journals import settings as run_settings

from armap_agents.errors import ConfigurationError
from armap_agents.trace import read_events
from armap_agents.viewer import print_trace, read_document, render_page
from armap_agents.viewer.page import embedded, read_picture
from armap_agents.viewer.terminal import SHOWN, best_path, final_rows
from armap_agents.viewer.text import one_line, presentable, presentable_json

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",
    "invoice\u202egnp.exe",
    "line\u2028break",
    "[bold red]markup[/] [link=http://evil]x[/link]",
    "\ud800 half",
    "{{data}} {{policy}}",
    "\x00\x08\r",
    "&lt;b&gt; &amp;",
]


def seen_in_terminal(document: dict[str, Any], width: int = 200, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    print_trace(console, document, **options)
    out: Any = console.file
    return str(out.getvalue())


def data_of(page: str) -> dict[str, Any]:
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    found: dict[str, Any] = json.loads(text)
    return found


def hostile_run(folder: Path, text: str) -> Path:
    """A run in which every text that a model, a page or a user may write is `text`."""
    writer = Writer(folder)
    given_settings = run_settings(text) | {"policy_model": text, "note": text}
    writer.write("run", "run", planner=text, settings=given_settings, parent=None)
    first = observation(text, image=None, facts={text: text}) | {"actions": [text]}
    writer.write("opening", "opening", instruction=text, observation=first)
    items = [{"action": f"{text} {k}", "prior": 0.5} for k in range(2)]
    writer.write("expand/0", "proposals", node="0", items=items, usage=usage())
    blank = {"children": 0, "n": 1, "m": 1, "value": None, "visits": 1, "closed": False}
    nodes = {
        "0": {"parent": None, "action": "", "prior": 1.0, "depth": 0, "status": "open", "q": 1.0}
        | blank
        | {"result": None},
        "0.0": {
            "parent": "0",
            "action": text,
            "prior": 0.5,
            "depth": 1,
            "status": "ended",
            "q": 1.0,
        }
        | blank
        | {"result": 1.0},
        "0.1": {"parent": "0", "action": text, "prior": 0.5, "depth": 1, "status": "failed"}
        | blank
        | {"q": None, "result": None},
    }
    writer.write(
        "rollout/0.0/policy/0", "policy", action="x", text=text, constrained=True, usage=usage()
    )
    steps = [step(text, text, done=True)]
    writer.write("rollout/0.0", "rollout", trajectory=trajectory("a" * 24, steps), usage=usage())
    failed = trajectory("b" * 24, steps, "failed", text)
    writer.write("rollout/0.1/failed/1", "failure", trajectory=failed, usage=usage())
    evaluations = [
        {"node": "0.0", "trajectory": "a" * 24, "status": "ended", "score": 1.0, "objective": 1.0,
         "value": None, "result": 1.0, "error": None},
        {"node": "0.1", "trajectory": None, "status": "failed", "score": None, "objective": None,
         "value": None, "result": None, "error": text},
    ]  # fmt: skip
    best = {"node": "0.0", "trajectory": "a" * 24, "score": 1.0, "objective": 1.0}
    writer.write(
        "backup/1", "backup", iteration=1, evaluations=evaluations, nodes=nodes, best=best,
        spent=usage(rollouts=2),
    )  # fmt: skip
    writer.write("answer/1", "answer", **best, stopped=text, usage=usage())
    return folder


@pytest.mark.parametrize("seed", range(8))
def test_the_last_frame_is_the_tree_of_the_search(tmp_path: Path, seed: int) -> None:
    search = RandomSearch(tmp_path / "r", seed=seed, rollouts=60, width=1 + seed % 4)
    search.run()
    document = read_document(tmp_path / "r")
    shown = {
        node["id"]: row for node, row in zip(document["nodes"], final_rows(document), strict=True)
    }
    assert {name: tuple(row[2:]) for name, row in shown.items()} == {
        name: (n["n"], n["q"], n["value"], n["result"], n["visits"], n["closed"])
        for name, n in search.tree.items()
    }
    assert all(
        document["statuses"][row[1]] == search.tree[name]["status"] for name, row in shown.items()
    )
    assert document["state"] == "finished"
    assert document["frames"][-1]["spent"] == search.spent


@pytest.mark.parametrize("seed", range(4))
def test_nodes_are_in_the_order_of_a_walk(tmp_path: Path, seed: int) -> None:
    document = read_document(random_search(tmp_path / "r", seed=seed, rollouts=80, branching=13))
    nodes = document["nodes"]
    assert nodes[0]["parent"] == -1
    below = [1] * len(nodes)
    for number in range(len(nodes) - 1, 0, -1):
        assert nodes[number]["parent"] < number
        below[nodes[number]["parent"]] += below[number]
    for number, node in enumerate(nodes[1:], 1):
        assert node["parent"] < number < node["parent"] + below[node["parent"]]
        siblings = [n["id"] for n in nodes if n["parent"] == node["parent"]]
        assert siblings == [f"{nodes[node['parent']]['id']}.{k}" for k in range(len(siblings))]


def test_a_node_knows_what_was_seen_there_and_in_its_rollout(tmp_path: Path) -> None:
    search = RandomSearch(tmp_path / "r", seed=5, rollouts=40)
    search.run()
    document = read_document(tmp_path / "r")
    texts = [item["text"] for item in document["observations"]]
    assert len(texts) == len(set(texts))
    for node, detail in zip(document["nodes"], document["details"], strict=True):
        status = search.tree[node["id"]]["status"]
        if status == "proposed":
            assert "rollout" not in detail
        elif node["id"] == "0":
            assert texts[detail["observation"]] == "Numbers left: 2 4 6 7"
        else:
            assert texts[detail["observation"]].endswith(f"after {node['id']}")
        if status == "failed":
            assert detail["errors"] == ["the policy did not answer within 120 s: raise the timeout"]
        for action, seen, said in detail.get("rollout", ()):
            assert texts[seen].endswith(f"below {node['id']}")
            assert action in said


def test_proposals_and_score_parts_are_those_of_the_journal(tmp_path: Path) -> None:
    folder = random_search(tmp_path / "r", seed=2, rollouts=30, width=4)
    document = read_document(folder)
    name = {number: node["id"] for number, node in enumerate(document["nodes"])}
    events = list(read_events(folder / "trace.jsonl"))
    selections = [event for event in events if event["kind"] == "selection"]
    assert len(selections) == len(document["frames"]) - 1
    for event, frame in zip(selections, document["frames"][1:], strict=True):
        assert [name[pick["leaf"]] for pick in frame["picks"]] == [
            p["leaf"] for p in event["picks"]
        ]
        for pick, shown in zip(event["picks"], frame["picks"], strict=True):
            for level, drawn in zip(pick["path"], shown["path"], strict=True):
                assert name[drawn["chosen"]] == level["chosen"]
                for child, (node, value, bonus, pending) in zip(
                    level["children"], drawn["children"], strict=True
                ):
                    assert (name[node], pending) == (child["node"], child["pending"])
                    assert value == pytest.approx(child["value"], rel=1e-5)
                    assert bonus == pytest.approx(child["bonus"], rel=1e-5)
    for event in events:
        if event["kind"] == "proposals":
            shown = document["details"][[*name.values()].index(event["node"])]["proposals"]
            assert [[i["action"], i["prior"], 1] for i in event["items"]] == shown


def test_an_unvisited_childs_bonus_stays_infinite(tmp_path: Path) -> None:
    search = RandomSearch(tmp_path / "r", rollouts=2)
    search.parts = lambda parent, child: (0.0, float("inf"))  # type: ignore[method-assign]
    search.run()
    [level] = read_document(tmp_path / "r")["frames"][1]["picks"][0]["path"]
    assert [bonus for _, _, bonus, _ in level["children"]] == [None] * len(level["children"])


def test_the_answer_and_its_path(tmp_path: Path) -> None:
    search = RandomSearch(tmp_path / "r", seed=7, rollouts=40)
    search.run()
    document = read_document(tmp_path / "r")
    assert search.best is not None
    leaf = search.best["node"]
    ids = {document["nodes"][number]["id"] for number in best_path(document)}
    assert ids == {leaf[:end] for end in range(1, len(leaf) + 1, 2)}
    taken = [step["action"] for step in search.paths[leaf]]
    assert [action for action, _, _ in document["answer"]["steps"]][: len(taken)] == taken
    assert document["answer"]["objective"] == search.best["objective"]
    assert document["answer"]["stopped"] == "rollouts"


def test_a_killed_run_shows_what_no_backup_has_counted(tmp_path: Path) -> None:
    folder = random_search(tmp_path / "r", seed=1, rollouts=30, width=3)
    whole = (folder / "trace.jsonl").read_bytes().splitlines(keepends=True)
    for kept in range(len(whole)):
        (folder / "trace.jsonl").write_bytes(b"".join(whole[:kept]) + whole[kept][:20])
        document = read_document(folder)
        backups = sum(b'"kind": "backup"' in line for line in whole[:kept])
        complete = [frame for frame in document["frames"] if frame["whole"]]
        assert len(complete) == (backups + 1 if kept else 0)
        recorded = {
            line["id"].split("/")[1]
            for line in map(json.loads, whole[:kept])
            if line["kind"] in {"rollout", "failure"}
        }
        rows = final_rows(document)
        tried = {
            node["id"] for node, row in zip(document["nodes"], rows, strict=True) if row[1] != 0
        }
        assert recorded <= tried
        state = "finished" if b'"kind": "answer"' in b"".join(whole[:kept]) else "unfinished"
        assert document["state"] == (state if len(document["frames"]) > 1 else "empty")
        assert "completions" in seen_in_terminal(document)
        assert data_of(render_page(document, lambda _: None))["run"] == "r"


def test_whole_rollouts_are_iterations_with_their_scores(tmp_path: Path) -> None:
    document = read_document(attempts(tmp_path / "r", count=6))
    assert [node["id"] for node in document["nodes"]] == ["0", *(f"0.{k}" for k in range(6))]
    scores = [row[3] for row in final_rows(document)[1:]]
    assert scores[2] is None
    assert document["statuses"][final_rows(document)[3][1]] == "failed"
    assert document["details"][3]["errors"] == ["the page did not load"]
    best = [frame["best"] and frame["best"]["score"] for frame in document["frames"]]
    assert best[1:] == [max(s for s in scores[:k] if s is not None) for k in range(1, 7)]
    assert [frame["spent"].get("rollouts", 0) for frame in document["frames"]] == [*range(7)]
    answer = document["answer"]
    assert scores[answer["node"] - 1] == answer["score"] == best[-1]
    assert len(document["details"][1]["rollout"]) == 3


def test_a_failed_rollout_that_was_tried_again_counts_once(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "r")
    writer.write("run", "run", planner="sampling", settings=run_settings(), parent=None)
    for k in (1, 2):
        failed = trajectory("f" * 24, [], "failed", f"try {k}")
        writer.write(f"rollout/0/failed/{k}", "failure", trajectory=failed, usage=usage(failures=1))
    done = trajectory("a" * 24, [step("x", "y", True)])
    writer.write("rollout/0", "rollout", trajectory=done, usage=usage(completions=1))
    document = read_document(tmp_path / "r")
    assert [frame["spent"].get("failures", 0) for frame in document["frames"]] == [0, 2]
    assert document["statuses"][final_rows(document)[1][1]] == "ended"
    assert document["details"][1]["errors"] == ["try 1", "try 2"]


def test_reflections_stand_with_the_attempt_they_are_about(tmp_path: Path) -> None:
    document = read_document(attempts(tmp_path / "r", "reflexion", 4))
    assert [detail.get("reflections") for detail in document["details"][1:]] == [
        ["Attempt 0 multiplied too early."],
        ["Attempt 1 multiplied too early."],
        None,
        ["Attempt 3 multiplied too early."],
    ]


def test_long_lists_of_actions_are_cut_with_a_count(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "r")
    writer.write("run", "run", planner="mcts", settings=run_settings(), parent=None)
    many = observation("o") | {"actions": [f"a{k}" for k in range(1300)]}
    writer.write("opening", "opening", instruction="i", observation=many)
    [seen] = read_document(tmp_path / "r")["observations"]
    assert len(seen["actions"]) + seen["actions_left_out"] == 1300
    assert seen["actions_left_out"] > 0


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(tmp_path: Path, text: str) -> None:
    document = read_document(hostile_run(tmp_path / "r", text))
    page = render_page(document, lambda _: None)
    page.encode()  # nothing that no file can hold
    shell = render_page(read_document(hostile_run(tmp_path / "plain", "plain")), lambda _: None)
    assert Elements.of(page) == Elements.of(shell)
    data = page[page.index('id="data"') + 10 :]
    assert "</script" not in data[: data.index("</script>")]
    assert data_of(page)["instruction"] == presentable(text) == document["instruction"]
    shown = seen_in_terminal(document)
    assert not re.search(
        r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown
    )
    assert one_line(presentable(text), 400) in shown


class Elements(HTMLParser):
    """The tags and attributes of a page, its title and policy aside."""

    @classmethod
    def of(cls, page: str) -> list[Any]:
        parser = cls()
        parser.found: list[Any] = []
        parser.feed(page)
        return parser.found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))


@given(st.text())
@settings(max_examples=300)
def test_presentable_text_has_no_character_that_hides_or_reorders(text: str) -> None:
    shown = presentable(text)
    assert not re.search(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown
    )
    assert presentable(shown) == shown
    shown.encode()


def test_terminal_sequences_vanish_and_ordinary_text_stays() -> None:
    assert presentable("a\x1b[1;31mb\x1b[0m c\x1b]0;t\x07d\x9b2Je") == "ab cde"
    assert presentable("Ünïcode שלום\n\ttab 😀") == "Ünïcode שלום\n\ttab 😀"
    assert presentable_json({"a\x1b[m": [float("nan"), float("inf"), 1.5, None, True]}) == {
        "a": [None, None, 1.5, None, True]
    }


def test_the_pages_policy_allows_its_own_script_and_style_alone(tmp_path: Path) -> None:
    page = render_page(read_document(attempts(tmp_path / "r")), lambda _: None)
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    policy = policy.replace("&#x27;", "'")
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy
    for pattern in (r'<script type="module">(.*?)</script>', r"<style>(.*?)</style>"):
        [text] = re.findall(pattern, page, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    shell = page[: page.index('id="data"')]
    assert not re.search(r"\son\w+=", shell)
    assert not re.search(r"\sstyle=", shell)
    assert not re.search(r'(src|href)="(?!data:,)', shell)
    script = page[page.index('<script type="module">') :]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


def test_pictures_are_told_from_their_bytes_and_limited(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    images = {"png": PNG, "svg": b"<svg onload='alert(1)'/>", "html": b"<script>alert(1)</script>"}
    names = {kind: hashlib.sha256(data).hexdigest() for kind, data in images.items()}
    writer = Writer(folder)
    for kind, data in images.items():
        (folder / "blobs" / names[kind]).write_bytes(data)
    attachments = {
        kind: {"sha256": names[kind], "media_type": "image/png"} for kind in ("svg", "html")
    }
    missing = {"sha256": "0" * 64, "media_type": "image/png"}
    first = observation(
        "o",
        image={"sha256": names["png"], "media_type": "image/png"},
        attachments=attachments
        | {"missing": missing, "up": {"sha256": "../../etc/passwd", "media_type": "image/png"}},
    )
    writer.write("run", "run", planner="mcts", settings=run_settings(), parent=None)
    writer.write("opening", "opening", instruction="i", observation=first)
    document = read_document(folder)
    pictures = data_of(render_page(document, embedded(folder)))["pictures"]
    address = pictures.pop(names["png"])
    assert address == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert set(pictures.values()) == {None}
    assert set(pictures) == {names["svg"], names["html"], "0" * 64, "../../etc/passwd"}
    nothing = data_of(render_page(document, embedded(folder, len(PNG) - 1)))["pictures"]
    assert nothing[names["png"]] is None
    assert read_picture(folder, "../trace.jsonl") is None


def test_the_terminal_cuts_a_large_tree_with_a_count(tmp_path: Path) -> None:
    document = read_document(random_search(tmp_path / "r", seed=3, rollouts=300, branching=7))
    cut, whole = seen_in_terminal(document), seen_in_terminal(document, whole=True)
    signs = re.compile(r"[○●◉■✗] .*(start|=)")
    assert len(signs.findall(whole.split("○ proposed")[0])) == len(document["nodes"])
    assert "more" not in whole
    shown = len(signs.findall(cut.split("● open")[0]))
    assert shown == SHOWN
    left_out = sum(int(n.replace(",", "")) for n in re.findall(r"… ([\d,]+) more", cut))
    assert shown + left_out == len(document["nodes"])
    assert cut.count("★") == len(best_path(document)) - 1 + 1  # the root has none, the legend one
    shallow = seen_in_terminal(document, depth=1, whole=True)
    top = sum(node["depth"] <= 1 for node in document["nodes"])
    assert len(signs.findall(shallow.split("○ proposed")[0])) == top


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_journal_that_no_run_wrote_is_read_or_refused(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "r" / "trace.jsonl"
        random_search(path.parent, seed=1, rollouts=4)
        events = [json.loads(line) for line in path.read_text().splitlines()]
        event = events[data.draw(st.integers(0, len(events) - 1))]
        name = data.draw(st.sampled_from(sorted(event)))
        event[name] = data.draw(
            st.one_of(st.none(), st.integers(), st.text(), st.just([]), st.just({}))
        )
        if data.draw(st.booleans()):
            del event[name]
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        with suppress(ConfigurationError):  # and nothing else
            assert read_document(path.parent)["run"] == "r"


def test_an_empty_journal_says_so(tmp_path: Path) -> None:
    Writer(tmp_path / "r").write("run", "run", planner="mcts", settings=run_settings(), parent=None)
    document = read_document(tmp_path / "r")
    assert document["state"] == "empty"
    assert "Nothing was tried yet" in seen_in_terminal(document)
    (tmp_path / "r" / "trace.jsonl").write_text("")
    assert "Nothing was tried yet" in seen_in_terminal(read_document(tmp_path / "r"))


def test_a_fork_names_its_parent_and_its_clock_does_not_run_backwards(tmp_path: Path) -> None:
    RandomSearch(tmp_path / "r", rollouts=3).run()
    lines = (tmp_path / "r" / "trace.jsonl").read_text().splitlines()
    parent = {"run": "other", "event": "backup/2"}
    first = json.loads(lines[0]) | {"time": 2e9, "parent": parent}
    (tmp_path / "r" / "trace.jsonl").write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    document = read_document(tmp_path / "r")
    assert document["parent"] == parent
    times = [frame["time"] for frame in document["frames"]]
    assert times == sorted(times)


def test_a_search_of_thousands_of_nodes_stays_a_page_of_some_megabytes(tmp_path: Path) -> None:
    folder = random_search(tmp_path / "r", seed=4, rollouts=1100, width=8, branching=14)
    document = read_document(folder)
    assert len(document["nodes"]) >= 2000
    assert len(render_page(document, lambda _: None)) < 5_000_000
