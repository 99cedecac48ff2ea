"""The viewer's page in a real Chromium: clicked, walked, replayed, filtered, folded."""

import base64
import hashlib
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_viewer import HOSTILE, PNG, hostile_run
from viewer_journals import RandomSearch, attempts, random_search

from armap_agents.viewer import read_document, render_page
from armap_agents.viewer.page import embedded
from armap_agents.viewer.text import presentable

pytestmark = pytest.mark.browser

Open = Callable[..., Any]

NOTHING_LEFT_OUT = """
() => armapTrace.visible.order.length
"""
COLLISIONS = """
() => {
  const { order, x, y, children } = armapTrace.visible;
  const columns = Map.groupBy(order, (k) => x[k]);
  let closest = Infinity;
  for (const column of columns.values()) {
    const rows = column.map((k) => y[k]).sort((a, b) => a - b);
    rows.slice(1).forEach((row, k) => { closest = Math.min(closest, row - rows[k]); });
  }
  const offCentre = Math.max(...order.filter((k) => children[k].length).map((k) =>
    Math.abs(y[k] - (y[children[k][0]] + y[children[k].at(-1)]) / 2)));
  return { closest, offCentre };
}
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here: install it, for instance with `apt-get install chromium`")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=sandbox())
        yield browser
        browser.close()


def sandbox() -> list[str]:
    """Chromium does not start its sandbox as root."""
    import os

    return ["--no-sandbox"] if os.geteuid() == 0 else []


@pytest.fixture
def open_page(chromium: Any, tmp_path: Path) -> Iterator[Open]:
    """Open a run's page as a file; complaints and requests of the browser end the test."""
    heard: list[str] = []
    contexts = []

    def open_(folder: Path, width: int = 1400, height: int = 900, **options: Any) -> Any:
        file = tmp_path / "page.html"
        file.write_text(render_page(read_document(folder), embedded(folder)), encoding="utf-8")
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: heard.append(f"error: {error}"))
        page.on("dialog", lambda dialog: heard.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: _note(request.url, heard))
        page.goto(file.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert heard == []


def _note(url: str, heard: list[str]) -> None:
    if not url.startswith(("file:", "data:")):
        heard.append(f"request: {url}")


def centre(page: Any, node: int) -> dict[str, float]:
    """Where a node is, once the window stands still."""
    page.wait_for_timeout(400)
    found: dict[str, float] = page.evaluate("(node) => armapTrace.tree.place(node)", node)
    return found


def click(page: Any, node: int, **options: Any) -> None:
    place = centre(page, node)
    page.mouse.click(place["x"], place["y"], **options)


def test_a_run_opens_with_its_answer_and_totals(open_page: Open, tmp_path: Path) -> None:
    folder = random_search(tmp_path / "r", seed=3, rollouts=40, width=4)
    document = read_document(folder)
    page = open_page(folder)
    assert page.locator("h1").inner_text() == document["instruction"]
    header = page.locator("header").inner_text()
    assert "planner mcts" in header
    assert "finished" in header
    assert f"{document['answer']['objective']:.3f}".replace("-", "−") in header
    assert "40" in header
    steps = page.locator("#pane-run .answer .took")
    assert steps.count() == len(document["answer"]["steps"])
    assert document["answer"]["steps"][0][0] in steps.first.inner_text()
    assert "How to read this" in page.locator("#pane-run").inner_text()
    assert page.locator("#notice").is_hidden()
    assert page.locator("#legend").is_visible()


def test_a_clicked_node_shows_what_is_known_of_it(open_page: Open, tmp_path: Path) -> None:
    folder = random_search(tmp_path / "r", seed=3, rollouts=40, width=4)
    document = read_document(folder)
    page = open_page(folder)
    node = next(
        k for k, item in enumerate(document["nodes"]) if item["depth"] == 1
        and document["details"][k].get("proposals")
    )  # fmt: skip
    click(page, node)
    pane = page.locator("#pane-node")
    assert pane.is_visible()
    shown = pane.inner_text()
    detail = document["details"][node]
    assert document["nodes"][node]["action"] in pane.locator("h2").inner_text()
    assert document["observations"][detail["observation"]]["text"] in shown
    for words in ("Status", "Value", "Visits", "Prior", "bonus", "total", "Rollout from here"):
        assert words in shown
    for action, prior, _ in detail["proposals"]:
        assert action in shown
        assert f"{prior:.2f}" in shown
    child = pane.locator("table").first.locator("button").first
    action = child.inner_text()
    child.click()
    assert pane.locator("h2").inner_text() == action
    assert pane.locator(".crumbs button").count() == 2


def test_the_slider_replays_the_search(open_page: Open, tmp_path: Path) -> None:
    search = RandomSearch(tmp_path / "r", seed=3, rollouts=40, width=4)
    search.run()
    document = read_document(tmp_path / "r")
    page = open_page(tmp_path / "r")
    last = len(document["frames"]) - 1
    assert page.locator("#now").inner_text() == f"Iteration {last} of {last}"
    slider = page.locator("#slider")
    slider.fill("0")
    assert page.locator("#now").inner_text().startswith("Start")
    present = "() => armapTrace.replay.status.filter((status) => status >= 0).length"
    assert page.evaluate(present) == 1
    for frame in (1, 5, last):
        slider.fill(str(frame))
        known = {row[0] for shown in document["frames"][: frame + 1] for row in shown["nodes"]}
        assert page.evaluate(present) == len(known)
        spent = document["frames"][frame]["spent"]["completions"]
        assert page.locator("#cost-now").inner_text() == f"{spent:,}"
    slider.press("ArrowLeft")
    assert page.locator("#now").inner_text() == f"Iteration {last - 1} of {last}"
    page.locator("#cost").select_option("tokens")
    spent = document["frames"][last - 1]["spent"]
    tokens = spent["prompt_tokens"] + spent["completion_tokens"]
    assert page.locator("#cost-now").inner_text() == f"{tokens:,}"
    page.locator("#first").click()
    page.locator("#play").click()
    page.wait_for_function("() => armapTrace.replay.frame >= 2")
    page.locator("#play").click()
    stopped = page.evaluate("() => armapTrace.replay.frame")
    page.wait_for_timeout(900)
    assert page.evaluate("() => armapTrace.replay.frame") == stopped
    page.locator("h1").click()
    page.keyboard.press(".")
    assert page.evaluate("() => armapTrace.replay.frame") == stopped + 1


def test_details_follow_the_slider(open_page: Open, tmp_path: Path) -> None:
    folder = random_search(tmp_path / "r", seed=3, rollouts=40, width=4)
    document = read_document(folder)
    page = open_page(folder)
    leaf = document["frames"][-1]["picks"][0]["leaf"]
    page.evaluate("(node) => armapTrace.select(node)", leaf)
    pane = page.locator("#pane-node")
    assert "Reward score" in pane.inner_text() or "failed" in pane.inner_text()
    page.locator("#slider").fill("1")
    assert "not there yet" in pane.inner_text()
    assert "Reward score" not in pane.inner_text()
    page.evaluate("() => armapTrace.select(0)")
    [level] = [p["path"][0] for p in document["frames"][1]["picks"][:1]]
    chosen = document["nodes"][level["chosen"]]["action"]
    assert chosen in pane.locator("tr.chosen").first.inner_text()
    assert "iteration 1" in pane.inner_text()


def test_the_keyboard_walks_the_tree(open_page: Open, tmp_path: Path) -> None:
    folder = random_search(tmp_path / "r", seed=3, rollouts=40, width=4)
    document = read_document(folder)
    page = open_page(folder)
    page.locator("#canvas").focus()
    selected = "() => armapTrace.selected"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(selected) == 0
    page.keyboard.press("ArrowRight")
    first = page.evaluate(selected)
    assert document["nodes"][first]["id"] == "0.0"
    page.keyboard.press("ArrowDown")
    assert document["nodes"][page.evaluate(selected)]["id"] == "0.1"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(selected) == 0
    page.keyboard.press("b")
    assert page.evaluate(selected) == document["answer"]["node"]
    assert (
        document["nodes"][document["answer"]["node"]]["action"]
        in page.locator("#spoken").inner_text()
    )
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    assert page.evaluate(NOTHING_LEFT_OUT) == 1
    page.keyboard.press("Enter")
    assert page.evaluate(NOTHING_LEFT_OUT) > 1
    scale = page.evaluate("() => armapTrace.tree.at.k")
    page.keyboard.press("+")
    assert page.evaluate("() => armapTrace.tree.at.k") > scale


def test_filters_leave_statuses_out_and_keep_the_way_there(open_page: Open, tmp_path: Path) -> None:
    folder = random_search(tmp_path / "r", seed=3, rollouts=40, width=4)
    document = read_document(folder)
    page = open_page(folder)
    page.locator("#unfold").click()
    assert page.evaluate(NOTHING_LEFT_OUT) == len(document["nodes"])
    counts = {}
    for name in document["statuses"]:
        chip = page.locator("#filters button", has_text=name)
        assert chip.get_attribute("aria-pressed") == "true"
        counts[name] = int(chip.locator(".count").inner_text())
    assert sum(counts.values()) == len(document["nodes"]) - 1
    for name in document["statuses"]:
        if name != "failed":
            page.locator("#filters button", has_text=name).click()
    shown = page.evaluate(
        "() => armapTrace.visible.order"
        ".map((k) => armapTrace.data.statuses[armapTrace.replay.status[k]])"
    )
    assert shown.count("failed") == counts["failed"] > 0
    assert "proposed" not in shown
    order = page.evaluate("() => armapTrace.visible.order")
    assert all(document["nodes"][k]["parent"] in order for k in order if k)


def test_subtrees_fold_and_unfold_with_the_mouse(open_page: Open, tmp_path: Path) -> None:
    folder = random_search(tmp_path / "r", seed=3, rollouts=40, width=4)
    page = open_page(folder)
    page.locator("#unfold").click()
    whole = page.evaluate(NOTHING_LEFT_OUT)
    node = page.evaluate(
        "() => armapTrace.visible.children[0].find((k) => armapTrace.replay.size[k] > 3)"
    )
    place = centre(page, node)
    page.mouse.dblclick(place["x"], place["y"])
    hidden = page.evaluate("(node) => armapTrace.visible.hidden(node)", node)
    assert page.evaluate(NOTHING_LEFT_OUT) == whole - hidden < whole
    page.locator("#branches").click()
    page.evaluate(
        "(node) => { if (!armapTrace.visible.folded[node]) armapTrace.toggle(node); }", node
    )
    place = centre(page, node)
    page.locator("#fit").click()
    place = centre(page, node)
    handle = page.evaluate("(node) => armapTrace.tree.picture.handles.get(node)", node)
    left = page.locator("#canvas").bounding_box()["x"]
    page.mouse.click(left + (handle["left"] + handle["right"]) / 2, place["y"])
    assert page.evaluate("(node) => armapTrace.visible.folded[node]", node) == 0


def test_dragging_and_the_wheel_move_the_window(open_page: Open, tmp_path: Path) -> None:
    page = open_page(random_search(tmp_path / "r", seed=3, rollouts=40))
    before = centre(page, 0)
    box = page.locator("#canvas").bounding_box()
    x, y = box["x"] + box["width"] * 0.8, box["y"] + 30
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y + 40, steps=4)
    page.mouse.up()
    after = centre(page, 0)
    assert (after["x"] - before["x"], after["y"] - before["y"]) == (
        pytest.approx(-60),
        pytest.approx(40),
    )
    page.mouse.move(after["x"], after["y"])
    page.mouse.wheel(0, -300)
    assert page.evaluate("() => armapTrace.tree.at.k") > 0
    zoomed = centre(page, 0)
    assert zoomed["y"] == pytest.approx(after["y"], abs=1)


