"""Pipelines of GStreamer: what comes out, what is said when nothing does, and that no process is left behind.

Where the real gst-launch-1.0 cannot be brought to misbehave, a small program of the same name does.
"""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.errors import SourceError
from diffad_runtime.result import SourceState
from diffad_runtime.sources import gstreamer, open_source
from diffad_runtime.sources.gstreamer import PipelineConfig, PipelineSource, open_pipeline
from diffad_runtime.sources.gstreamer_child import _pipe_size
from diffad_runtime.sources.gstreamer_words import LAUNCHER, reason_of

real = pytest.mark.skipif(shutil.which(LAUNCHER) is None, reason=f"needs {LAUNCHER} (gstreamer1.0-tools)")


def _children() -> set[int]:
    """Processes that this one started and has not reaped."""
    found: set[int] = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found.update(int(pid) for pid in (task / "children").read_text().split())
    return found


@pytest.fixture(autouse=True)
def _nobody_is_left() -> Iterator[None]:
    before = _children()
    yield
    assert _children() <= before


def _handles() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _child_of(source: Any) -> int:
    return int(source._reader._child.pid)


def _until(what: Any, seconds: float = 3.0) -> bool:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def pretender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a program that runs `body` where gst-launch-1.0 is looked for; `frames` is its pipe."""

    def install(body: str) -> None:
        path = tmp_path / LAUNCHER
        head = """
            import os, signal, sys, time
            frames = int([word for word in sys.argv if word.startswith("fd=")][0][3:])
        """
        path.write_text(f"#!{sys.executable} -S\n{textwrap.dedent(head)}\n{textwrap.dedent(body)}")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return install


@real
def test_a_plain_colour_arrives_as_bgr() -> None:
    uri = "gst://videotestsrc is-live=true pattern=solid-color foreground-color=0xff103060?width=64&height=48&fps=30"
    with open_pipeline(uri) as source:
        frames = [next(source) for _ in range(3)]
    assert source.live
    assert source.fps_hint == 30
    assert [frame.frame_id for frame in frames] == [0, 1, 2]
    for frame in frames:
        assert frame.image.shape == (48, 64, 3)
        assert frame.image.flags.owndata or frame.image.base is not None
        np.testing.assert_allclose(frame.image.reshape(-1, 3), np.array([[0x60, 0x30, 0x10]] * 48 * 64), atol=3)
    assert not np.shares_memory(frames[0].image, frames[1].image)


@real
@pytest.mark.parametrize("width", [96, 97, 98, 99])
def test_rows_lie_under_each_other_at_every_width(width: int) -> None:
    """GStreamer begins each row at a multiple of four bytes; read as if it did not, the bars would lean."""
    with open_pipeline(f"gst://videotestsrc pattern=smpte?width={width}&height=60") as source:
        image = next(source).image
    bars = image[:36]
    assert image.shape == (60, width, 3)
    np.testing.assert_array_equal(bars, np.broadcast_to(bars[:1], bars.shape))
    edges = np.flatnonzero(np.abs(np.diff(bars[0].astype(int), axis=0)).max(axis=1) > 100)
    assert len({round(edge / (width / 7)) for edge in edges}) == 6  # seven bars
    assert image.flags.c_contiguous


@real
def test_another_size_is_scaled_to_the_one_asked_for() -> None:
    uri = "gst://videotestsrc pattern=white ! video/x-raw,width=320,height=100?width=64&height=64"
    with open_pipeline(uri) as source:
        image = next(source).image
    assert image.shape == (64, 64, 3)
    assert image.min() > 250  # filled, no bars at the edges


@real
def test_a_faster_pipeline_is_thinned_out() -> None:
    uri = "gst://videotestsrc is-live=true ! video/x-raw,framerate=60/1?width=16&height=16&fps=20"
    with open_pipeline(uri) as source:
        stamps = [next(source).t_monotonic for _ in range(13)]
    assert (stamps[-1] - stamps[2]) / 10 == pytest.approx(1 / 20, rel=0.3)


def _reference(count: int, folder: Path) -> list[bytes]:
    raw = folder / "reference.raw"
    words = f"{LAUNCHER} -q videotestsrc pattern=ball num-buffers={count} ! video/x-raw,format=BGR,width=64,height=48"
    subprocess.run([*words.split(), "!", "filesink", f"location={raw}"], check=True, stdout=subprocess.DEVNULL)
    data = raw.read_bytes()
    size = 64 * 48 * 3
    return [data[at : at + size] for at in range(0, len(data), size)]


@real
def test_a_late_reader_gets_the_newest_frame(tmp_path: Path) -> None:
    wanted = _reference(90, tmp_path)  # the ball is elsewhere in each
    caps = "video/x-raw,format=BGR,width=64,height=48,framerate=30/1"
    with open_pipeline(f"gst://videotestsrc pattern=ball is-live=true ! {caps}?width=64&height=48") as source:
        before = [wanted.index(next(source).image.tobytes()) for _ in range(4)]
        time.sleep(1.2)
        after = [wanted.index(next(source).image.tobytes()) for _ in range(4)]
    assert before == sorted(before)
    assert before[-1] <= 10
    assert after[0] >= before[-1] + 28  # 36 came; one may be on its way, one in the queue
    assert np.diff(after).max() <= 3


@real
def test_its_end_is_an_end_and_its_failure_an_error() -> None:
    with open_pipeline("gst://videotestsrc is-live=true num-buffers=5?width=32&height=32") as source:
        assert 3 <= len(list(source)) <= 5
        assert list(source) == []
    broken = "gst://videotestsrc is-live=true ! identity error-after=6?width=32&height=32"
    with open_pipeline(broken) as source, pytest.raises(SourceError, match="identity0: Failed after iterations"):
        list(source)
    assert source.status().state is SourceState.ENDED  # closed


@real
@pytest.mark.parametrize(
    ("pipeline", "pattern"),
    [
        ("nvarguscamerasrc ! nvvidconv", r"no element nvarguscamerasrc on this machine.*nvidia-l4t-gstreamer.*Jetson"),
        ("videotestsrc ! nosuchthing", r"no element nosuchthing on this machine.*gst-inspect-1\.0 nosuchthing"),
        (
            "v4l2src device=/dev/video987",
            r"Cannot identify device '/dev/video987' \(system error: No such file .*\)\. Check the device's name",
        ),
        ("videotestsrc foo=1", r'no property "foo" in element "videotestsrc".*lists the properties'),
        ("videotestsrc ! ! identity", r"syntax error.*elements with ! between"),
        ("videotestsrc ! video/x-raw,format=GRAY8 ! jpegdec", r"could not link.*Two elements do not agree on a format"),
        ("videotestsrc foo='x", r"No closing quotation"),
        ("videotestsrc num-buffers=0", r"ended without a frame"),
        (
            "filesrc location=/nowhere/at/all ! decodebin",
            r'filesrc0: Resource not found \(No such file "/nowhere/at/all"',
        ),
    ],
)
def test_what_cannot_run_says_why_in_one_line(pipeline: str, pattern: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match=pattern) as caught:
        open_pipeline(f"gst://{pipeline}?width=64&height=48")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("uri", "pattern"),
    [
        ("gst://videotestsrc", "expected a pipeline, a '.' and the size.*width=1280"),
        ("gst://?width=1&height=1", "expected a pipeline"),
        ("gst://videotestsrc?width=64", "parameter height: Field required"),
        ("gst://videotestsrc?width=64&height=48&heigth=1", "no parameter 'heigth'.*width, height, fps, timeout, via"),
        ("gst://videotestsrc?width=0&height=48", "width='0'.*width is: of the frames, pixels"),
        ("gst://videotestsrc?width=64&height=48&width=64", "'width' is given twice"),
        ("gst://videotestsrc?width=64&height=48&via=magic", "via='magic'"),
    ],
)
def test_what_a_uri_must_hold(uri: str, pattern: str) -> None:
    with pytest.raises(SourceError, match=pattern):
        open_pipeline(uri)


def test_a_password_is_not_shown(pretender: Any) -> None:
    pretender('print("ERROR: from element /P/rtspsrc0: rtsp://me:secret@cam/1 is gone."); sys.exit(1)')
    with pytest.raises(SourceError, match=r"rtspsrc0: rtsp://me:\*\*\*@cam/1 is gone") as caught:
        open_pipeline("gst://rtspsrc location=rtsp://me:secret@cam/1 ! decodebin?width=64&height=48")
    assert "secret" not in str(caught.value)


def test_without_gstreamer_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match=rf"nor is there a {LAUNCHER}.*apt install gstreamer1\.0-tools"):
        open_pipeline("gst://videotestsrc?width=64&height=48&via=child")


@real
def test_a_child_that_is_killed_is_told_and_reaped() -> None:
    with open_pipeline("gst://videotestsrc is-live=true?width=32&height=32") as source:
        next(source)
        os.kill(_child_of(source), signal.SIGKILL)
        with pytest.raises(SourceError, match="was killed by signal 9"):
            list(source)


_DEAF = """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(frames, bytes(16 * 16 * 3))
    print("something is odd", flush=True)
    time.sleep(60)
