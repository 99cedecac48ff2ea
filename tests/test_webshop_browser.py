"""The browser path: pages read, clicked and photographed, browsers shared, killed and found."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_webshop_site import (
    cache_,
    official,
    shop,
    traces,
    visited_after,
    with_official_data,
)

from armap_agents.errors import ConfigurationError, EnvironmentDied, EnvironmentFailure
from armap_agents.tools.webshop import chromium
from armap_agents.tools.webshop.browser import TALLEST, Tab
from armap_agents.tools.webshop.chromium import VIEWPORT, find_chromium
from armap_agents.tools.webshop.pages import clickables, nodes, plain_text, rich_text, targets
from armap_agents.tools.webshop.shop import Shop
from armap_agents.tools.webshop.site import open_site
from armap_agents.tools.webshop.state import State, parse_address
from armap_agents.trajectory import Image

psutil: Any = pytest.importorskip("psutil")

__all__ = ["cache_", "official", "shop"]  # fixtures


def missing() -> str:
    """Why no browser can be started here, if so."""
    try:
        import playwright.async_api

        del playwright
        find_chromium()
    except (ImportError, ConfigurationError) as error:
        return str(error)
    return ""


needs_browser = pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is here")
browser = [pytest.mark.browser, needs_browser]


def marked(test: Any) -> Any:
    for mark in browser:
        test = mark(test)
    return test


@asynccontextmanager
async def tab_at(origin: str, *, pictures: bool = False) -> AsyncIterator[Tab]:
    """A tab on any server."""
    tab = Tab(origin, pictures=pictures)
    try:
        yield tab
    finally:
        await tab.close()


@asynccontextmanager
async def tab_on(shop: Shop, *, pictures: bool = True, scored: bool = False) -> AsyncIterator[Tab]:
    """A tab on the site of a shop."""
    mine = await asyncio.to_thread(open_site, shop, official_done=scored)
    try:
        async with tab_at(mine.origin, pictures=pictures) as tab:
            yield tab
    finally:
        await asyncio.to_thread(mine.close)


def children(of: int | None = None) -> dict[int, str]:
    """Living processes that descend from a process (default: this one), with what they run."""
    found = {}
    for process in psutil.Process(of).children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = " ".join(process.cmdline())
        except psutil.Error:
            continue
    return found


def part_of_browser(part: str) -> int:
    """The pid of ``driver``, ``browser`` or ``renderer``, of which there has to be one alone."""
    matches: dict[str, Callable[[str], bool]] = {
        "driver": lambda line: "run-driver" in line,
        "browser": lambda line: "--headless" in line and "--type=" not in line,
        "renderer": lambda line: "--type=renderer" in line,
    }
    return max(pid for pid, line in children().items() if matches[part](line))


async def gone(*pids: int, seconds: float = 20.0) -> bool:
    """Wait until none of the processes lives; whether that came about."""
    for _ in range(int(seconds / 0.1)):
        if not any(alive(pid) for pid in pids):
            return True
        await asyncio.sleep(0.1)
    return False


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def size_of(image: Image) -> tuple[int, int]:
    """Width and height that a JPEG's frame header tells."""
    data, at = image.data, 2
    assert data[:2] == b"\xff\xd8"
    while data[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])


def with_options(shop: Shop) -> State:
    """A product page with options of the embedded shop."""
    product = next(
        p
        for p in shop.catalogue
        if len(p.options) > 1 and all(len(values) > 1 for values in p.options.values())
    )
    return State("4", "item", ("soft", "wool"), asin=product.asin)


@marked
@pytest.mark.slow
@with_official_data
async def test_the_recorded_episodes_in_the_browser(official: Shop) -> None:
    async with tab_on(official, pictures=False, scored=True) as tab:
        for trace in traces():
            state, visited = State(str(trace["goal_idx"])), set[str]()
            seen = await tab.open(state.address)
            for step in trace["steps"]:
                if "action" in step:
                    seen = await tab.act(step["action"])
                state = parse_address(seen.address)
                visited = visited_after(visited, state)
                assert plain_text(seen.nodes) == step["obs"]
                assert clickables(seen.nodes) == step["avail"]["clickables"]
                assert seen.searchable == step["avail"]["has_search_bar"]
                if "rich" in step:
                    assert rich_text(seen.nodes, state.path, visited) == step["rich"]
        assert tab.fence.count == 0


