"""uvicorn on a thread of its own, bound before it starts, and gone within 2 s.

Knows sockets, connections and how they end. Does not know what is served. Needs uvicorn, the extra [preview].

Whoever connects may be slow, silent, or never read what it asked for: a connection on which no answer was completed for
some seconds is cut, and there are only so many of them. None of it touches the thread of the run.
"""

# ruff: noqa: PLC0415  uvicorn is an extra

import asyncio
import ipaddress
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from diffad_runtime.health.logs import event

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from diffad_runtime.preview.guard import App

_LOG = logging.getLogger(__name__)
_PATIENCE_S = 1.9
_GRACE_S = 1
CUT_S = 15.0
"""A connection has so long for each answer; a viewer's takes a second."""


def is_local(listening: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


class Server:
    """Serves an ASGI application from the moment that it is made until `close`.

    Args:
        app: called on the server's thread.
        listening: as `listen` gives it; owned from now on.
        most: connections at a time; one more is cut.
        closing: called on the server's thread when it ends, so that whoever waits for something is let go.
    """

    def __init__(self, app: "App", listening: socket.socket, *, most: int, closing: Callable[[], None]) -> None:
        from uvicorn import Config
        from uvicorn import Server as Uvicorn

        # Its log lines would hold addresses with tokens, and a traceback for each broken request.
        config = Config(
            app,
            interface="asgi3",
            http=_connections(most),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
        self._server = Uvicorn(config)
        self._listening, self._closing = listening, closing
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._serve, name="preview", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and send all away. Legal in every state, from any thread, and twice; within 2 s."""
        self._server.should_exit = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._closing)
        if self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE_S)

    def _serve(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception as error:
            what = f"the preview page has ended: {type(error).__name__}: {error}"
            event(_LOG, logging.ERROR, "preview_ended", what)
        finally:
            self._listening.close()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            await self._server.serve(sockets=[self._listening])
        finally:
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)  # they are told so, and close


def _connections(most: int) -> "type[H11Protocol]":
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Connection(H11Protocol):
        """One client's connection, cut where it does not get on."""

        _cut: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.abort()
            else:
                self._rearm()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._cut is not None:
                self._cut.cancel()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            # Complete as seen from here: what a client does not read is still in the transport's hands.
            if not self.transport.get_write_buffer_size():
                self._rearm()
            super().on_response_complete()

        def _rearm(self) -> None:
            if self._cut is not None:
                self._cut.cancel()
            self._cut = self.loop.call_later(CUT_S, self.transport.abort)

    return Connection
