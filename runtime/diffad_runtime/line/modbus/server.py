"""Modbus TCP on the socket: who is connected, where a request begins and ends, and in which order answers go out.

Knows the header of seven bytes, clients and limits. Does not know functions or registers.

pymodbus has a server too. As of 3.16.1 it answers only the first of several requests that arrive together, goes deaf
on a connection after bytes that are no request, keeps every client that ever came, and does not say which client wrote
(docs/modbus.md). A line that pulls its cables and a PLC that sends three requests at once are everyday matters, so this
is done here, on asyncio: one thread, no task and no timer per client, and a request is answered before the next one is
looked at.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

from diffad_runtime.health.logs import event
from diffad_runtime.listening import listen

_LOG = logging.getLogger(__name__)
_PATIENCE_S = 1.5
_HEADER = 7
_LONGEST = 254
"""Unit and PDU: what the header's length may say at most; at least 2."""
_SPACE = 1040
"""Bytes of one client that are looked at before another one's."""
_AT_WORK_S = 5.0
_KEEPALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
"""A client whose cable was pulled is gone after 10 + 3 * 5 seconds."""

Peer = IPv4Address | IPv6Address | None
Answer = Callable[[int, bytes, Peer], bytes]
"""(unit, request, who) -> answer; both without header."""


class Server:
    """Listens from the moment that it is made until `close`.

    Args:
        host, port: to bind to.
        clients: at most, see settings.py.
        answer: called on the server's thread, one at a time; must be quick. What it raises is answered with `failed`.
        failed: an answer for a request that could not be answered.

    Attributes:
        port: that it is bound to.
        malformed: bytes that were no request; each time the client was sent away.
        failures: what `answer` raised.

    Raises:
        InputError: it cannot be bound to.
    """

    def __init__(self, host: str, port: int, clients: int, answer: Answer, failed: Callable[[bytes], bytes]) -> None:
        self.malformed = self.failures = 0
        self.answer, self.failed = answer, failed
        self._most = clients
        self._clients: dict[_Client, float] = {}  # when they asked for something last
        self._closing = threading.Lock()
        self._closed = False
        self._socket = listen(host, port, waiting=128)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="modbus", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """It listens."""
        return self._thread.is_alive() and not self._closed

    @property
    def clients(self) -> int:
        """Connected now."""
        return len(self._clients)

    def soon(self, function: Callable[[], None]) -> None:
        """Call it on the server's thread; nothing happens where that has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def later(self, seconds: float, function: Callable[[], None]) -> asyncio.TimerHandle:
        """Only on the server's thread: call it there after a while."""
        return self._loop.call_later(max(0.0, seconds), function)

    def close(self) -> None:
        """Send every client away and end. Legal in every state, from any thread, and twice; within 2 s."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self.soon(self._ending.set)
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
        server = await self._loop.create_server(lambda: _Client(self), sock=self._socket)
        await self._ending.wait()
        server.close()
        for client in list(self._clients):
            client.leave()
        await asyncio.sleep(0)  # a transport that was aborted closes its socket in the loop's next round

    def come(self, client: "_Client") -> None:
        """One more. Who only hangs there makes room; those who ask are not sent away for a stranger."""
        if len(self._clients) >= self._most:
            silent = min(self._clients, key=self._clients.__getitem__)
            if self._loop.time() - self._clients[silent] < _AT_WORK_S:
                client.leave()
                return
            del self._clients[silent]
            silent.leave()
        self._clients[client] = float("-inf")

    def heard(self, client: "_Client") -> None:
        """This one asked for something."""
        if client in self._clients:
            self._clients[client] = self._loop.time()

    def gone(self, client: "_Client") -> None:
        """This one left."""
        self._clients.pop(client, None)


class _Client(asyncio.BufferedProtocol):
    """One connection. Its memory does not grow, whatever is sent: what does not fit yet stays in the socket."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._space = bytearray(_SPACE)
        self._filled = 0
        self._transport: asyncio.Transport | None = None
        self._peer: Peer = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._peer = _peer(transport.get_extra_info("peername"))
        _watch(transport.get_extra_info("socket"))
        self._server.come(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self._server.gone(self)

    def pause_writing(self) -> None:
        """Who does not take his answers is asked nothing more."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def leave(self) -> None:
        """Send it away."""
        if self._transport is not None:
            self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return memoryview(self._space)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        taken = 0
        while self._filled - taken >= _HEADER:
            header = self._space[taken : taken + _HEADER]
            protocol, length = int.from_bytes(header[2:4], "big"), int.from_bytes(header[4:6], "big")
            if protocol != 0 or not 2 <= length <= _LONGEST:
                self._server.malformed += 1
                self.leave()  # where the next request begins cannot be known
                return
            end = taken + _HEADER - 1 + length
            if end > self._filled:
                break
            self._reply(bytes(header), bytes(self._space[taken + _HEADER : end]))
            taken = end
        self._filled -= taken
        self._space[: self._filled] = self._space[taken : taken + self._filled]
        if taken:
            self._server.heard(self)

    def _reply(self, header: bytes, request: bytes) -> None:
        try:
            answer = self._server.answer(header[6], request, self._peer)
        except Exception as error:  # a client must never be the one to find out by silence
            self._server.failures += 1
            text = f"a request could not be answered: {type(error).__name__}: {error}"
            event(_LOG, logging.ERROR, "modbus_request_failed", text, request=request.hex())
            answer = self._server.failed(request)
        if self._transport is not None:
            length = (len(answer) + 1).to_bytes(2, "big")
            self._transport.write(header[:4] + length + header[6:] + answer)


def _peer(name: object) -> Peer:
    """An IPv4 client of an IPv6 socket is known by its IPv4 address."""
    if not isinstance(name, tuple):
        return None
    address = ip_address(str(name[0]).split("%", 1)[0])
    return getattr(address, "ipv4_mapped", None) or address


def _watch(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            if hasattr(socket, option):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