@marked
async def test_an_episode_as_the_engine_has_it(shop: Shop) -> None:
    async with tab_on(shop) as tab:
        state = State("4")
        seen = await tab.open(state.address)
        product = shop.product(with_options(shop).asin)
        (first, *_, second), (other, *_) = list(product.options.values())[:2]
        actions = [
            f"search[{product.title.upper()}]", "click[next >]", "click[< prev]",
            f"click[{product.asin}]", f"click[{first}]", f"click[{second}]", f"click[{other}]",
            "click[description]", "click[< prev]", "click[features]", "click[< Prev]",
            "click[reviews]", "click[< prev]", "search[blue lamp]", "click[back to search]",
            "search[a/b? 100% é + ../ #x]", "click[next >]", "click[back to search]",
            f"search[{product.title}]", f"click[{product.asin}]", "click[buy now]",
        ]  # fmt: skip
        for action in actions:
            before, state = state, shop.follow(state, action)
            assert state is not before, action
            seen = await tab.act(action)
            assert parse_address(seen.address) == state
            page = shop.page(state)
            assert list(seen.nodes) == nodes(page)
            assert seen.searchable == (state.kind == "index")
        assert tab.fence.count == 0


@marked
async def test_a_state_is_restored_by_one_navigation_to_the_same_picture(shop: Shop) -> None:
    async with tab_on(shop) as tab, tab_on(shop) as other:
        start = with_options(shop)
        await tab.open(start.address)
        value = next(iter(shop.product(start.asin).options.values()))[-1]
        reached = await tab.act(f"click[{value}]")
        await other.open("/9")
        documents = count_documents(other)
        restored = await other.open(reached.address)
        assert documents == [reached.address]
        assert restored == reached
        assert restored.image is not None


def count_documents(tab: Tab) -> list[str]:
    """Note the paths of all documents that a tab asks for from now on."""
    asked: list[str] = []
    assert tab._opened is not None

    def note(request: Any) -> None:
        if request.is_navigation_request():
            asked.append("/" + request.url.split("/", 3)[3])

    tab._opened.page.on("request", note)
    return asked


@marked
async def test_what_cannot_be_done_does_nothing(shop: Shop) -> None:
    async with tab_on(shop) as tab:
        start = with_options(shop)
        seen = await tab.open(start.address)
        asked = count_documents(tab)
        for action in (
            "click[nothing of the kind]", "click[]", "search[]", "click", "", "buy[now]",
            "click[search]", "click[next >]", "think[click[buy now]]", "click[Price: $1]",
            "search[a\nb]",
        ):  # fmt: skip
            assert await tab.act(action) is seen
        await tab.open("/4")
        assert len(asked) == 1
        assert await tab.act("click[search]") == await tab.act("click[Search]")
        assert len(asked) == 1


@marked
async def test_pictures_have_their_sizes(shop: Shop) -> None:
    async with tab_on(shop) as tab:
        seen = await tab.open(State("4", "results", ("<r>",)).address)
        assert seen.image is not None
        assert seen.full_page is not None
        assert size_of(seen.image) == (VIEWPORT, VIEWPORT)
        width, height = size_of(seen.full_page)
        assert width == VIEWPORT
        assert VIEWPORT < height <= TALLEST
        short = await tab.open("/4")
        assert short.full_page is short.image
    async with tab_on(shop, pictures=False) as tab:
        seen = await tab.open("/4")
        assert seen.image is None
        assert seen.full_page is None


@marked
async def test_pages_that_are_not_there_say_so(shop: Shop) -> None:
    async with tab_on(shop, pictures=False) as tab:
        with pytest.raises(EnvironmentFailure, match="open one first"):
            await tab.act("click[next >]")
        with pytest.raises(EnvironmentFailure, match="no page at /nobody "):
            await tab.open("/nobody")
        assert (await tab.open("/1")).searchable
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    async with tab_at(f"http://127.0.0.1:{port}") as tab:
        with pytest.raises(EnvironmentFailure, match="see that it is running") as caught:
            await tab.open("/1")
        assert "\n" not in str(caught.value)


# A server as the official one writes its pages: indented, with scripts that it fetches elsewhere.

OFFICIAL_ITEM = """<!DOCTYPE html>
<html>
  <head>
    <title>not text</title>
    <script src="http://scripts.example/jquery.js"></script>
    <style>.x { color: red }</style>
  </head>
  <body>
    <div>
      <h4>Instruction:<br>Find me a lamp</h4>
      <form method="post" action="/fixed_3">
        <button type="submit" class="btn btn-success">Back to Search</button>
      </form>
      <div class="radio-toolbar">
        <h4>color</h4>
        <input type="radio" id="radio_color0" name="color" value="red"
               data-url="/item_page/fixed_3/B1/lamp/1/%7B'color':%20'red'%7D">
        <label for="radio_color0">red</label>
      </div>
      <h2>A lamp   of ours</h2><img src="http://pictures.example/lamp.jpg">
      <h4>Price: $5.0</h4>
      <b> </b>
      <form method="post" action="/item_sub_page/fixed_3/B1/lamp/1/Features/{}">
        <button class="btn btn-primary" type="submit">Features</button>
      </form>
      <button class="btn">Inert</button>
      <a href="https://elsewhere.example/" class="product-link">B0ELSEWHERE</a>
      <pre>  </pre>
    </div>
  </body>
  <script>document.body.innerHTML = "a script ran"</script>
</html>
"""
OFFICIAL_START = """<html><body><h4>Instruction: <br>Find me a lamp</h4>
<form method="post"><input id="search_input" type="text" name="search_query" required>
<button class="btn" type="submit"><i class="glyphicon"></i>Search</button></form></body></html>"""


