"""The site on a port of this machine: one server a shop, shared by all environments of a process.

The server has a thread and an event loop of its own, so that environments may live on any loop, or
on several. It goes when the last of them closes it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from armap_agents.errors import ConfigurationError

if TYPE_CHECKING:
    import uvicorn

    from armap_agents.tools.webshop.shop import Shop

LARGEST_ADDRESS = 1 << 20
"""Bytes: addresses hold the options, and a product's may be long."""

_running: dict[tuple[int, bool], _Server] = {}
_guard = threading.Lock()


class Site:
    """A user's hold on a running site; `close` lets go of it.

    Attributes:
        origin: Where the site is, as ``http://127.0.0.1:40613``.
    """

    def __init__(self, server: _Server) -> None:
        self.origin = server.origin
        self._server: _Server | None = server

    def close(self) -> None:
        """Let go; the last to do so waits until the server has stopped. Safe to call twice."""
        with _guard:
            server, self._server = self._server, None
            if server is not None:
                server.users -= 1
                if server.users == 0:
                    del _running[server.key]
                    server.stop()


def open_site(shop: Shop, *, official_done: bool = False) -> Site:
    """Return the running site of a shop, starting it where it does not run yet.

    Args:
        shop: What is for sale.
        official_done: Whether the page after a purchase prints the score, as the official one does.
    """
    key = (id(shop), official_done)
    with _guard:
        if key not in _running:
            _running[key] = _Server(shop, official_done)
        server = _running[key]
        server.users += 1
    return Site(server)


def serve_site(
    shop: Shop, host: str, port: int, *, official_done: bool, started: Callable[[str], None]
) -> None:
    """Serve a shop's site until the process is told to stop.

    Args:
        shop: What is for sale.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        official_done: Whether the page after a purchase prints the score.
        started: Is told where the site is.

    Raises:
        ConfigurationError: The port cannot be had.
    """
    try:
        listening = _listening(host, port)
    except OSError as error:
        raise ConfigurationError(
            f"{host}:{port} cannot be listened on ({error.strerror}): choose another port or host"
        ) from None
    with listening:
        started(_origin(listening))
        _http(shop, official_done).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), backlog=512)


def _origin(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{host}:{port}"


def _http(shop: Shop, official_done: bool) -> uvicorn.Server:
    import uvicorn

    from armap_agents.tools.webshop.site.app import site

    return uvicorn.Server(
        uvicorn.Config(
            site(shop, official_done=official_done),
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            # The other one that may be installed takes no address beyond 64 KiB.
            http="h11",
            h11_max_incomplete_event_size=LARGEST_ADDRESS,
        )
    )


class _Server:
    """A server in a thread; `shop` is kept, so that its id names no other object meanwhile."""

    def __init__(self, shop: Shop, official_done: bool) -> None:
        self.key = (id(shop), official_done)
        self.users = 0
        self._shop = shop
        # The socket listens from here on: a request sent before the thread is up waits in its
        # backlog.
        self._socket = _listening("127.0.0.1", 0)
        self.origin = _origin(self._socket)
        self._http = _http(shop, official_done)
        self._thread = threading.Thread(
            target=self._http.run,
            kwargs={"sockets": [self._socket]},
            name="webshop site",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop serving; connections that browsers keep open are cut."""
        self._http.should_exit = self._http.force_exit = True
        self._thread.join()
        self._socket.close()
