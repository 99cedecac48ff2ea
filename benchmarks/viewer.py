"""Frames a second of the trace page with a large search, in a real Chromium without a GPU.

A search of some 2,000 nodes runs in this process, without an endpoint; its page is opened with
every node unfolded, and dragged, zoomed and replayed, a step for each frame. An empty page,
measured in the same run, says what the machine could do at best. Run it so:
``python benchmarks/viewer.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import async_playwright
from search import HashReward, Maze, search

from armap_agents import register_environment, register_reward
from armap_agents.viewer import read_document, render_page

FRAMES = """
async ([step, frames]) => {
  const move = new Function("k", step);
  const next = () => new Promise(requestAnimationFrame);
  await next();
  const began = performance.now();
  for (let k = 0; k < frames; k++) { move(k); await next(); }
  return 1000 * frames / (performance.now() - began);
}
"""

STEPS = {
    "an empty page": "",
    "panning": """
  const { tree } = armapTrace, [dx, dy] = [k % 60 < 30 ? 9 : -9, k % 40 < 20 ? 6 : -6];
  tree.at = { ...tree.at, x: tree.at.x + dx, y: tree.at.y + dy };
  tree.redraw();""",
    "zooming": "armapTrace.tree.zoom(k % 40 < 20 ? 1.05 : 1 / 1.05);",
    "replaying": """
  const slider = document.getElementById("slider");
  slider.value = k % (Number(slider.max) + 1);
  slider.dispatchEvent(new Event("input"));""",
}


async def measure(rollouts: int, frames: int) -> None:
    """Print nodes, bytes, and frames a second of each way to use the page."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        nodes = await written(Path(folder) / "runs", rollouts, page)
        print(f"{nodes} nodes, {page.stat().st_size / 1e6:.1f} MB")
        path = shutil.which("chromium") or shutil.which("google-chrome")
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=path, args=sandbox)
            for name, step in STEPS.items():
                print(f"{name:14} {await rate(browser, name, step, page, frames):5.1f} a second")
            await browser.close()


async def written(runs: Path, rollouts: int, page: Path) -> int:
    """Run the search and write its page; return its number of nodes."""
    found = await search("http://127.0.0.1/v1", 6, in_process=0.0, runs=runs, rollouts=rollouts)
    return await asyncio.to_thread(write_page, runs / found.run, page)


def write_page(run: Path, page: Path) -> int:
    """Write a run's page; return its number of nodes."""
    document = read_document(run)
    page.write_text(render_page(document, lambda _: None), encoding="utf-8")
    return len(document["nodes"])


async def rate(browser: Any, name: str, step: str, page: Path, frames: int) -> float:
    """Return the frames a second while `step` is done for each."""
    tab = await browser.new_page(viewport={"width": 1400, "height": 900})
    await tab.goto(page.as_uri() if step else "about:blank")
    if step:
        proposed = tab.locator("#filters button", has_text="proposed")
        if await proposed.get_attribute("aria-pressed") == "false":
            await proposed.click()
        await tab.locator("#unfold").click()
        await tab.wait_for_timeout(500)
    found: float = await tab.evaluate(FRAMES, [step, frames])
    await tab.close()
    return found


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=700)
    parser.add_argument("--frames", type=int, default=120)
    options = parser.parse_args()
    register_environment("maze", Maze)
    register_reward("hash", HashReward)
    asyncio.run(measure(options.rollouts, options.frames))


if __name__ == "__main__":
    main()