@contextmanager
def served(application: Any) -> Iterator[str]:
    """An application on a free port; its address."""
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = server.force_exit = True
    thread.join()
    listening.close()


def official_server(request: Any) -> Any:
    from starlette.responses import HTMLResponse

    deep = request.url.path.count("/") > 1
    return HTMLResponse(OFFICIAL_ITEM if deep else OFFICIAL_START)


@pytest.fixture
def foreign() -> Iterator[str]:
    from starlette.applications import Starlette
    from starlette.responses import RedirectResponse
    from starlette.routing import Route

    async def start(request: Any) -> Any:
        if body := (await request.body()).decode():
            query = body.removeprefix("search_query=")
            return RedirectResponse(f"/search_results/fixed_3/{query}/1", 302)
        return official_server(request)

    methods = ["GET", "POST"]
    routes = [
        Route("/away", lambda _: RedirectResponse("http://elsewhere.example/")),
        Route("/{session}", start, methods=methods),
        Route("/{rest:path}", official_server, methods=methods),
    ]
    with served(Starlette(routes=routes)) as address:
        yield address


@marked
async def test_pages_of_another_server_are_read_by_the_official_rule(foreign: str) -> None:
    async with tab_at(foreign + "/") as tab:
        seen = await tab.open("/item_page/fixed_3/B1/lamp/1/{}")
        assert plain_text(seen.nodes) == (
            "Instruction: [SEP] Find me a lamp [SEP] Back to Search [SEP] color [SEP] red [SEP] "
            "A lamp   of ours [SEP] Price: $5.0 [SEP]  [SEP] Features [SEP] Inert [SEP] "
            "B0ELSEWHERE [SEP] "
        )
        assert targets(seen.nodes)["red"].name == "color"
        clickable = ["back to search", "features", "inert", "b0elsewhere", "red"]
        assert clickables(seen.nodes) == clickable
        assert [*tab.fence.refused] == ["GET http://pictures.example/lamp.jpg"]
        assert await tab.act("click[inert]") == seen
        seen = await tab.act("click[red]")
        assert parse_address(seen.address).options == {"color": "red"}
        seen = await tab.act("click[features]")
        assert parse_address(seen.address).kind == "sub"
        seen = await tab.act("search[desk lamp]")
        assert seen.address == "/search_results/fixed_3/desk+lamp/1"
        assert not seen.searchable
        seen = await tab.open("/fixed_3")
        assert seen.searchable
        assert plain_text(seen.nodes) == "Instruction: [SEP] Find me a lamp [SEP] Search"


@marked
async def test_ways_off_the_shop_are_barred(foreign: str) -> None:
    async with tab_at(foreign) as tab:
        await tab.open("/item_page/fixed_3/B1/lamp/1/{}")
        fence = tab.fence
        with pytest.raises(EnvironmentFailure, match="off the shop"):
            await tab.act("click[b0elsewhere]")
        assert "CONNECT elsewhere.example:443" in fence.refused
        with pytest.raises(EnvironmentFailure, match="off the shop"):
            await tab.open("/away")
        assert "GET http://elsewhere.example/" in tab.fence.refused
        assert (await tab.open("/fixed_3")).searchable


# Browsers that are shared, and die.


async def keep_on(tab: Tab) -> None:
    """Open pages until something stops it."""
    while True:
        await tab.open("/1")


@marked
async def test_tabs_share_one_browser_which_goes_with_the_last(shop: Shop) -> None:
    async with tab_on(shop, pictures=False) as first:
        await first.open("/1")
        started = children()
        async with tab_on(shop, pictures=False) as second:
            await asyncio.gather(second.open("/2"), first.open("/1"))
            assert part_of_browser("driver") in started
            assert sum("run-driver" in line for line in children().values()) == 1
        assert (await first.open("/3")).searchable
    assert await gone(*started)
    await first.close()


