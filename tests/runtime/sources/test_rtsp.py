"""RTSP over loopback, from a real server that is killed, restarted and held: what a lost camera comes to."""

import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from rtspsim import RtspServer, made_at, why_missing

from diffad_runtime.errors import SourceError
from diffad_runtime.result import SourceState
from diffad_runtime.sources import Limits, open_source

pytest.importorskip("av", reason="PyAV is not installed")
pytestmark = pytest.mark.skipif(bool(why_missing()), reason=why_missing() or "there is one")


@pytest.fixture
def server() -> Iterator[RtspServer]:
    with RtspServer(login=("admin", "secret")) as server:
        yield server


def _soon(condition: Callable[[], bool], seconds: float) -> float:
    """How long it took; fails where it did not come about."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds
        time.sleep(0.01)
    return time.monotonic() - start


def test_frames_come_soon_and_are_stamped_with_their_capture(server: RtspServer) -> None:
    start = time.monotonic()
    with open_source(server.uri) as source:
        ages, errors = [], []
        for index, frame in enumerate(source):
            now = time.monotonic()
            if index == 0:
                assert now - start < 2
            made = made_at(frame.image, now)
            ages.append(now - made)
            errors.append(frame.t_monotonic - made)
            if index == 40:
                break
        assert source.fps_hint == 25
        assert "secret" not in source.uri
    # One frame stays back in FFMPEG's parser; every decoder thread more would keep back another.
    assert sorted(ages)[20] < 0.12
    assert sorted(errors)[35] - sorted(errors)[5] < 0.03  # the constant part of the delay cannot be known


def test_killed_and_restarted_the_stream_resumes_and_nothing_grows(
    server: RtspServer, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_source(server.uri) as source:
        next(source)
        held: list[tuple[int, int]] = []
        for turn in range(3):
            server.kill()
            lost = _soon(lambda: source.status().state is not SourceState.STREAMING, 2.5)
            assert lost < 2
            time.sleep(0.5 * turn)
            back = server.start()
            _soon(lambda: source.status().state is SourceState.STREAMING, 3)
            assert time.monotonic() - back < 3
            newer = next(frame for frame in source if frame.t_monotonic > back)
            assert newer.source_state is SourceState.STREAMING
            _soon(lambda: source.left_behind == 0, 2)  # type: ignore[attr-defined]
            held.append((threading.active_count(), len(os.listdir("/proc/self/fd"))))  # noqa: PTH208
        assert source.status().reconnects == 3
        assert held[-1][0] <= held[0][0]
        assert held[-1][1] <= held[0][1]
        assert "secret" not in " ".join(source.problems)
    assert "secret" not in capfd.readouterr().err


def test_a_server_that_goes_silent_is_a_stall_within_its_limit(server: RtspServer) -> None:
    with open_source(server.uri, limits=Limits(stall_s=0.5, reopen_s=0.5)) as source:
        next(source)
        server.pause()
        assert _soon(lambda: source.status().state is SourceState.STALLED, 2) < 1
        _soon(lambda: source.status().state is SourceState.CONNECTING, 2)
        server.resume()
        _soon(lambda: source.status().state is SourceState.STREAMING, 3)
        server.pause()
        _soon(lambda: source.status().state is SourceState.STALLED, 2)
        start = time.monotonic()
        source.close()
        assert time.monotonic() - start < 2
        server.resume()


def test_why_it_does_not_open_is_told(server: RtspServer) -> None:
    for uri, pattern in (
        (server.uri.replace("secret", "hidden"), r"\(401\)\. Put them into the URI"),
        (server.uri.replace("/live", "/dead"), r"\(404\)\. Check the path"),
        (f"{server.uri}?transport=sctp", "'sctp', expected one of tcp, udp"),
    ):
        with pytest.raises(SourceError, match=pattern) as caught:
            open_source(uri)
        assert not {"secret", "hidden"} & set(str(caught.value).replace("@", ":").split(":"))


def test_over_udp(server: RtspServer) -> None:
    with open_source(f"{server.uri}?transport=udp") as source:
        assert next(source).image.shape == (240, 320, 3)