"""


def test_a_child_that_hangs_and_is_deaf_is_killed_in_time(pretender: Any) -> None:
    pretender(_DEAF)
    source = open_pipeline("gst://x?width=16&height=16&timeout=0.3&via=child")
    assert next(source).image.shape == (16, 16, 3)
    with pytest.raises(SourceError, match=r"gave no frame for 0\.3 s; it said: something is odd"):
        next(source)
    start = time.monotonic()
    source.close()
    source.close()
    assert time.monotonic() - start < 2


def test_close_ends_a_read_that_waits(pretender: Any) -> None:
    pretender(_DEAF)
    source = open_pipeline("gst://x?width=16&height=16&timeout=60&via=child")
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.extend(frame.frame_id for frame in source))
    reader.start()
    assert _until(lambda: seen == [0])
    closers = [threading.Thread(target=source.close) for _ in range(3)]
    start = time.monotonic()
    for thread in closers:
        thread.start()
    reader.join(0.5)
    assert not reader.is_alive()
    for thread in closers:
        thread.join(2)
        assert not thread.is_alive()
    assert time.monotonic() - start < 2
    assert list(source) == []


def test_half_a_frame_is_none(pretender: Any) -> None:
    pretender("os.write(frames, bytes(16 * 16 * 3 + 100)); sys.exit(3)")
    with open_pipeline("gst://x?width=16&height=16&via=child") as source:
        next(source)
        with pytest.raises(SourceError, match="exit status 3"):
            next(source)


def test_a_child_that_talks_without_end_neither_blocks_nor_grows(pretender: Any) -> None:
    pretender("""
        for _ in range(20_000):
            print("blah " * 20)
        print("x" * 5000)
        print("WARNING: erroneous pipeline: that was it", flush=True)
        os.write(frames, bytes(16 * 16 * 3))
        time.sleep(60)
    """)
    with open_pipeline("gst://x?width=16&height=16&via=child&timeout=10") as source:
        assert next(source).image.shape == (16, 16, 3)
        child: Any = source._reader._child  # type: ignore[attr-defined]
        assert _until(lambda: any("that was it" in line for line in child.said()))
        assert len(child.said()) <= 60
        assert max(len(line) for line in child.said()) <= 300


_PARENT = """
import sys, time
from diffad_runtime.sources.gstreamer import open_pipeline
source = open_pipeline("gst://x?width=16&height=16&via=child")
print(source._reader._child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
def test_a_child_that_hangs_dies_with_its_parent(pretender: Any) -> None:
    pretender(_DEAF)
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _lives(child)
        parent.kill()
    assert _until(lambda: not _lives(child))


@real
def test_a_child_outlives_the_thread_that_opened_it() -> None:
    """The kernel watches the thread that started a child, and a supervisor's threads come and go."""
    opened: list[Any] = []
    uri = "gst://videotestsrc is-live=true?width=32&height=32"
    opener = threading.Thread(target=lambda: opened.append(open_pipeline(uri)))
    opener.start()
    opener.join()
    with opened[0] as source:
        assert len([next(source) for _ in range(20)]) == 20


@real
def test_opening_again_and_again_leaves_nothing() -> None:
    def open_and_close() -> None:
        with open_pipeline("gst://videotestsrc is-live=true?width=32&height=32") as source:
            next(source)

    open_and_close()  # starts the thread that starts them all
    handles, threads = _handles(), threading.active_count()
    for _ in range(12):
        open_and_close()
        with pytest.raises(SourceError):
            open_pipeline("gst://nosuchthing?width=32&height=32")
    assert _handles() == handles
    assert threading.active_count() == threads


@real
def test_supervised_it_comes_back_when_its_child_is_killed() -> None:
    with open_source("gst://videotestsrc is-live=true?width=32&height=32") as source:
        next(source)
        assert _until(lambda: len(_children()) == 1)  # one of an earlier test may still be on its way out
        first = _children()
        os.kill(first.pop(), signal.SIGKILL)
        assert _until(lambda: (next(source), source.status().reconnects)[1] == 1)
        assert next(source).image.shape == (32, 32, 3)


@given(st.integers(1, 10**8))
def test_never_two_frames_fit_into_the_pipe(frame_bytes: int) -> None:
    size = _pipe_size(frame_bytes)
    assert size & (size - 1) == 0
    assert 4096 <= size <= 1 << 20
    assert size < max(frame_bytes, 4097)


@pytest.mark.parametrize(
    ("lines", "reason", "mend"),
    [
        (
            [
                "GST_ARGUS: Creating output stream",
                "(Argus) Error EndOfFile: Unexpected error in reading socket (in src/rpc/socket/client)",
                "GST_ARGUS: Done Success",
            ],
            "Error EndOfFile",
            "restart nvargus-daemon",
        ),
        (
            ["Error generated. gstnvarguscamerasrc.cpp, execute:805 No cameras available", "Got EOS from element"],
            "No cameras available",
            "ribbon cable",
        ),
        (
            ["ERROR: from element /GstPipeline:pipeline0/GstNvArgusCameraSrc:a0: TIMEOUT", "argus"],
            "a0: TIMEOUT",
            "nvargus",
        ),
        (
            ["ERROR: from element /GstPipeline:p/GstV4l2Src:v4l2src0: Device '/dev/video0' is busy"],
            "v4l2src0: Device '/dev/video0' is busy",
            "Close whatever else uses the camera",
        ),
        ([], "", "gst-launch-1.0 PIPELINE"),
    ],
)
def test_reasons(lines: list[str], reason: str, mend: str) -> None:
    got = reason_of(lines)
    assert reason in got[0]
    assert mend in got[1]


class _OpenCV:
    """Stands for Capture over OpenCV's GStreamer, which no wheel of OpenCV has: gives, waits and ends as told."""

    lines: ClassVar[list[tuple[str, tuple[int, ...]]]] = []

    def __init__(self, line: str, backend: int, settings: Any = ()) -> None:
        assert backend == cv2.CAP_GSTREAMER
        self.lines.append((line, tuple(settings)))
        self.opened = "broken" not in line
        self.script = ["frame", "late", "frame", "end"] if "ends" in line else ["frame", "frame", *["late"] * 1000]

    def read(self) -> npt.NDArray[np.uint8] | None:
        step = self.script.pop(0)
        if step == "late":
            time.sleep(0.5)
        return np.zeros((48, 64, 3), np.uint8) if step == "frame" else None

    def release(self) -> None:
        self.opened = False


@pytest.fixture
def opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gstreamer, "Capture", _OpenCV)
    monkeypatch.setattr(gstreamer, "opencv_times_out", lambda: True)
    monkeypatch.setattr(_OpenCV, "lines", [])


