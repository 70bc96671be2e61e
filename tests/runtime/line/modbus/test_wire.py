"""Whatever may come over the socket: exceptions, junk, cables that were pulled, and clients that may not."""

import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffad_runtime.errors import MissingExtraError

MakeRig = Callable[..., Any]


@contextmanager
def _plug(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=2) as plug:
        yield plug


def _frame(pdu: bytes, unit: int = 1, transaction: int = 7) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def _answer(plug: socket.socket) -> tuple[int, bytes]:
    """Transaction and PDU of the next answer."""
    head = _exactly(plug, 7)
    transaction, protocol, length, _ = struct.unpack(">HHHB", head)
    assert protocol == 0
    return transaction, _exactly(plug, length - 1)


def _exactly(plug: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = plug.recv(size - len(data))
        assert part, "the server closed the connection"
        data += part
    return data


def _closed(plug: socket.socket) -> bool:
    try:
        while plug.recv(1000):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        ("03 0000 0000", 3),  # no registers
        ("03 0000 007e", 3),  # 126 of them
        ("04 006c 0001", 2),  # one beyond the map
        ("04 0000 006d", 2),
        ("04 ffff 0002", 2),
        ("03 0018 0001", 2),  # between the blocks
        ("03 00d0 0001", 2),
        ("01 0008 0001", 2),
        ("02 0000 0011", 2),
        ("06 0064 0001", 2),  # the mirror is read only
        ("06 0018 0001", 2),
        ("10 0017 0002 04 00000000", 2),
        ("10 0000 0001 04 00000000", 3),  # bytes do not fit the count
        ("10 0000 0002 04 000000", 3),
        ("05 0000 1234", 3),
        ("05 0008 ff00", 2),
        ("0f 0000 0009 02 ffff", 2),
        ("0f 0000 0002 02 ffff", 3),
        ("17 001c 0001 0001 0001 02 0005", 2),  # read is refused: nothing is written
        ("16 0064 ffff 0000", 2),
        ("07", 1),  # functions that are not there
        ("2b 0e 01 00", 1),
        ("08 0000 1234", 1),
        ("83 02", 1),
        ("00", 1),
        ("03", 3),
        ("03 0000", 3),
        ("03 0000 0001 00", 3),
    ],
)
def test_exceptions(rig: MakeRig, pdu: str, code: int) -> None:
    line = rig()
    request = bytes.fromhex(pdu)
    with _plug(line.adapter.port) as plug:
        plug.sendall(_frame(request))
        assert _answer(plug) == (7, bytes([request[0] & 0x7F | 0x80, code]))
    assert not line.desk.jobs


def test_units(rig: MakeRig) -> None:
    for setting, expected in ((17, {0: 4, 1: 0x84, 17: 4, 255: 4}), ("any", {0: 4, 1: 4, 17: 4, 255: 4})):
        line = rig(unit_id=setting)
        with _plug(line.adapter.port) as plug:
            for unit, function in expected.items():
                plug.sendall(_frame(b"\x04\0\0\0\1", unit))
                answer = _answer(plug)[1]
                assert answer[0] == function
                assert function == 4 or answer[1] == 0x0B


def test_several_requests_at_once_are_answered_in_order(rig: MakeRig) -> None:
    line = rig()
    with _plug(line.adapter.port) as plug:
        frames = [_frame(b"\x06" + struct.pack(">HH", 1, number), transaction=number) for number in range(1, 201)]
        plug.sendall(b"".join(frames))
        assert [_answer(plug)[0] for _ in frames] == list(range(1, 201))
    assert len(line.desk.jobs) == 200


def test_a_request_in_crumbs(rig: MakeRig) -> None:
    line = rig()
    with _plug(line.adapter.port) as plug:
        for crumb in _frame(b"\x06\0\x01\0\x09"):
            plug.sendall(bytes([crumb]))
            time.sleep(0.002)
        assert _answer(plug) == (7, b"\x06\0\x01\0\x09")
    assert len(line.desk.jobs) == 1


@pytest.mark.parametrize(
    "junk",
    [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 3000, struct.pack(">HHHB", 1, 0, 0, 1), struct.pack(">HHHB", 1, 0, 1, 1),
     struct.pack(">HHHB", 1, 0, 255, 1), struct.pack(">HHHB", 1, 1, 6, 1)],
)  # fmt: skip
def test_junk_sends_its_client_away_and_nobody_else(rig: MakeRig, junk: bytes) -> None:
    line = rig()
    client = line.client()
    with _plug(line.adapter.port) as plug:
        plug.sendall(junk)
        assert _closed(plug)
    assert line.block(client).trigger_ready
    assert line.adapter.status().details["malformed"] == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(st.one_of(st.binary(max_size=300), st.binary(min_size=1, max_size=253).map(_frame)), max_size=4))