@pytest.mark.parametrize("seed", range(5))
def test_the_layout_is_tidy(open_page: Open, tmp_path: Path, seed: int) -> None:
    folder = random_search(
        tmp_path / "r", seed=seed, rollouts=150, branching=3 + seed, depth=3 + seed
    )
    page = open_page(folder)
    page.locator("#unfold").click()
    for name in ("proposed", "ended"):
        found = page.evaluate(COLLISIONS)
        assert found["closest"] >= 28 - 1e-6
        assert found["offCentre"] < 1e-6
        page.locator("#filters button", has_text=name).click()


def test_two_thousand_nodes_are_laid_out_and_only_the_window_is_drawn(
    open_page: Open, tmp_path: Path
) -> None:
    folder = random_search(tmp_path / "r", seed=4, rollouts=1100, width=8, branching=14)
    count = len(read_document(folder)["nodes"])
    assert count >= 2000
    page = open_page(folder)
    proposed = page.locator("#filters button", has_text="proposed")
    assert proposed.get_attribute("aria-pressed") == "false"
    proposed.click()
    page.locator("#unfold").click()
    page.wait_for_timeout(500)
    assert page.evaluate(NOTHING_LEFT_OUT) == count
    drawn = "() => { armapTrace.tree.draw(); return armapTrace.tree.picture.drawn; }"
    assert page.evaluate(drawn) == count
    assert page.evaluate(COLLISIONS)["closest"] >= 28 - 1e-6
    page.evaluate("() => armapTrace.tree.zoom(30)")
    assert 0 < page.evaluate(drawn) < count / 4
    page.locator("#slider").fill("3")
    assert page.evaluate(drawn) < 200