@pytest.mark.usefixtures("opencv")
def test_through_opencv() -> None:
    with open_pipeline("gst://ends?width=64&height=48&fps=30") as source:
        assert [frame.image.shape for frame in source] == [(48, 64, 3)] * 2
    line, settings = _OpenCV.lines[0]
    assert line.startswith("ends ! queue leaky=downstream")
    assert "format=BGR,width=64,height=48" in line
    assert line.endswith("appsink drop=true max-buffers=1 sync=false")
    assert len(settings) == 4
    with open_pipeline("gst://silent?width=64&height=48&timeout=0.9") as source:
        next(source)
        next(source)
        with pytest.raises(SourceError, match=r"gave no frame for 0\.9 s"):
            next(source)
    with pytest.raises(SourceError, match="OpenCV's GStreamer does not start"):
        open_pipeline("gst://broken?width=64&height=48")


@pytest.mark.usefixtures("opencv")
def test_through_opencv_a_read_that_waits_ends_with_close() -> None:
    source = PipelineSource("gst://s", "silent", PipelineConfig(width=64, height=48, timeout=60))
    next(source)
    next(source)
    ended = threading.Thread(target=lambda: list(source))
    ended.start()
    time.sleep(0.1)
    start = time.monotonic()
    source.close()
    ended.join(2)
    assert not ended.is_alive()
    assert time.monotonic() - start < 1.5