def test_any_bytes(one_rig: Any, data: list[bytes]) -> None:
    """Whatever comes, the next client is served, and no request fails inside."""
    with _plug(one_rig.adapter.port) as plug:
        try:
            for part in data:
                plug.sendall(part)
            plug.shutdown(socket.SHUT_WR)
            assert _closed(plug)
        except OSError:  # it was sent away already
            pass
    with _plug(one_rig.adapter.port) as plug:
        plug.sendall(_frame(b"\x04\0\0\0\1"))
        assert _answer(plug)[1][:2] == b"\x04\x02"
    assert one_rig.adapter.status().faults == 0


@pytest.fixture(name="one_rig")
def _one_rig(rig: MakeRig) -> Any:
    return rig()


def test_clients_that_only_hang_there_make_room(rig: MakeRig) -> None:
    line = rig(clients=3)
    client = line.client()
    line.block(client)
    hanging = [socket.create_connection(("127.0.0.1", line.adapter.port), timeout=2) for _ in range(10)]
    for plug in hanging:
        plug.sendall(b"\0\1\0")  # half a header, and silence
        line.block(client)  # who asks for something stays
    end = time.monotonic() + 2
    while line.adapter.status().peers > 3 and time.monotonic() < end:
        time.sleep(0.01)
    assert line.adapter.status().peers <= 3
    line.block(client)
    line.block(line.client())  # a line of hangers-on keeps nobody out
    for plug in hanging:
        plug.close()


def test_clients_that_work_are_not_sent_away_for_another_one(rig: MakeRig) -> None:
    line = rig(clients=2)
    clients = [line.client(), line.client()]
    for client in clients:
        line.block(client)
    with _plug(line.adapter.port) as plug:
        assert _closed(plug)
    for client in clients:
        line.block(client)


def test_a_client_that_takes_no_answers_is_asked_nothing_more(rig: MakeRig) -> None:
    line = rig()
    client = line.client()
    server = line.adapter._server
    with socket.create_connection(("127.0.0.1", line.adapter.port), timeout=0.5) as plug:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plug.sendall(_frame(b"\x04\0\0\0\x01"))
        _answer(plug)
        for one in server._clients:  # otherwise the kernel takes megabytes of answers
            one._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        flood = _frame(b"\x04\0\0\0\x64") * 2_000_000  # 24 MB
        with pytest.raises(TimeoutError):
            plug.sendall(flood)
        # What it was not sent yet is bounded, and what it asks for beyond that stays in its socket.
        assert max(one._transport.get_write_buffer_size() for one in server._clients) < 100_000
        assert line.block(client).trigger_ready


def test_two_who_flood_do_not_hold_up_a_third(rig: MakeRig) -> None:
    line = rig()
    client = line.client()
    stop = threading.Event()

    def flood() -> None:
        with _plug(line.adapter.port) as plug:
            while not stop.is_set():
                plug.sendall(_frame(b"\x04\0\0\0\x64") * 100)
                for _ in range(100):
                    _answer(plug)

    floods = [threading.Thread(target=flood) for _ in range(2)]
    for one in floods:
        one.start()
    slowest = 0.0
    for _ in range(50):
        began = time.monotonic()
        line.block(client)
        slowest = max(slowest, time.monotonic() - began)
    stop.set()
    for one in floods:
        one.join(5)
    assert slowest < 0.5


def test_who_may_write(rig: MakeRig) -> None:
    line = rig(writers=["10.1.0.0/16", "::1"])
    client = line.client()
    for answer in (
        client.write_register(1, 1, device_id=1),
        client.write_coil(0, True, device_id=1),
        client.write_registers(8, [1, 2], device_id=1),
    ):
        assert answer.exception_code == 1
    assert line.block(client).trigger_ready  # reading is for everybody
    assert not line.desk.jobs
    assert line.adapter.status().details["writes_forbidden"] == 3
    allowed = rig(writers=["127.0.0.0/8"])
    assert not allowed.client().write_register(1, 1, device_id=1).isError()


def test_an_ipv4_client_of_an_ipv6_socket_is_known_by_its_address(rig: MakeRig) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    line = rig(host="::", writers=["127.0.0.1"])
    assert not line.client().write_register(1, 1, device_id=1).isError()


def test_pymodbus_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffad_runtime.line import modbus

    monkeypatch.delitem(sys.modules, "diffad_runtime.line.modbus.wire", raising=False)
    monkeypatch.delattr(modbus, "wire", raising=False)
    monkeypatch.setitem(sys.modules, "pymodbus.constants", None)
    with pytest.raises(MissingExtraError, match=r"pymodbus.*diffad-edge\[line\]"):
        modbus.ModbusAdapter(modbus.ModbusSettings(port=0)).start(None)  # type: ignore[arg-type]
