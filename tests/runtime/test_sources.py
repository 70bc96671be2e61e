"""Sources: what opens, in which order frames come, what is refused and how it is said."""

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from diffad_runtime.errors import DataError, ImageError, InputError, SourceError
from diffad_runtime.imagefile import write_png
from diffad_runtime.sources import Source, open_source
from diffad_runtime.sources.base import Shot
from diffad_runtime.sources.camera import CameraSource, without_password
from diffad_runtime.synthetic import LineConfig, SyntheticLine

Array = npt.NDArray[Any]


def _grey(level: int, side: int = 32) -> Array:
    return np.full((side, side, 3), level, np.uint8)


def _levels(source: Source, limit: int = 1000) -> list[int]:
    """Mean grey of each frame, rounded to the nearest 20."""
    return [round(float(frame.image.mean()) / 20) * 20 for frame, _ in zip(source, range(limit), strict=False)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "bilder é"
    for number, name in enumerate(["b.png", "a.png", "sub/a.png"]):
        write_png(root / name, _grey(20 * number))
    (root / "aa_text.png").write_text("no picture")
    (root / "zero.png").write_bytes(b"")
    return root


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    for level in (0, 60, 120, 180, 240):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize("form", ["{}", "dir://{}"])
def test_folder_gives_every_readable_image_in_order_and_names_the_others(folder: Path, form: str) -> None:
    with open_source(form.format(folder)) as source:
        frames = list(source)
    assert [frame.name for frame in frames] == ["a.png", "b.png", "sub/a.png"]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [20, 0, 40]
    assert [frame.frame_id for frame in frames] == [0, 1, 2]
    assert not source.live
    assert len(source.problems) == 2
    assert "aa_text.png" in source.problems[0]
    assert "zero.png" in source.problems[1]


def test_stamps_grow_and_are_utc(folder: Path) -> None:
    before = time.monotonic()
    frames = list(open_source(str(folder)))
    stamps = [frame.t_monotonic for frame in frames]
    assert before <= stamps[0]
    assert stamps == sorted(stamps)
    assert all(frame.t_capture.utcoffset() == timedelta(0) for frame in frames)


def test_looping_folder_repeats_and_tells_a_problem_once(folder: Path) -> None:
    with open_source(str(folder), loop=True) as source:
        assert _levels(source, 7) == [20, 0, 40, 20, 0, 40, 20]
        assert len(source.problems) == 2


def test_percent_signs_in_uris(tmp_path: Path) -> None:
    write_png(tmp_path / "my parts" / "a.png", _grey(100))
    write_png(tmp_path / "100%20x" / "a.png", _grey(200))
    assert _levels(open_source(f"dir://{tmp_path}/my%20parts")) == [100]
    assert _levels(open_source(f"dir://{tmp_path}/100%20x")) == [200]


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_clip_gives_every_frame(clip: Path, form: str) -> None:
    with open_source(form.format(clip)) as source:
        assert source.fps_hint == pytest.approx(25)
        assert not source.live
        assert _levels(source) == [0, 60, 120, 180, 240]
        assert list(source) == []
    assert source.problems == []


def test_looping_clip(clip: Path) -> None:
    with open_source(str(clip), loop=True) as source:
        assert _levels(source, 7) == [0, 60, 120, 180, 240, 0, 60]


def test_clip_that_stops_early_is_told(clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(20):
        writer.write(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    writer.release()
    data = clip.read_bytes()
    clip.write_bytes(data[: int(len(data) * 0.6)])
    with open_source(str(clip)) as source:
        got = len(list(source))
    assert 5 <= got < 16
    assert f"stopped after {got} of the 20" in source.problems[0]
    assert capfd.readouterr().err == ""


def test_cut_off_mp4_without_its_index(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (64, 48))
    for level in range(0, 250, 10):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    with open_source(str(path)) as source:
        assert len(list(source)) == 25
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"moov") - 4])
    with pytest.raises(SourceError, match=r"cut\.mp4 .* cannot be opened as a video"):
        open_source(str(path))
    assert capfd.readouterr().err == ""


def test_single_image(folder: Path) -> None:
    assert [frame.name for frame in open_source(f"file://{folder}/b.png")] == ["b.png"]
    with open_source(f"{folder}/b.png", loop=True) as source:
        assert next(source).image is not next(source).image
    with pytest.raises(ImageError, match=r"aa_text\.png"):
        open_source(f"{folder}/aa_text.png")


