"""What may come over the wire from whom, before anybody is known.

Knows chunks, channels and connections of OPC UA's binary protocol. Does not know nodes. Imported only when used: needs
asyncua.

A port of a machine is knocked on by scanners, broken clients and the merely curious. Each gets a bounded buffer, a
bounded time and, at the first thing that makes no sense, the end of its connection. asyncua 2.1 answers a message with
sense in it and waits for more after one without; it takes a channel without security from anybody, whatever policies
the server has; it lets anybody register servers. The classes here close that.
"""

# asyncua's hints: names that are not exported, and Int32 or String where a plain int or str is what it takes.
# mypy: disable-error-code="attr-defined, arg-type"

import asyncio
import socket
from contextlib import suppress
from typing import Any, Final

from asyncua import Server, ua
from asyncua.common.connection import TransportLimits
from asyncua.common.utils import ServiceError
from asyncua.crypto.security_policies import SecurityPolicyFactory, SecurityPolicyNone
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.ua_binary import uatcp_to_binary

from diffad_runtime.line.opcua.limits import Inner
from diffad_runtime.line.opcua.trusted import Answer, Trusted

_CHUNK: Final = 65535
_MESSAGE: Final = 1024 * 1024
_KINDS: Final = (b"HEL", b"OPN", b"MSG", b"CLO", b"ERR")
_FLUSH_S: Final = 0.3


def _request(name: str) -> ua.NodeId:
    return ua.NodeId(getattr(ua.ObjectIds, f"{name}Request_Encoding_DefaultBinary"))


_CREATE: Final = _request("CreateSession")
_ACTIVATE: Final = _request("ActivateSession")
_DISCOVERY: Final = frozenset({_request("GetEndpoints"), _request("FindServers"), _request("CloseSecureChannel")})
_NEVER: Final = frozenset({_request("RegisterServer"), _request("RegisterServer2")})


class Refused(Exception):  # noqa: N818  no error of ours
    """A channel that is not to be opened; its code is a status code of OPC UA."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class GuardedPolicy(SecurityPolicyFactory):
    """A policy with security, for clients whose certificate is trusted."""

    def __init__(self, plain: SecurityPolicyFactory, trusted: Trusted) -> None:
        super().__init__(plain.cls, plain.mode, plain.certificate, plain.private_key, plain.permission_ruleset)  # type: ignore[no-untyped-call]
        self._trusted = trusted

    def create(self, peer_certificate: bytes | None) -> Any:
        """For one client. Asked before a single byte of its message is decrypted."""
        own = first_certificate(peer_certificate or b"")
        if self._trusted.ask(own) is not Answer.TRUSTED:
            # OPC 10000-4, clause 6.1.3: the details are for our log, not for whoever was refused.
            raise Refused(ua.StatusCodes.BadSecurityChecksFailed)
        return super().create(own)  # type: ignore[no-untyped-call]


def first_certificate(chain: bytes) -> bytes:
    """The client's own certificate where its authorities follow: DER (X.690) says how long it is."""
    if len(chain) < 4 or chain[0] != 0x30:
        return chain
    more = chain[1] & 0x7F if chain[1] & 0x80 else 0
    length = int.from_bytes(chain[2 : 2 + more], "big") if more else chain[1]
    return chain[: 2 + more + length]


class _Processor(UaProcessor):
    """Answers the messages of one connection."""

    iserver: Inner
    unencrypted: bool = False

    async def process(self, header: Any, body: Any) -> bool:
        """Answer one; False ends the connection. Nothing that came over the wire raises."""
        try:
            return bool(await super().process(header, body))  # type: ignore[no-untyped-call]
        except Refused as refused:
            code = refused.code
        except Exception:
            code = ua.StatusCodes.BadCommunicationError
        error = ua.ErrorMessage(ua.StatusCode(code), None)
        self._transport.write(uatcp_to_binary(ua.MessageType.Error, error))
        return False

    async def _process_message(self, typeid: Any, requesthdr: Any, seqhdr: Any, body: Any) -> Any:
        if typeid in _NEVER:
            raise ServiceError(ua.StatusCodes.BadServiceUnsupported)
        encrypted = self._connection.security_policy.Mode == ua.MessageSecurityMode.SignAndEncrypt
        if not (encrypted or self.unencrypted or typeid in _DISCOVERY):
            raise ServiceError(ua.StatusCodes.BadSecurityPolicyRejected)
        if typeid == _CREATE:
            # asyncua knows one session a connection and would forget, not close, the one before.
            if self.session is not None:
                raise ServiceError(ua.StatusCodes.BadTooManySessions)
            await self.iserver.make_room()
        answer = await super()._process_message(typeid, requesthdr, seqhdr, body)  # type: ignore[no-untyped-call]
        if typeid == _ACTIVATE:  # its client has come back
            self.iserver.deserted = [one for one in self.iserver.deserted if one is not self.session]
        return answer

    async def close(self) -> None:
        """The connection is gone. A session with subscriptions waits for its client until its time is over."""
        await super().close()  # type: ignore[no-untyped-call]
        if self.session is not None and self.session.is_activated():
            self.iserver.deserted.append(self.session)