def test_a_killed_run_and_an_empty_one_say_so(open_page: Open, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    RandomSearch(folder, seed=1, rollouts=9, width=3).run(answer=False)
    lines = (folder / "trace.jsonl").read_text().splitlines(keepends=True)
    page = open_page(folder)
    assert "No answer is recorded" in page.locator("#notice").inner_text()
    (folder / "trace.jsonl").write_text("".join(lines[:-1]) + lines[-1][:30])
    page = open_page(folder)
    assert "Interrupted" in page.locator("#happened").inner_text()
    (folder / "trace.jsonl").write_text(lines[0])
    page = open_page(folder)
    assert "Nothing was tried yet" in page.locator("#notice").inner_text()
    (folder / "trace.jsonl").write_text("")
    page = open_page(folder)
    assert "Nothing was tried yet" in page.locator("#notice").inner_text()


def test_attempts_without_a_tree_and_their_reflections(open_page: Open, tmp_path: Path) -> None:
    page = open_page(attempts(tmp_path / "r", "reflexion", 5))
    assert page.locator("#now").inner_text() == "Rollout 5 of 5"
    assert page.locator("#unfold").is_hidden()
    click(page, 2)
    shown = page.locator("#pane-node").inner_text()
    assert "rollout 1" in shown
    assert "Attempt 1 multiplied too early." in shown
    assert "1 + 2 = 3" in shown
    click(page, 3)
    assert "the page did not load" in page.locator("#pane-node .error").inner_text()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_it_is(open_page: Open, tmp_path: Path, text: str) -> None:
    page = open_page(hostile_run(tmp_path / "r", text))
    plain = "e => e.textContent"
    assert page.locator("h1").evaluate(plain) == presentable(text)
    for node in (0, 1, 2):
        page.evaluate("(node) => armapTrace.select(node)", node)
        for fold in page.locator("#pane-node details:not([open]) > summary").all():
            fold.click()
    pane = page.locator("#pane-node")
    assert pane.locator(".error").first.evaluate(plain) == presentable(text)
    page.evaluate("() => armapTrace.select(1)")
    assert pane.locator(".seen").first.evaluate(plain) == presentable(text)
    assert page.locator("script").count() == 2
    assert page.locator("img").count() == 0


def test_screenshots_are_shown(open_page: Open, tmp_path: Path) -> None:
    folder = hostile_run(tmp_path / "r", "plain")
    name = hashlib.sha256(PNG).hexdigest()
    (folder / "blobs" / name).write_bytes(PNG)
    image = f'"image": {{"sha256": "{name}", "media_type": "image/png"}}'
    text = (folder / "trace.jsonl").read_text().replace('"image": null', image)
    (folder / "trace.jsonl").write_text(text)
    page = open_page(folder)
    page.evaluate("() => armapTrace.select(0)")
    picture = page.locator("#pane-node img")
    assert picture.get_attribute("src") == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert picture.evaluate("e => e.decode().then(() => e.naturalWidth)") == 1


@pytest.mark.parametrize("width", [360, 768, 1024, 1920])
def test_nothing_sticks_out_on_any_screen(open_page: Open, tmp_path: Path, width: int) -> None:
    folder = random_search(tmp_path / "r", seed=3, rollouts=40, width=4)
    page = open_page(folder, width, 800, color_scheme="dark")
    page.evaluate("() => armapTrace.select(armapTrace.data.answer.node)")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.locator("#canvas").bounding_box()["height"] > 150
    assert page.locator("#slider").bounding_box()["width"] > 100


def test_everything_can_be_reached_and_has_a_name(open_page: Open, tmp_path: Path) -> None:
    page = open_page(random_search(tmp_path / "r", seed=3, rollouts=20))
    unnamed = page.evaluate(
        "() => [...document.querySelectorAll('button, select, input, #canvas, [role=tabpanel]')]"
        ".filter((e) => !e.getAttribute('aria-label') && !e.getAttribute('aria-labelledby')"
        " && !e.textContent.trim() && !e.labels?.length).map((e) => e.outerHTML)"
    )
    assert unnamed == []
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("() => document.activeElement.id || document.activeElement.tagName")
        )
    assert {"canvas", "slider", "play", "cost", "tab-run", "pane-run", "branches", "fit"} <= reached


