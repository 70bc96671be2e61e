"""Junk on the port, floods, and clients that take more than their share."""

import asyncio
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

asyncua = pytest.importorskip("asyncua", reason="needs the extra [line]: asyncua")
import psutil  # noqa: E402
from asyncua import ua  # noqa: E402

HELLO = struct.pack("<3scIIIIII", b"HEL", b"F", 32, 0, 65535, 65535, 0, 0) + struct.pack("<i", -1)


@pytest.fixture(scope="module")
def small(start: Callable[..., Any]) -> Iterator[Any]:
    """A server with narrow bounds."""
    line = start(sessions=2, subscriptions=3, items=5, session_timeout_s=1.0)
    yield line
    line.adapter.close()


def knock(port: int, data: bytes, *, seconds: float = 3.0) -> bytes:
    """Send, and read until the server ends it. Fails where it does not."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as wire:
        got = b""
        try:
            wire.sendall(data)
            while piece := wire.recv(65536):
                got += piece
        except (ConnectionResetError, BrokenPipeError):
            pass
        return got


def alive(line: Any, folder: Path, run: Any, connected: Any, own: Any) -> int:
    """How many faults there were so far; a client can come in."""

    async def work() -> None:
        async with connected(line, folder) as client:
            assert await own(client, "Line.Ready").read_value() is True

    run(work())
    return int(line.adapter.status().faults)


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HELF\xff\xff\xff\xff",
        b"HELF\x00\x00\x00\x00",
        b"HELF\x08\x00\x00\x00",
        HELLO[:4] + struct.pack("<I", 9) + b"x",
        HELLO + b"MSGF\xff\xff\xff\x7f\x00\x00\x00\x00",
        HELLO + b"OPNF" + struct.pack("<II", 24, 0) + bytes(12),
        HELLO + b"OPNF" + struct.pack("<II", 40, 0) + struct.pack("<i", 2**31 - 1) + bytes(24),
        HELLO + b"MSGF" + struct.pack("<II", 24, 0) + bytes(12),
        HELLO + b"MSGC" + struct.pack("<II", 24, 0) + bytes(12) + b"junk",
        HELLO + b"CLOF" + struct.pack("<II", 24, 0) + bytes(12),
        HELLO + b"ERRF" + struct.pack("<I", 16) + bytes(8) + b"????",
    ],
)
def test_junk_ends_its_connection(line: Any, junk: bytes) -> None:
    before = line.adapter.status().faults
    knock(line.adapter.port, junk)
    assert line.adapter.status().faults == before


def test_hundreds_of_strangers(line: Any, client_folder: Path, run: Any, connected: Any, own: Any) -> None:
    """Random bytes, with and without a proper beginning: the server neither falls nor grows."""
    chance = random.Random(8)
    faults = alive(line, client_folder, run, connected, own)
    process = psutil.Process()
    for number in range(400):
        if number == 100:
            before = process.memory_info().rss, process.num_fds()
        junk = chance.randbytes(chance.randrange(1, 3000))
        start = (b"", HELLO, HELLO + b"MSGF", HELLO + b"OPNF", b"HELF", HELLO + b"MSGC" + struct.pack("<II", 24, 0))
        with socket.create_connection(("127.0.0.1", line.adapter.port), timeout=3) as wire:
            wire.sendall(chance.choice(start) + junk)
    assert alive(line, client_folder, run, connected, own) == faults
    for _ in range(50):  # the last of them are on their way out
        if process.num_fds() <= before[1] + 5:
            break
        time.sleep(0.1)
    assert process.num_fds() <= before[1] + 5
    assert process.memory_info().rss - before[0] < 10 * 2**20


def test_silence_is_ended(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small.adapter._life._inner, "max_pending_activation_seconds", 0.3)
    for beginning in (b"", HELLO, HELLO[:10], HELLO + b"MSGF" + struct.pack("<II", 60000, 0)):
        began = time.monotonic()
        knock(small.adapter.port, beginning)
        assert time.monotonic() - began < 2


def test_more_connections_than_there_may_be_are_ended(small: Any) -> None:
    wires = []
    try:
        for _ in range(30):
            wires.append(socket.create_connection(("127.0.0.1", small.adapter.port), timeout=3))
        ended = 0
        for wire in wires:
            wire.settimeout(0.05)
            try:
                ended += wire.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionResetError:
                ended += 1
        assert ended == 30 - (2 * 2 + 20)
    finally:
        for wire in wires:
            wire.close()


def get_endpoints() -> bytes:
    """A message that everybody may send, with an answer many times as large: OpenSecureChannel is not even needed."""
    header = ua.RequestHeader()
    request = ua.GetEndpointsRequest(RequestHeader=header)
    request.Parameters.EndpointUrl = "opc.tcp://127.0.0.1:1"
    return ua.ua_binary.struct_to_binary(request)


def test_who_asks_and_does_not_read_is_not_kept_answers_for(line: Any) -> None:
    body, most = get_endpoints(), 6000  # answers of 10 MB in all
    with socket.create_connection(("127.0.0.1", line.adapter.port), timeout=3) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.sendall(HELLO)
        assert wire.recv(28)[:3] == b"ACK"
        wire.settimeout(1.0)
        sent = 0
        with suppress(TimeoutError, ConnectionError):
            for number in range(1, most):
                message = struct.pack("<III", 0, number, number) + body
                wire.sendall(b"MSGF" + struct.pack("<II", 12 + len(message), 0) + message)
                sent += 1
                if sent % 20 == 0:  # more than 100 that wait end the connection, which is not what is tried here
                    time.sleep(0.01)
        time.sleep(0.5)
        kept = [one.get_write_buffer_size() for one in line.adapter._life._inner.asyncio_transports]
        assert max(kept, default=0) < 2**20
        assert sent > 10


def test_sessions_are_counted(small: Any, client_folder: Path, run: Any, connected: Any, own: Any) -> None:
    async def work() -> None:
        async with connected(small, client_folder), connected(small, client_folder):
            with pytest.raises(ua.UaStatusCodeError) as told:
                async with connected(small, client_folder):
                    pytest.fail("came in")
            assert told.value.code == ua.StatusCodes.BadTooManySessions
        async with connected(small, client_folder) as client:
            assert await own(client, "Line.Ready").read_value() is True

    run(work())


def test_one_session_a_connection(small: Any, client_folder: Path, run: Any, connected: Any) -> None:
    async def work() -> None:
        async with connected(small, client_folder) as client:
            with pytest.raises(ua.UaStatusCodeError) as told:
                await client.uaclient.create_session(ua.CreateSessionParameters())
            assert told.value.code == ua.StatusCodes.BadTooManySessions

    run(work())
    for _ in range(100):  # the client is gone before the server has seen it
        if small.adapter.status().peers == 0:
            break
        time.sleep(0.02)
    assert small.adapter.status().peers == 0


def test_a_client_that_was_cut_off_gives_its_place_up(
    small: Any, client_folder: Path, run: Any, connected: Any, own: Any
) -> None:
    """Sessions with subscriptions wait for their clients, but not at the cost of others."""

    async def cut() -> None:
        async with connected(small, client_folder) as client:
            await client.create_subscription(100, None)
            client.uaclient.protocol.transport.abort()
            await asyncio.sleep(0.1)

    async def work() -> None:
        for _ in range(4):
            with suppress(ConnectionError, ua.UaError):
                await cut()
        assert small.adapter.status().peers <= 2
        async with connected(small, client_folder) as client:
            assert await own(client, "Line.Ready").read_value() is True

    run(work())


def test_a_client_that_comes_back_keeps_its_session(
    small: Any, client_folder: Path, run: Any, connected: Any, prepared: Any, own: Any
) -> None:
    """The way back of OPC 10000-4, clause 6.7: a new channel, the session of before, its place no longer given away."""

    async def work() -> None:
        first = await prepared(small, client_folder)
        await first.connect()
        await first.create_subscription(100, Silent())
        token, nonce = first.uaclient.session.authentication_token, first._server_nonce
        first.uaclient.protocol.transport.abort()
        await asyncio.sleep(0.2)
        second = await prepared(small, client_folder)
        await second.connect_socket()
        await second.send_hello()
        await second.open_secure_channel()
        second.uaclient.session.restore_authentication_token(token)
        second._server_nonce = nonce
        await second.activate_session(certificate=second.user_certificate)
        assert await own(second, "Line.Ready").read_value() is True
        async with connected(small, client_folder):
            with pytest.raises(ua.UaStatusCodeError) as told:
                async with connected(small, client_folder):
                    pytest.fail("came in")
            assert told.value.code == ua.StatusCodes.BadTooManySessions
        assert await own(second, "Line.Ready").read_value() is True
        await second.disconnect()
        with suppress(ConnectionError, ua.UaError):
            await first.disconnect()

    run(work())


def test_subscriptions_and_items_are_counted(
    small: Any, client_folder: Path, run: Any, connected: Any, own: Any
) -> None:
    async def work() -> None:
        async with connected(small, client_folder) as client:
            made = [await client.create_subscription(500, Silent()) for _ in range(3)]
            with pytest.raises(ua.UaStatusCodeError) as told:
                await client.create_subscription(500, Silent())
            assert told.value.code == ua.StatusCodes.BadTooManySubscriptions
            await made[0].subscribe_data_change([own(client, "Line.Ready")] * 5)
            with pytest.raises(ua.UaStatusCodeError) as told:
                await made[0].subscribe_data_change(own(client, "Line.Ready"))
            assert told.value.code == ua.StatusCodes.BadTooManyMonitoredItems

    run(work())


class Silent:
    def datachange_notification(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(("wanted", "granted"), [(0.0, 10.0), (-5.0, 10.0), (1.0, 10.0), (250.0, 250.0), (1e12, 6e4)])
def test_intervals_are_bearable(
    line: Any, client_folder: Path, run: Any, connected: Any, wanted: float, granted: float
) -> None:
    async def work() -> None:
        async with connected(line, client_folder) as client:
            params = ua.CreateSubscriptionParameters(
                RequestedPublishingInterval=wanted, RequestedLifetimeCount=2**31, RequestedMaxKeepAliveCount=2**31
            )
            result = await client.uaclient.create_subscription(params, lambda _: None)
            assert result.RevisedPublishingInterval == granted
            assert result.RevisedLifetimeCount <= 3000

    run(work())


def test_session_tokens_cannot_be_guessed(line: Any, client_folder: Path, run: Any, connected: Any) -> None:
    async def work() -> None:
        tokens = []
        for _ in range(2):
            async with connected(line, client_folder) as client:
                tokens.append(client.uaclient.protocol.authentication_token)
        assert all(token.NodeIdType is ua.NodeIdType.ByteString and len(token.Identifier) == 32 for token in tokens)
        assert tokens[0] != tokens[1]

    run(work())


def test_answers_do_not_wait_for_each_other(line: Any, client_folder: Path, run: Any, connected: Any) -> None:
    """Nagle's algorithm and a late ACK would hold an event back for 40 ms."""

    async def work() -> None:
        async with connected(line, client_folder):
            wires = [one.get_extra_info("socket") for one in line.adapter._life._inner.asyncio_transports]
            assert wires
            assert all(wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for wire in wires)

    run(work())
