"""The thread that tells systemd: kicks while the run is well, and only then."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diffad_runtime.health.limits import Limits
from diffad_runtime.health.notify import Notifier
from diffad_runtime.health.watchdog import Watchdog, status_line
from diffad_runtime.result import SourceState
from diffad_runtime.snapshot import Snapshot

Snap = Callable[..., Snapshot]


class Systemd:
    """What arrived at its socket."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address)

    def heard(self, seconds: float) -> list[str]:
        end, messages = time.monotonic() + seconds, []
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                messages.append(self.socket.recv(4096).decode())
            except TimeoutError:
                break
        return messages


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    listening = Systemd(tmp_path)
    yield listening
    listening.socket.close()


def test_kicks_while_well_and_says_why_it_stops(
    snap: Snap,
    systemd: Systemd,
    caplog: pytest.LogCaptureFixture,
    events: Callable[[pytest.LogCaptureFixture], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("diffad_runtime",):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    now: list[Snapshot] = [snap()]
    with Watchdog(lambda: now[0], Notifier(systemd.address), interval_s=0.02) as watchdog:
        assert systemd.heard(0.3).count("WATCHDOG=1") >= 5
        now[0] = snap(state=SourceState.FAILED, detail="unplugged")
        systemd.heard(0.1)  # what was on its way
        messages = systemd.heard(0.3)
        assert messages
        assert "WATCHDOG=1" not in messages
        assert messages[0].startswith("STATUS=NOT WELL: the source has given up: unplugged; 100 judged")
        assert watchdog.reasons == ("the source has given up: unplugged",)
        now[0] = snap()
        systemd.heard(0.1)
        assert "WATCHDOG=1" in systemd.heard(0.2)
    assert events(caplog) == ["not_well", "well_again"]


def test_a_monitor_that_hangs_or_fails_starves_it(snap: Snap, systemd: Systemd) -> None:
    release = threading.Event()
    mood = ["well"]

    def take() -> Snapshot:
        if mood[0] == "hangs":
            release.wait(5)
        if mood[0] == "fails":
            raise RuntimeError("no more")
        return snap()

    watchdog = Watchdog(take, Notifier(systemd.address), interval_s=0.02)
    with watchdog:
        assert "WATCHDOG=1" in systemd.heard(0.2)
        mood[0] = "fails"
        systemd.heard(0.1)
        assert set(systemd.heard(0.2)) == {"STATUS=no snapshot of the run: RuntimeError: no more"}
        mood[0] = "hangs"
        systemd.heard(0.1)
        assert systemd.heard(0.2) == []
        begun = time.monotonic()
        watchdog.close()
        watchdog.close()
        assert time.monotonic() - begun < 2.5  # it was left behind, hanging
        release.set()
    assert "WATCHDOG=1" not in systemd.heard(0.2)


def test_the_interval_is_a_part_of_what_systemd_waits(snap: Snap, monkeypatch: pytest.MonkeyPatch) -> None:
    notifier = Notifier("")
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert Watchdog(snap, notifier).interval_s == 5.0
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    assert Watchdog(snap, notifier).interval_s == 0.5
    monkeypatch.setenv("WATCHDOG_USEC", "600000000")
    assert Watchdog(snap, notifier).interval_s == 5.0
    Watchdog(snap, notifier).close()  # never entered


def test_limits_are_those_given(snap: Snap, systemd: Systemd) -> None:
    away = snap(state=SourceState.STALLED, last_frame=900.0, last_verdict=900.1)
    with Watchdog(lambda: away, Notifier(systemd.address), Limits(camera_away_s=50), 0.02):
        assert "WATCHDOG=1" not in systemd.heard(0.2)
    systemd.heard(0.05)
    with Watchdog(lambda: away, Notifier(systemd.address), Limits(camera_away_s=500), 0.02):
        assert "WATCHDOG=1" in systemd.heard(0.2)


def test_status_line(snap: Snap) -> None:
    assert status_line(snap(setup_faults=("SETUP: dirt: a spot",))) == (
        "100 judged, 8 NG, 2 ERROR; 3 dropped; camera streaming; sink masks: disk full; SETUP: dirt: a spot"
    )
