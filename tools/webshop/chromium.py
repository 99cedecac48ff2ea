"""The Chromium that pages are shown in: found on the machine, shared by all tabs of an event loop.

A browser is started for the first tab that opens and stopped when the last one closes; it hangs on
pipes of this process, so that it goes with it, however that ends. Each tab has a browser context to
itself, which can reach one origin: all else goes to a `Fence`, a proxy that counts and refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from armap_agents.errors import ConfigurationError, EnvironmentDied

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Playwright

VARIABLES = ("ARMAP_CHROMIUM", "PLAYWRIGHT_CHROMIUM_EXECUTABLE_PATH")
"""Environment variables that may name the binary, the first one set counts."""

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
"""What the binary is called on the search path."""

PLACES = (
    "/usr/lib/chromium/chromium",
    "/snap/bin/chromium",
    "/opt/google/chrome/chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
"""Where it lies when it is not on the search path."""

_NOWHERE = "http://127.0.0.1:9"
"""Chromium itself refuses this port, so what is sent here costs nothing and arrives nowhere."""

_DISABLED = (
    # Else each context asks the browser's maker whether its search has an AI mode.
    "AimEnabled",
    # Playwright disables these; the flag counts once, so they have to be named again.
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "ThirdPartyStoragePartitioning",
    # A new frame for each document costs a seventh of the work of a step.
    "RenderDocument",
    # Processes kept ready for other sites, of which a tab has none: with four tabs a fifth.
    "SpareRendererForSitePerProcess",
)

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    f"--autofill-server-url={_NOWHERE}",  # else each form is looked up at the browser's maker
    f"--disable-features={','.join(_DISABLED)}",
)

VIEWPORT = 384
"""Width and height of what an agent sees, in pixels of the page and of the picture alike."""


def find_chromium() -> str:
    """Return the path of the Chromium to use.

    Raises:
        ConfigurationError: None is installed, or a variable names a file that is not there.
    """
    for variable in VARIABLES:
        if named := os.environ.get(variable):
            if not os.access(named, os.X_OK) or not Path(named).is_file():
                raise ConfigurationError(
                    f"{variable} names {named}, which is no program: correct or unset it"
                )
            return named
    for candidate in (*map(shutil.which, NAMES), *PLACES, *_downloads()):
        if candidate and os.access(candidate, os.X_OK):
            return str(candidate)
    raise ConfigurationError(
        "no Chromium found: run `playwright install chromium` or `apt-get install chromium`, "
        "or name one in ARMAP_CHROMIUM"
    )


def _downloads() -> list[Path]:
    """Return the browsers that Playwright has downloaded, newest first."""
    named = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    folders = (Path("~/.cache/ms-playwright"), Path("~/Library/Caches/ms-playwright"))
    found = [
        path
        for folder in ([Path(named)] if named else folders)
        for pattern in (
            "chromium-*/chrome-*/chrome",
            "chromium-*/chrome-*/*.app/Contents/MacOS/*",
            "chromium_headless_shell-*/chrome-*/*headless*shell",
        )
        for path in folder.expanduser().glob(pattern)
    ]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


_REFUSAL = (
    b"HTTP/1.1 403 Refused\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n"
    b"Connection: close\r\n\r\nrefused"  # without a body it would look like a broken server
)


class Fence:
    """A proxy that refuses all requests and counts them.

    Attributes:
        count: Requests that were refused.
        refused: The newest of them, such as ``GET http://elsewhere.example/``.
    """

    def __init__(self) -> None:
        self.count = 0
        self.refused: deque[str] = deque(maxlen=100)
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Start to refuse; return the address to send requests to."""
        self._server = await asyncio.start_server(self._refuse, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        """Stop listening; the contexts that were sent here are to be closed first."""
        if self._server is not None:
            self._server.close()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError), contextlib.closing(writer):
            request = await reader.readline()  # ValueError: a line too long to be one
            if request:
                self.count += 1
                self.refused.append(request.decode("latin-1").rpartition(" HTTP/")[0])
                writer.write(_REFUSAL)
                await writer.drain()


