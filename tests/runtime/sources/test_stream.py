"""Network streams over real sockets: HTTP with single JPEGs and with H.264, that stall, end, or come damaged."""

import io
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from diffad_runtime.errors import MissingExtraError, SourceError
from diffad_runtime.result import SourceState
from diffad_runtime.sources import Limits, Source, open_source
from diffad_runtime.sources.camera import CameraSource
from diffad_runtime.sources.stream import StreamSource

av = pytest.importorskip("av", reason="PyAV is not installed")

Array = npt.NDArray[Any]
SIDE = 64
FAST = Limits(stall_s=0.4, reopen_s=0.3, frozen_s=0.5, backoff_s=0.02, backoff_cap_s=0.1)


class Camera:
    """An HTTP server whose pictures a test controls. `pieces` gives the bytes of one connection."""

    def __init__(self, pieces: "Pieces", kind: str) -> None:
        self.connections = 0
        self.over = threading.Event()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.connections += 1
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.end_headers()
                try:
                    for piece in pieces(camera):
                        self.wfile.write(piece)
                except OSError:  # the reader went away
                    return

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        self.uri = f"http://me:secret@127.0.0.1:{self.server.server_address[1]}/stream"

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


Pieces = Callable[[Camera], Iterator[bytes]]


@pytest.fixture
def camera() -> Iterator[Callable[..., Camera]]:
    made: list[Camera] = []

    def make(
        pieces: Callable[[Camera], Iterator[bytes]], kind: str = "multipart/x-mixed-replace; boundary=b"
    ) -> Camera:
        made.append(Camera(pieces, kind))
        return made[-1]

    yield make
    for one in made:
        one.close()


def _picture(number: int) -> Array:
    """Its mean tells the number; the noise fills the JPEG with data that can be damaged."""
    noise = np.random.default_rng(number).integers(-20, 21, (SIDE, SIDE, 1))
    return np.clip(np.full((SIDE, SIDE, 3), 40 + 8 * (number % 20)) + noise, 0, 255).astype(np.uint8)


def _number(image: Array) -> int:
    return round((float(image.mean()) - 40) / 8)


def _jpeg(number: int) -> bytes:
    return cv2.imencode(".jpg", _picture(number))[1].tobytes()


def _part(data: bytes) -> bytes:
    return b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) + data + b"\r\n"


def _good(camera: Camera, count: int = 10**9, pause: float = 0.02) -> Iterator[bytes]:
    for number in range(count):
        yield _part(_jpeg(number))
        if camera.over.wait(pause):
            return