def test_the_server_serves_the_page_with_pictures_by_address(
    chromium: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import uvicorn
    from starlette.applications import Starlette

    from armap_agents.viewer.server import routes

    folder = hostile_run(tmp_path / "runs" / "shown", "plain")
    name = hashlib.sha256(PNG).hexdigest()
    (folder / "blobs" / name).write_bytes(PNG)
    image = f'"image": {{"sha256": "{name}", "media_type": "image/png"}}'
    text = (folder / "trace.jsonl").read_text().replace('"image": null', image)
    (folder / "trace.jsonl").write_text(text)
    monkeypatch.setenv("ARMAP_RUNS", str(tmp_path / "runs"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(Starlette(routes=routes), log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        page = chromium.new_page()
        heard: list[str] = []
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        try:
            page.goto(f"http://127.0.0.1:{listening.getsockname()[1]}/traces")
            page.get_by_role("link", name="shown").click()
            page.evaluate("() => armapTrace.select(0)")
            picture = page.locator("#pane-node img")
            assert picture.evaluate("e => e.decode().then(() => e.naturalWidth)") == 1
            assert f"/traces/shown/pictures/{name}" in picture.evaluate("e => e.src")
        finally:
            page.close()
            server.should_exit = True
            thread.join()
    assert heard == []