class Chromium:
    """A browser process and the Playwright driver that it hangs on.

    Attributes:
        users: How many tabs use it.
        gone: Whether it was found dead; it gets no more tabs.
    """

    def __init__(self, driver: Playwright, browser: Browser) -> None:
        self._driver = driver
        self._browser = browser
        self.users = 0
        self.gone = False
        browser.on("disconnected", lambda _: self._note_end())

    @classmethod
    async def start(cls) -> Chromium:
        """Start a browser.

        Raises:
            ConfigurationError: There is none, or it does not start.
            EnvironmentDied: Playwright's driver died while it started.
        """
        from playwright.async_api import async_playwright

        path = await asyncio.to_thread(find_chromium)
        try:
            driver = await async_playwright().start()
        except Exception as error:  # Playwright has no error of its own for this
            raise EnvironmentDied(f"the browser's driver died: {first_line(error)}") from error
        try:
            return cls(driver, await _launched(driver, path))
        except BaseException:
            with contextlib.suppress(Exception):
                await driver.stop()
            raise

    async def context(self, origin: str, fence: str) -> BrowserContext:
        """Open a browser context that reaches `origin` alone; all else goes to `fence`."""
        return await self._browser.new_context(
            viewport={"width": VIEWPORT, "height": VIEWPORT},
            device_scale_factor=1,
            color_scheme="light",
            reduced_motion="reduce",
            locale="en-US",
            # No page of a shop needs scripts, which therefore cannot harm.
            java_script_enabled=False,
            service_workers="block",
            accept_downloads=False,
            permissions=[],
            # "<-loopback>" takes back that this machine's other ports are reached directly.
            proxy={"server": fence, "bypass": f"<-loopback>,{origin}"},
        )

    async def stop(self) -> None:
        """Stop the browser and its driver, whatever state they are in."""
        self.gone = True
        for close in (self._browser.close, self._driver.stop):
            with contextlib.suppress(Exception):
                await close()

    def _note_end(self) -> None:
        self.gone = True


async def _launched(driver: Playwright, path: str) -> Browser:
    """Launch a browser; one that was killed meanwhile is no reason to blame the program."""
    from playwright.async_api import Error

    for again in (True, False):
        try:
            return await driver.chromium.launch(
                executable_path=path,
                args=list(FLAGS),
                proxy={"server": _NOWHERE},
                # A terminal's Ctrl-C reaches the driver too, while the step under way is finished.
                handle_sigint=False,
            )
        except Error as error:
            if not again:
                raise ConfigurationError(
                    f"{path} does not start ({first_line(error)}): name another in ARMAP_CHROMIUM"
                ) from error
    raise AssertionError


@dataclass(eq=False)
class _Shared:
    """The browser of an event loop."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    chromium: Chromium | None = None


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()


async def open_context(origin: str, fence: str) -> tuple[Chromium, BrowserContext]:
    """Open a browser context in the browser of the running event loop.

    The browser is started where there is none, or none that lives. `release` gives it back.

    Raises:
        EnvironmentDied: The browser died while it was asked.
        ConfigurationError: There is no browser that starts.
    """
    from playwright.async_api import Error

    for attempt in ("the one that runs", "a new one"):
        chromium = await _borrow()
        try:
            return chromium, await chromium.context(origin, fence)
        except Error as error:
            # A killed driver cannot tell that it is gone: it shows here.
            chromium.gone = True
            await release(chromium)
            if attempt == "a new one":
                raise EnvironmentDied(f"the browser died: {first_line(error)}") from error
        except BaseException:
            await release(chromium)
            raise
    raise AssertionError


async def release(chromium: Chromium) -> None:
    """Give a browser back; the last to do so stops it."""
    chromium.users -= 1
    if chromium.users == 0:
        shared = _of_this_loop()
        if shared.chromium is chromium:
            shared.chromium = None
        await chromium.stop()


async def _borrow() -> Chromium:
    shared = _of_this_loop()
    async with shared.lock:
        if shared.chromium is None or shared.chromium.gone:
            shared.chromium = await _started()
        shared.chromium.users += 1
        return shared.chromium


async def _started() -> Chromium:
    start = asyncio.ensure_future(Chromium.start())
    try:
        return await asyncio.shield(start)
    except asyncio.CancelledError:
        # A start that is broken off leaves processes behind.
        with contextlib.suppress(Exception):
            await (await start).stop()
        raise


def _of_this_loop() -> _Shared:
    return _shared.setdefault(asyncio.get_running_loop(), _Shared())


def first_line(error: Exception) -> str:
    """Return what Playwright's messages begin with; call logs and banners follow."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