def _soon(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds
        time.sleep(0.005)
    return time.monotonic() - start


def test_the_first_frame_comes_at_once(camera: Callable[..., Camera], capfd: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    with open_source(camera(_good).uri) as source:
        frame = next(source)
        assert time.monotonic() - start < 2
        assert source.live
        assert frame.image.shape == (SIDE, SIDE, 3)
        assert frame.image.flags.owndata or frame.image.flags.writeable
        assert "secret" not in source.uri
    assert capfd.readouterr().err == ""


def _silent_after_five(camera: Camera) -> Iterator[bytes]:
    yield from _good(camera, 5)
    if camera.connections == 1:
        camera.over.wait(20)
    yield from _good(camera)


def test_a_camera_that_keeps_its_socket_and_sends_nothing_is_a_stall(camera: Callable[..., Camera]) -> None:
    with open_source(camera(_silent_after_five).uri, limits=FAST) as source:
        next(source)
        assert FAST.stall_s - 0.1 < _soon(lambda: source.status().state is SourceState.STALLED) < FAST.stall_s + 0.6
        _soon(lambda: source.status().state is SourceState.STREAMING)
        status = source.status()
        assert (status.stalls, status.reconnects) == (1, 1)
        start = time.monotonic()
    assert time.monotonic() - start < 2


def test_a_camera_that_ends_its_stream_is_opened_again(camera: Callable[..., Camera]) -> None:
    with open_source(camera(lambda one: _good(one, 8)).uri, limits=FAST) as source:
        ids = [frame.frame_id for frame, _ in zip(source, range(30), strict=False)]
        assert ids == sorted(set(ids))
        assert source.status().reconnects >= 2
        assert any("broke off" in line or "ended" in line for line in source.problems)


def _frozen(camera: Camera) -> Iterator[bytes]:
    while not camera.over.wait(0.02):
        yield _part(_jpeg(3))


def test_a_camera_that_repeats_its_picture_is_found_out(camera: Callable[..., Camera]) -> None:
    with open_source(camera(_frozen).uri, limits=FAST) as source:
        next(source)
        _soon(lambda: source.status().frozen == 1, 1.5)
        assert next(source).source_state is SourceState.STALLED


def _damaged(camera: Camera) -> Iterator[bytes]:
    for number in range(10**9):
        data = _jpeg(number)
        half = len(data) // 2
        if number % 20 == 5:
            data = data[: len(data) * 3 // 4] + b"\xff\xd9"  # cut, but for a right end
        elif number % 20 == 8:
            data = data[:half]
        elif number % 20 == 11:
            data = b"\0garbage" * 50
        yield _part(data)
        if camera.over.wait(0.01):
            return


def test_damaged_pictures_are_counted_and_never_shown(
    camera: Callable[..., Camera], capfd: pytest.CaptureFixture[str]
) -> None:
    with StreamSource(camera(_damaged).uri) as source:
        numbers = [_number(next(source).image) for _ in range(51)]
        rejected = source.status().rejected
    assert numbers == [number % 20 for number in range(60) if number % 20 not in (5, 8, 11)]
    assert 8 <= rejected <= 9
    assert capfd.readouterr().err == ""


def _h264(count: int, key: int) -> list[bytes]:
    """Access units of a stream in which something moves, one key frame in `key`, no B frames."""
    file = io.BytesIO()
    with av.open(file, "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.options = {"tune": "zerolatency", "g": str(key), "preset": "ultrafast", "sc_threshold": "0", "crf": "20"}
        wide = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (240, 1000, 3), dtype=np.uint8), (0, 0), 2)
        wide = cv2.normalize(wide, None, 0, 255, cv2.NORM_MINMAX)
        units = []
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(wide[:, 7 * index : 7 * index + 320]), "bgr24")
            units += [bytes(packet) for packet in stream.encode(frame)]
        return units + [bytes(packet) for packet in stream.encode()]


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_what_a_damaged_picture_spoils_is_not_shown_up_to_the_next_key_frame(
    camera: Callable[..., Camera], damage: str
) -> None:
    units = _h264(60, key=20)
    clean = [frame.to_ndarray(format="bgr24") for frame in av.open(io.BytesIO(b"".join(units)), format="h264").decode()]
    assert len(clean) == 60
    hit = units[25]
    half = len(hit) // 2
    units[25] = hit[:half] + (bytes(byte ^ 0x5A for byte in hit[half:]) if damage == "flip" else b"")

    def serve(one: Camera) -> Iterator[bytes]:
        for unit in units:
            yield unit
            one.over.wait(0.002)

    with StreamSource(camera(serve, "video/h264").uri) as source:
        shown = []
        with pytest.raises(SourceError, match="stopped after 45 frames: the connection broke off"):
            shown.extend(frame.image for frame in source)
    expected = clean[:25] + clean[40:]
    assert len(shown) == len(expected)
    assert all(np.array_equal(one, two) for one, two in zip(shown, expected, strict=True))
    # Without that care most of what follows the damage is shown, spoilt, and nobody is told.
    naive = []
    reader = av.CodecContext.create("h264", "r")
    for unit in units[20:40]:
        with suppress(av.FFmpegError):
            naive += [frame for frame in reader.decode(av.Packet(unit)) if not frame.is_corrupt]
    spoilt = sum(not any(np.array_equal(frame.to_ndarray(format="bgr24"), one) for one in clean) for frame in naive)
    assert spoilt > 8


def test_no_stream_no_video_and_a_silent_camera(
    camera: Callable[..., Camera], capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = camera(lambda _: iter([b"<html>no camera</html>" * 50_000] * 10), "text/html")
    for uri, pattern in (
        (f"rtsp://admin:secret@127.0.0.1:{port}/live", "nothing listens at that port"),
        (f"http://admin:secret@127.0.0.1:{port}/x.mjpg?pwd=secret", "nothing listens at that port"),
        (text.uri, "no video stream"),
    ):
        with pytest.raises(SourceError, match=pattern) as caught:
            open_source(uri)
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)
    for scheme in ("rtsp", "http"):
        with socket.create_server(("127.0.0.1", 0)) as mute:
            start = time.monotonic()
            with pytest.raises(SourceError, match=r"within 0\.5 s"):
                StreamSource(f"{scheme}://me:secret@127.0.0.1:{mute.getsockname()[1]}/live", open_timeout_s=0.5)
            assert time.monotonic() - start < 2
    assert capfd.readouterr().err == ""


def test_a_read_ends_after_its_timeout(camera: Callable[..., Camera]) -> None:
    with StreamSource(camera(_silent_after_five).uri, read_timeout_s=0.4) as source:
        start = time.monotonic()
        with pytest.raises(SourceError, match=r"stopped after [345] frames: it is silent"):
            list(source)
        assert time.monotonic() - start < 3


def test_without_pyav_opencv_reads_it_and_says_what_is_lost(
    camera: Callable[..., Camera], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"diffad-edge\[video\]"):
        StreamSource("rtsp://127.0.0.1:1/x")
    with open_source(camera(_good).uri, supervise=False) as source:
        assert isinstance(source, CameraSource)
        assert next(source).image.shape == (SIDE, SIDE, 3)
        assert "cannot be told from good ones" in source.problems[0]
    with open_source(camera(lambda one: _good(one, 40)).uri, limits=FAST) as watched:
        _soon(lambda: watched.status().reconnects >= 1)
        assert next(watched).image.shape == (SIDE, SIDE, 3)


def test_opencv_alone_takes_a_loss_for_an_error(camera: Callable[..., Camera]) -> None:
    uri = camera(lambda one: _good(one, 20)).uri
    with CameraSource.network(uri) as source:
        assert next(source).image.shape == (SIDE, SIDE, 3)
        with pytest.raises(SourceError, match=r"stopped after \d+ frames"):
            list(source)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        start = time.monotonic()
        with pytest.raises(SourceError, match=r"within 0\.5 s"):
            CameraSource.network(f"rtsp://127.0.0.1:{mute.getsockname()[1]}/live", open_timeout_ms=500)
        assert time.monotonic() - start < 5


def test_both_backends_give_the_same_pixels(camera: Callable[..., Camera]) -> None:
    def first(source: Source) -> Array:
        with source:
            return next(frame.image for frame in source if _number(frame.image) == 4)

    uri = camera(_good).uri
    assert np.array_equal(first(StreamSource(uri)), first(CameraSource.network(uri)))
