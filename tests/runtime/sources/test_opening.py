"""Sources by URI: what opens, in which order frames come, what is refused and how it is said, what is watched."""

import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from diffad_runtime.errors import DataError, ImageError, InputError, SourceError
from diffad_runtime.imagefile import write_png
from diffad_runtime.result import SourceState
from diffad_runtime.sources import Limits, Source, SupervisedSource, open_source, opening
from diffad_runtime.sources.base import Shot
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
        ("ftp://me:geheim@host/x", SourceError, r"unknown kind of camera 'ftp://me:\*\*\*@host/x'"),
        ("telnet://host", SourceError, "unknown kind of camera.*rtsp://.*synthetic://"),
        ("gopher://[", SourceError, "unknown kind of camera"),
        ("csi://x", SourceError, "csi"),
        ("gst://videotestsrc", SourceError, "size of its frames"),
        ("chaos://?seed=many", SourceError, "seed='many'"),
        ("rstp://cam/live", SourceError, "Perhaps rtsp://cam/live was meant"),
        ("rtsp:/cam/live", SourceError, "Perhaps rtsp://cam/live was meant"),
        ("/dev/video987", SourceError, "Perhaps v4l2:///dev/video987 was meant"),
        ("rtsp://", SourceError, "names no host"),
        ("rtsp://cam with blank/live", SourceError, "names no host"),
        ("rtsp://me:geheim@cam:99999/live", SourceError, "Port out of range"),
        ("http://[cam/live", SourceError, "no address"),
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
        assert "geheim" not in str(caught.value), uri
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


def test_a_stamp_that_cannot_be_true_is_not_believed_and_none_goes_back() -> None:
    class Stamped(Source):
        offsets = (-0.5, 3600.0, -3600.0, -1e9, -5.0, float("nan"))

        def __init__(self) -> None:
            super().__init__("test://", live=True, fps_hint=None)
            self.left = list(self.offsets)

        def _grab(self) -> Shot | None:
            return Shot(_grey(0), t_monotonic=time.monotonic() + self.left.pop(0), skipped=2) if self.left else None

        def _release(self) -> None:
            pass

    stamps, ids = [], []
    with Stamped() as source:
        for frame in source:
            now = time.monotonic()
            stamps.append(frame.t_monotonic)
            ids.append(frame.frame_id)
            age = now - frame.t_monotonic
            assert age == pytest.approx(0.5 if len(stamps) == 1 else 0.0, abs=0.1)
        assert source.status().frames == 6
    assert stamps == sorted(stamps)
    assert ids == [2, 5, 8, 11, 14, 17]


def test_cameras_are_watched_and_files_are_not(folder: Path) -> None:
    with open_source(str(folder)) as source:
        assert not isinstance(source, SupervisedSource)
    with open_source("synthetic://line?size=32") as source:
        assert not isinstance(source, SupervisedSource)
    with open_source("chaos://?size=32&faults=none&fps=100") as source:
        assert isinstance(source, SupervisedSource)
        assert next(source).image.shape == (32, 32, 3)
        assert source.limits.frozen_s == Limits().frozen_s
    with open_source("chaos://?size=32&faults=none&fps=100", supervise=False) as source:
        assert not isinstance(source, SupervisedSource)


def test_what_is_decoded_may_stand_still_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "synthetic://line?size=32&fps=100"
    monkeypatch.setattr(opening, "_network", lambda _: open_source(line))
    for limits, expected in (
        (None, 15.0),
        (Limits(stall_s=1), 15.0),
        (Limits(frozen_s=4), 4.0),
        (Limits(frozen_s=None), None),
    ):
        with open_source("rtsp://me:geheim@cam/1", limits=limits) as source:
            assert isinstance(source, SupervisedSource)
            assert source.limits.frozen_s == expected
            assert source.limits.stall_s == (limits or Limits()).stall_s
            assert source.uri == "rtsp://me:***@cam/1"


def test_a_counted_line_that_is_watched_ends(folder: Path) -> None:
    with open_source("synthetic://line?size=32&fps=200&count=20", supervise=True) as source:
        frames = list(source)
        assert frames[-1].frame_id == 19
        assert source.status().state is SourceState.ENDED
    with open_source(str(folder), supervise=True) as source:
        assert [frame.frame_id for frame in source][-1] == 2
        assert "aa_text.png" in source.problems[0]


def test_limits_say_what_is_wrong_with_them() -> None:
    assert Limits.of(stall_s=1.5).stall_s == 1.5
    for values, pattern in (
        ({"stall_s": 0}, r"stall_s=0: .*greater than 0.* stall_s is: age of the newest frame"),
        ({"stall": 2}, r"stall=2: .*Use one of stall_s, frozen_s"),
        ({"abandoned": 0}, "abandoned=0"),
        ({"jitter": float("nan")}, "jitter=nan"),
    ):
        with pytest.raises(InputError, match=pattern):
            Limits.of(**values)
