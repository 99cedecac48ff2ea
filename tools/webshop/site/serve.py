"""The site on a port of this machine: one server a shop, shared by all environments of a process.

The server has a thread and an event loop of its own, so that environments may live on any loop, or
on several. It goes when the last of them closes it.
"""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


class _Server:
    """A server in a thread; `shop` is kept, so that its id names no other object meanwhile."""

    def __init__(self, shop: Shop, official_done: bool) -> None:
        import uvicorn

        from armap_agents.tools.webshop.site.app import site

        self.key = (id(shop), official_done)
        self.users = 0
        self._shop = shop
        # The socket listens from here on: a request sent before the thread is up waits in its
        # backlog.
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.origin = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._http = uvicorn.Server(
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