class _Connection(OPCUAProtocol):
    """One connection: bounded in what it may send and in how long it may be there for nothing."""

    unencrypted: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio sees to it for sockets that it makes itself. Without it an event waits 40 ms for the ACK of the answer
        # that was sent before.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)
        if self.processor is not None:
            processor = _Processor(self.iserver, self.transport, self.limits)
            processor.unencrypted = self.unencrypted
            processor.set_policies(self.policies)  # type: ignore[no-untyped-call]
            self.processor = processor

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # What is left is the beginning of a message. Whether it is one at all shows in its first bytes.
        rest = self._buffer
        known = any(kind.startswith(rest[:3]) for kind in _KINDS)
        if not known or (len(rest) >= 8 and int.from_bytes(rest[4:8], "little") > _CHUNK):
            self.abort()

    def pause_writing(self) -> None:
        """It does not read what it asked for: nothing more is taken from it until it does."""
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        if self.transport is not None:
            self.transport.resume_reading()

    def abort(self) -> None:
        """End it now, unsent bytes or not."""
        self._buffer = b""
        if self.transport is not None:
            self.transport.abort()

    async def _activation_watchdog(self) -> None:
        # asyncua looks once. A client that leaves its session and stays, or whose cable is cut, would stay for ever.
        with suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(self.iserver.max_pending_activation_seconds)
                session = self.processor.session if self.processor is not None else None
                if session is None or not session.is_activated():
                    self.abort()
                    return


class Listener(BinaryServer):
    """The port. Takes a socket that is bound already, and closes it."""

    def __init__(self, inner: Inner, listening: socket.socket, unencrypted: bool) -> None:
        limits = TransportLimits(_CHUNK, _CHUNK, max_chunk_count=_MESSAGE // _CHUNK + 1, max_message_size=_MESSAGE)
        host, port = listening.getsockname()[:2]
        super().__init__(inner, host, port, limits)
        self._listening, self._unencrypted = listening, unencrypted

    async def start(self) -> None:
        """Take clients."""
        self._server = await asyncio.get_running_loop().create_server(self._make_protocol, sock=self._listening)
        self.cleanup_task = asyncio.create_task(self._close_task_loop())

    def _make_protocol(self) -> OPCUAProtocol:
        made = _Connection(self.iserver, self._policies, self.clients, self.closing_tasks, self.limits)
        made.unencrypted = self._unencrypted
        return made

    async def stop(self) -> None:
        """Stop to listen; clients get what was written for them, within 0.3 s, and are gone."""
        if self._server is not None:
            self._server.close()
        for client in list(self.clients):
            if client.transport is not None:
                client.transport.close()
        for _ in range(10):
            if not self.clients:
                break
            await asyncio.sleep(_FLUSH_S / 10)
        for client in list(self.clients):
            if isinstance(client, _Connection):
                client.abort()
        await asyncio.sleep(0)
        await super().stop()


class GuardedServer(Server):
    """asyncua's server with the port, the policies and the bounds of this folder.

    Args:
        inner: behind the wire.
        trusted: certificates of clients that may come in.
        listening: a socket that is bound; closed with the server.
        unencrypted: clients without security may come in too.
    """

    iserver: Inner

    def __init__(self, inner: Inner, trusted: Trusted, listening: socket.socket, unencrypted: bool) -> None:
        super().__init__(iserver=inner)
        self._trusted, self._listening, self._unencrypted = trusted, listening, unencrypted

    async def start(self) -> None:
        """Take clients."""
        await self._setup_server_nodes()
        self._policies = [
            one if one.cls is SecurityPolicyNone else GuardedPolicy(one, self._trusted) for one in self._policies
        ]
        await self.iserver.start()
        self.bserver = Listener(self.iserver, self._listening, self._unencrypted)
        self.bserver.set_policies(self._policies)
        await self.bserver.start()

    async def stop(self) -> None:
        """Stop, within a second."""
        clock, self.iserver.time_task = self.iserver.time_task, None
        if clock is not None:
            clock.cancel()
            with suppress(asyncio.CancelledError):
                await clock
        if self.bserver is not None:
            await self.bserver.stop()
        for session in list(self.iserver._external_sessions.values()):
            await session.close_session(True)
        await self.iserver.stop()