@marked
async def test_tabs_that_open_at_once_start_one_browser(shop: Shop) -> None:
    async with tab_on(shop, pictures=False) as a, tab_on(shop) as b, tab_on(shop) as c:
        seen = await asyncio.gather(a.open("/1"), b.open("/1"), c.open("/1"))
        assert sum("run-driver" in line for line in children().values()) == 1
        assert seen[0].nodes == seen[1].nodes == seen[2].nodes


@marked
@pytest.mark.parametrize("part", ["browser", "driver", "renderer"])
async def test_a_killed_browser_is_noticed_and_replaced(shop: Shop, part: str) -> None:
    async with tab_on(shop) as tab, tab_on(shop) as sibling:
        expected = await tab.open("/1")
        old = children()
        os.kill(part_of_browser(part), signal.SIGKILL)
        assert await gone(*(pid for pid in old if pid not in children()))
        with pytest.raises(EnvironmentDied) as caught:
            await keep_on(tab)  # the news of it may take an action or two
        assert "\n" not in str(caught.value)
        with pytest.raises(EnvironmentFailure, match="open one first"):
            await tab.act("search[lamp]")
        assert await sibling.open("/1") == expected
        assert await tab.open("/1") == expected
        assert (await tab.act("search[lamp]")).nodes


@marked
async def test_a_browser_that_dies_in_the_middle_of_an_action(shop: Shop) -> None:
    async with tab_on(shop) as tab:
        await tab.open("/1")

        visiting = asyncio.ensure_future(keep_on(tab))
        await asyncio.sleep(0.3)
        os.kill(part_of_browser("browser"), signal.SIGKILL)
        with pytest.raises(EnvironmentDied):
            await visiting


@marked
async def test_a_start_broken_off_leaves_nothing_behind(shop: Shop) -> None:
    async with tab_on(shop) as tab:
        for seconds in (0.02, 0.2, 0.35):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(keep_on(tab), seconds)
            await tab.close()
            assert await gone(*children())
        assert (await tab.open("/1")).searchable


SCRIPT = """
import asyncio, sys
import psutil
from armap_agents.tools.webshop.browser import Tab
from armap_agents.tools.webshop.shop import open_shop
from armap_agents.tools.webshop.site import open_site

async def main(ending):
    site = open_site(open_shop())
    tab = Tab(site.origin)
    await tab.open("/1")
    print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
    if ending == "error":
        raise RuntimeError("as planned")
    if ending == "wait":
        await asyncio.sleep(600)
    if ending == "close":
        await tab.close()
        site.close()

asyncio.run(main(sys.argv[1]))
"""


@marked
@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "sent"),
    [
        ("close", None),
        ("forget", None),
        ("error", None),
        ("wait", signal.SIGINT),
        ("wait", signal.SIGTERM),
        ("wait", signal.SIGKILL),
    ],
)
@pytest.mark.usefixtures("cache_")
async def test_no_process_is_left_behind(ending: str, sent: signal.Signals | None) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, ending,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    pids = [int(pid) for pid in (await process.stdout.readline()).split()]
    assert len(pids) > 3
    if sent is signal.SIGINT:  # Ctrl-C reaches all processes of the terminal's group
        os.killpg(process.pid, sent)
    elif sent is not None:
        process.send_signal(sent)
    await asyncio.wait_for(process.wait(), 30)
    assert (process.returncode == 0) == (ending in ("close", "forget"))
    assert await gone(*pids)


# Finding a browser.


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any browser."""
    for variable in chromium.VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "downloads"))
    monkeypatch.setattr(chromium, "PLACES", ())
    return tmp_path


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)
    return path


def test_browsers_are_found_in_their_order(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloaded = program(bare / "downloads" / "chromium-1200" / "chrome-linux" / "chrome")
    assert find_chromium() == str(downloaded)
    named = program(bare / "bin" / "google-chrome")
    assert find_chromium() == str(named)
    first = program(bare / "bin" / "chromium")
    assert find_chromium() == str(first)
    for variable in reversed(chromium.VARIABLES):
        mine = program(bare / variable)
        monkeypatch.setenv(variable, str(mine))
        assert find_chromium() == str(mine)


def test_a_missing_browser_is_one_line_with_the_cure(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="playwright install chromium") as caught:
        find_chromium()
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("ARMAP_CHROMIUM", str(bare / "nothing"))
    with pytest.raises(ConfigurationError, match="ARMAP_CHROMIUM names "):
        find_chromium()


@marked
async def test_a_browser_that_does_not_start_is_one_line(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ARMAP_CHROMIUM", str(program(tmp_path / "broken")))
    async with tab_on(shop) as tab:
        with pytest.raises(ConfigurationError, match="broken does not start") as caught:
            await tab.open("/1")
        assert "\n" not in str(caught.value)
        monkeypatch.delenv("ARMAP_CHROMIUM")
        assert (await tab.open("/1")).searchable
