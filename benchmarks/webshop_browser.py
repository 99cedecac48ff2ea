"""WebShop in a real browser: a step's time, tabs side by side, memory over episodes, restoring.

Every step is what an agent's is: a real click or search on the page, the page read, and both its
pictures taken. Tabs are measured in alternation, since the machine may have other work. Memory is
that of the browser's process tree without its driver. Run it so:
``python benchmarks/webshop_browser.py``; it needs psutil besides the ``webshop`` extra.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Iterable
from itertools import count

import psutil
from rich.console import Console
from rich.table import Table

from armap_agents.tools.webshop.browser import Tab
from armap_agents.tools.webshop.shop import Shop, open_shop
from armap_agents.tools.webshop.site import open_site
from armap_agents.tools.webshop.state import State

SIDE_BY_SIDE = 4


def episode(shop: Shop, goal: int) -> list[str]:
    """Return the actions of a shopper who finds the goal's product, looks at it and buys it."""
    product = shop.product(shop.goals[goal % len(shop.goals)].asin)
    words = product.title.lower().split()[:6]
    return [
        f"search[{' '.join(words)}]",
        "click[next >]",
        "click[< prev]",
        f"click[{product.asin.lower()}]",
        *(f"click[{values[-1]}]" for values in product.options.values()),
        "click[description]",
        "click[< prev]",
        "click[buy now]",
    ]


async def play(tab: Tab, shop: Shop, goals: Iterable[int]) -> list[float]:
    """Play episodes in a tab; return the seconds of each step."""
    seconds = []
    for goal in goals:
        seen = await tab.open(State(str(goal % len(shop.goals))).address)
        for action in episode(shop, goal):
            started = time.perf_counter()
            after = await tab.act(action)
            # A product that its own title does not find leaves the rest of its episode out.
            if after is seen:
                break
            seconds.append(time.perf_counter() - started)
            seen = after
    return seconds


async def throughput(tabs: list[Tab], shop: Shop, goals: list[int]) -> tuple[float, list[float]]:
    """Return the steps a second of several tabs together, and the seconds of each step."""
    started = time.perf_counter()
    mine = [goals[k :: len(tabs)] for k in range(len(tabs))]
    played = await asyncio.gather(*map(play, tabs, [shop] * len(tabs), mine))
    steps = [seconds for one in played for seconds in one]
    return len(steps) / (time.perf_counter() - started), steps


async def restores(tab: Tab, shop: Shop, goals: list[int]) -> list[float]:
    """Return the seconds that it takes to go straight to a chosen product, one navigation each."""
    seconds = []
    for goal in goals:
        product = shop.product(shop.goals[goal].asin)
        chosen = {name: values[0] for name, values in product.options.items()}
        state = State(str(goal), "item", ("a", "b"), asin=product.asin, options=chosen)
        started = time.perf_counter()
        await tab.open(state.address)
        seconds.append(time.perf_counter() - started)
    return seconds


def browser_memory() -> float:
    """Return the resident memory of the browser's processes, in MB."""
    used = 0
    for process in psutil.Process().children(recursive=True):
        try:
            if "chrom" in process.name():
                used += process.memory_info().rss
        except psutil.Error:  # it ended meanwhile
            continue
    return used / 1e6


async def growth(tab: Tab, shop: Shop, episodes: int) -> tuple[float, float]:
    """Return the memory in MB early on and at the end of many episodes, medians of a fifth each."""
    used = []
    for goal in range(episodes):
        await play(tab, shop, [goal])
        used.append(browser_memory())
    fifth = max(1, episodes // 5)
    return statistics.median(used[fifth : 2 * fifth]), statistics.median(used[-fifth:])


async def measure(episodes: int, rounds: int, data: str | None) -> Table:
    """Measure all and return it as a table."""
    shop = await asyncio.to_thread(open_shop, data)
    site = open_site(shop)
    tabs = [Tab(site.origin) for _ in range(SIDE_BY_SIDE)]
    goals = count(1000, 8)
    for tab in tabs:
        await play(tab, shop, range(2))
    one, many, steps = [], [], []
    for _ in range(rounds):
        start = next(goals)
        rate, seconds = await throughput(tabs[:1], shop, [*range(start, start + 8)])
        one.append(rate)
        steps += seconds
        start = next(goals)
        many.append((await throughput(tabs, shop, [*range(start, start + 8)]))[0])
    restored = await restores(tabs[0], shop, [*range(20)])
    for tab in tabs[1:]:
        await tab.close()
    early, late = await growth(tabs[0], shop, episodes)
    refused = sum(tab.fence.count for tab in tabs)
    await tabs[0].close()
    site.close()

    table = Table("measured", "value", "wanted")
    median, slow = statistics.median(steps), statistics.quantiles(steps, n=20)[-1]
    table.add_row("step with pictures, median", f"{median * 1000:.0f} ms", "< 250 ms")
    table.add_row("step with pictures, 95 %", f"{slow * 1000:.0f} ms", "")
    table.add_row("restore, median", f"{statistics.median(restored) * 1000:.0f} ms", "")
    ratio = statistics.median(many) / statistics.median(one)
    table.add_row("one tab", f"{statistics.median(one):.1f} steps/s", "")
    table.add_row(f"{SIDE_BY_SIDE} tabs", f"{statistics.median(many):.1f} steps/s", "")
    table.add_row(f"{SIDE_BY_SIDE} tabs / one tab", f"{ratio:.2f}", "≥ 1.5")
    table.add_row(f"memory, early of {episodes} episodes", f"{early:.0f} MB", "")
    table.add_row(f"memory, late of {episodes} episodes", f"{late:.0f} MB", "")
    table.add_row("memory, late / early", f"{late / early:.3f}", "≤ 1.10")
    table.add_row("requests off the shop", str(refused), "0")
    return table


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=200, help="Episodes for the memory.")
    parser.add_argument("--rounds", type=int, default=5, help="Alternations of one tab and four.")
    parser.add_argument("--data", help="Folder of official files; default: the embedded shop.")
    arguments = parser.parse_args()
    Console().print(asyncio.run(measure(arguments.episodes, arguments.rounds, arguments.data)))


if __name__ == "__main__":
    main()
