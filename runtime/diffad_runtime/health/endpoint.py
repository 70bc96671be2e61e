"""A small HTTP server for a few pages that are made when they are asked for.

Knows requests, limits and how to end. Does not know what is on the pages.

It stands beside an inspection and may be met by anybody on the network that it is bound to. All clients are served by
one thread that waits for none of them: each has a few seconds for everything, and only so many are there at a time; one
more sends the oldest away. Nothing is kept between requests.
"""

import asyncio
import errno
import http
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from typing_extensions import Self

from diffad_runtime.errors import InputError
from diffad_runtime.health.logs import event
from diffad_runtime.listening import listen

_LOG = logging.getLogger(__name__)
_LOCAL = "127.0.0.1"
_MOST_CLIENTS = 16
_MOST_HEADER_BYTES = 8192
_PATIENCE_S = 1.5
_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Page:
    """An answer.

    Attributes:
        body: as it goes out.
        content_type: its media type.
        status: of HTTP, 200 is well.
    """

    body: bytes
    content_type: str
    status: int = 200


def parse_address(text: str) -> tuple[str, int]:
    """Split "HOST:PORT", "[IPv6]:PORT", ":PORT" or "PORT"; without a host it is 127.0.0.1.

    Raises:
        InputError: no port, or one that is not 0 to 65535. 0 lets the system choose.
    """
    host, _, port = text.strip().rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    # More digits than a port has would make a number of any length first.
    valid = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535
    if not valid or (":" in bare) != (bare != host):
        raise InputError(
            f"expected an address HOST:PORT, got {text!r}", mend="Write it as in 127.0.0.1:9109, or [::1]:9109"
        )
    return bare or _LOCAL, int(port)


class Endpoint:
    """Serves pages from the moment that it is made until `close`. Context manager.

    Args:
        address: as `parse_address` takes it. Everybody who reaches it may read: there is no password and no TLS.
        pages: {"/path": function}; functions are called on the server's thread, one at a time, and must be quick.
        client_s: a client has that long for its request and for taking the answer.

    Attributes:
        host, port: that it is bound to; the port that the system chose where 0 was asked for.

    Raises:
        InputError: an address that cannot be read or bound to.
    """

    def __init__(self, address: str, pages: Mapping[str, Callable[[], Page]], *, client_s: float = 3.0) -> None:
        self.host, self.port = parse_address(address)
        self._pages = dict(pages)
        self._client_s = client_s
        self._clients: dict[asyncio.Task[None], None] = {}  # in the order of their coming
        self._closing = threading.Lock()
        self._closed = False
        self._socket = listen(self.host, self.port, waiting=_MOST_CLIENTS)
        self.port = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="endpoint", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """As in http://127.0.0.1:9109."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and send every client away. Legal in every state, from any thread, and twice; within 2 s."""
        with self._closing:
            if not self._closed:
                self._closed = True
                with suppress(RuntimeError):  # the loop has ended by itself
                    self._loop.call_soon_threadsafe(self._ending.set)
        if self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE_S)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._listen())
        finally:
            self._socket.close()
            self._loop.close()

    async def _listen(self) -> None:
        self._loop.add_reader(self._socket, self._let_in)
        await self._ending.wait()
        self._loop.remove_reader(self._socket)
        left = list(self._clients)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _let_in(self) -> None:
        """One more client; called by the loop where somebody knocks."""
        try:
            client, _ = self._socket.accept()
        except OSError as error:
            # Without a file descriptor for him he goes on knocking, and this would be called without a pause.
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._loop.remove_reader(self._socket)
                self._loop.call_later(_PAUSE_S, self._open_again)
            return
        client.setblocking(False)
        if len(self._clients) >= _MOST_CLIENTS:
            next(iter(self._clients)).cancel()
        task = self._loop.create_task(self._meet(client))
        self._clients[task] = None
        task.add_done_callback(lambda _: self._see_off(task, client))

    def _open_again(self) -> None:
        if not self._ending.is_set():
            self._loop.add_reader(self._socket, self._let_in)

    def _see_off(self, task: "asyncio.Task[None]", client: socket.socket) -> None:
        # Here and not in the task: one that is cancelled before it begins runs none of its own lines.
        self._clients.pop(task, None)
        client.close()

    async def _meet(self, client: socket.socket) -> None:
        with suppress(OSError, asyncio.TimeoutError):  # gone, or too slow
            await asyncio.wait_for(self._answer(client), self._client_s)

    async def _answer(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            part = await self._loop.sock_recv(client, _MOST_HEADER_BYTES)
            head += part
            if not part or len(head) > _MOST_HEADER_BYTES:
                return
        method, path = _request(head)
        page = self._page(method, path)
        lines = [
            f"HTTP/1.1 {page.status} {http.HTTPStatus(page.status).phrase}",
            f"Content-Type: {page.content_type}",
            f"Content-Length: {len(page.body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            *(["Allow: GET, HEAD"] if page.status == 405 else []),
            "Connection: close",
        ]
        body = b"" if method == "HEAD" else page.body
        await self._loop.sock_sendall(client, "\r\n".join([*lines, "", ""]).encode() + body)
        client.shutdown(socket.SHUT_WR)
        # A socket closed with something unread takes back what it sent: the client closes first, or his time is over.
        while await self._loop.sock_recv(client, _MOST_HEADER_BYTES):
            pass

    def _page(self, method: str, path: str) -> Page:
        if not method:
            return _plain(400, "not a request of HTTP/1")
        if method not in ("GET", "HEAD"):
            return _plain(405, "only GET and HEAD")
        make = self._pages.get(path)
        if make is None:
            return _plain(404, "try " + " ".join(sorted(self._pages)))
        try:
            return make()
        except Exception as error:
            event(
                _LOG, logging.ERROR, "page_failed", f"{path} cannot be made: {type(error).__name__}: {error}", path=path
            )
            return _plain(500, "the page could not be made; see the log")


def _request(head: bytes) -> tuple[str, str]:
    """Method and path without its query; ("", "") for what is no request."""
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        return "", ""
    return words[0], words[1].partition("?")[0]


def _plain(status: int, text: str) -> Page:
    return Page(text.encode() + b"\n", "text/plain; charset=utf-8", status)
