"""systemd's side is played by a real datagram socket."""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffad_runtime.health.notify import Notifier, watchdog_interval_s


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@diffad-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind("\0" + address[1:] if address.startswith("@") else address)
        receiving.settimeout(2)
        yield address, receiving


def test_every_message(systemd: tuple[str, socket.socket]) -> None:
    address, receiving = systemd
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    for send, message in (
        (lambda: notifier.ready("camera 0"), "READY=1\nSTATUS=camera 0"),
        (notifier.ready, "READY=1"),
        (notifier.watchdog, "WATCHDOG=1"),
        (lambda: notifier.status("10 judged\nREADY=1"), "STATUS=10 judged READY=1"),
        (notifier.stopping, "STOPPING=1"),
        (lambda: notifier.extend_start(1.5), "EXTEND_TIMEOUT_USEC=1500000"),
    ):
        assert send()
        assert receiving.recv(4096).decode() == message
    assert notifier.reloading()
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", receiving.recv(4096).decode())
    assert notifier.status("x" * 100_000)
    assert len(receiving.recv(200_000)) == 2048


def test_without_systemd_nothing_happens(tmp_path: Path) -> None:
    for variables in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}):
        assert not Notifier.from_environment(variables).ready("x")
    assert not Notifier(str(tmp_path / "nobody")).watchdog()
    assert not Notifier("/" + "x" * 200).watchdog()  # longer than an address may be
    assert not Notifier("/a\0b").watchdog()


def test_a_socket_that_nobody_empties_makes_nobody_wait(systemd: tuple[str, socket.socket]) -> None:
    notifier = Notifier(systemd[0])
    sent = [notifier.watchdog() for _ in range(2000)]
    assert sent[0]
    assert not sent[-1]


def test_how_long_systemd_waits() -> None:
    own = str(os.getpid())
    assert watchdog_interval_s({}) is None
    assert watchdog_interval_s({"WATCHDOG_USEC": "3000000"}) == 3.0
    assert watchdog_interval_s({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": own}) == 3.0
    assert watchdog_interval_s({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}) is None
    assert watchdog_interval_s({"WATCHDOG_USEC": "0"}) is None
    assert watchdog_interval_s({"WATCHDOG_USEC": "soon"}) is None