def test_what_cannot_be_opened_says_why_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_text("no")
    (tmp_path / "text.mp4").write_text("this is not a video")
    (tmp_path / "zero.mp4").write_bytes(b"")
    cases: list[tuple[str, type[InputError], str]] = [
        ("", SourceError, "neither a file"),
        ("nowhere", SourceError, "'nowhere' is neither a file"),
        (f"dir://{tmp_path}/absent", SourceError, "there is no .*absent"),
        ("dir://", SourceError, "there is no path"),
        (f"dir://{tmp_path}/text.mp4", SourceError, "expected a folder.* Use file://"),
        (f"file://{tmp_path}/empty", SourceError, "expected a file.* Use dir://"),
        (f"dir://{tmp_path}/empty", DataError, "no image files"),
        (f"dir://{tmp_path}/bad", SourceError, r"none of the 1 image files .*a\.png"),
        (f"file://{tmp_path}/text.mp4", SourceError, r"text\.mp4 \(19 bytes\) cannot be opened as a video"),
        (f"{tmp_path}/zero.mp4", SourceError, r"zero\.mp4 \(0 bytes\)"),
        ("ftp://host/x", SourceError, "unknown kind of camera 'ftp://host/x'.*rtsp://.*synthetic://"),
        ("gopher://[", SourceError, "unknown kind of camera"),
        ("csi://0", SourceError, "not in this version.*v4l2://"),
        ("987", SourceError, "no camera /dev/video987"),
        ("v4l2:///dev/video987", SourceError, "no camera /dev/video987"),
        (f"v4l2://{tmp_path}/text.mp4", SourceError, "busy, or not a camera"),
        ("synthetic://sea", SourceError, "no synthetic source 'sea'"),
        ("synthetic://line?colour=red", SourceError, "no parameter 'colour'.*rotate.*count"),
        ("synthetic://line?size=many", SourceError, "size='many'.*size is: side of the frame"),
        ("synthetic://line?fps=-1", SourceError, "fps='-1'"),
        ("synthetic://line?fps=nan", SourceError, "fps='nan'"),
        ("synthetic://line?part=boat", SourceError, "part='boat'.*plate"),
        ("synthetic://line?size=64&size=65", SourceError, "given twice"),
    ]
    for uri, kind, pattern in cases:
        with pytest.raises(kind, match=pattern) as caught:
            open_source(uri)
        assert "\n" not in str(caught.value), uri
    assert capfd.readouterr().err == ""


def test_closing_is_legal_in_every_state(folder: Path, clip: Path) -> None:
    for uri in (str(folder), str(clip), f"{folder}/b.png", "synthetic://line?size=32&fps=0"):
        fresh = open_source(uri)
        fresh.close()
        fresh.close()
        assert list(fresh) == []
        used = open_source(uri, loop=True)
        next(used)
        used.close()
        assert list(used) == []
        used.close()


def test_close_from_another_thread_ends_a_waiting_reader() -> None:
    source = open_source("synthetic://line?size=32&fps=0.05")  # 20 s between frames
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.extend(frame.frame_id for frame in source))
    reader.start()
    while not seen:
        time.sleep(0.01)
    start = time.monotonic()
    source.close()
    reader.join(5)
    assert not reader.is_alive()
    assert time.monotonic() - start < 2
    assert seen == [0]


def test_synthetic_stream_is_the_line_with_its_truth() -> None:
    with open_source("synthetic://line?size=48&seed=5&defects=0.5&fps=0&count=6&part=disc&rotate=180") as source:
        frames = list(source)
    assert not source.live
    assert source.fps_hint is None
    line = SyntheticLine(LineConfig(size=48, seed=5, defects=0.5, part="disc", rotate=180))
    assert [frame.frame_id for frame in frames] == list(range(6))
    for index, frame in enumerate(frames):
        expected = line.frame(index)
        assert frame.truth is not None
        np.testing.assert_array_equal(frame.image, expected.image)
        np.testing.assert_array_equal(frame.truth, expected.mask)
    assert any(frame.truth is not None and frame.truth.any() for frame in frames)


def test_synthetic_stream_keeps_its_pace_and_loses_nothing() -> None:
    with open_source("synthetic://line?size=32&fps=40&count=9") as source:
        assert source.live
        stamps = [frame.t_monotonic for frame in source]
    assert len(stamps) == 9
    assert stamps[-1] - stamps[0] >= 8 / 40 - 0.02
    with open_source("synthetic://line?size=32&fps=0&count=2", loop=True) as source:
        first = [next(source).image for _ in range(4)]
    np.testing.assert_array_equal(first[0], first[2])


class _Failing(Source):
    def __init__(self) -> None:
        super().__init__("test://", live=True, fps_hint=None)
        self.released = 0

    def _grab(self) -> Shot | None:
        raise SourceError("cut off", mend="Plug it in")

    def _release(self) -> None:
        self.released += 1


def test_a_failure_is_not_an_end_and_leaves_the_source_closable() -> None:
    with _Failing() as source, pytest.raises(SourceError, match="cut off"):
        next(source)
    assert source.released == 1


class _Mjpeg(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for _ in range(40):
            data = cv2.imencode(".jpg", _grey(120, 64))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + data + b"\r\n")
            except OSError:  # the reader went away
                return

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def mjpeg_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Mjpeg)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_http_stream_is_live_and_its_loss_is_an_error(mjpeg_port: int, capfd: pytest.CaptureFixture[str]) -> None:
    with open_source(f"http://127.0.0.1:{mjpeg_port}/stream.mjpg") as source:
        assert source.live
        frame = next(source)
        assert frame.image.shape == (64, 64, 3)
        assert float(frame.image.mean()) == pytest.approx(120, abs=3)
        with pytest.raises(SourceError, match=r"stopped after \d+ frames"):
            list(source)
    assert capfd.readouterr().err == ""


def test_network_camera_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for uri in (f"rtsp://admin:secret@127.0.0.1:{port}/live", f"http://admin:secret@127.0.0.1:{port}/x.mjpg"):
        with pytest.raises(SourceError, match="no stream from") as caught:
            open_source(uri)
        assert "secret" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_silent_network_camera_is_given_up_in_bounded_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        start = time.monotonic()
        with pytest.raises(SourceError, match=r"within 0\.5 s"):
            CameraSource.network(f"rtsp://127.0.0.1:{mute.getsockname()[1]}/live", open_timeout_ms=500)
        assert time.monotonic() - start < 5


def test_passwords_are_hidden() -> None:
    assert without_password("rtsp://me:p@ss:w@cam:554/a?b=c@d") == "rtsp://me:***@cam:554/a?b=c@d"
    assert without_password("http://cam:80/a") == "http://cam:80/a"
    assert without_password("http://me@cam/a") == "http://me@cam/a"
