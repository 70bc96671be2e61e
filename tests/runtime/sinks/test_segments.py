"""Overlay video of a camera: segments, what a power cut leaves, and limits."""

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffad_runtime.errors import DiffadError, InputError
from diffad_runtime.result import Frame, Result, Verdict
from diffad_runtime.sinks import OverlaySegments, Retention, open_overlay

NOW = 1795774500.0  # 2026-11-27 10:15:00 UTC


def _pair(number: int, shape: tuple[int, int] = (96, 128)) -> tuple[Frame, Result]:
    when = datetime.fromtimestamp(NOW, timezone.utc)
    image = np.random.default_rng(number).integers(0, 256, (*shape, 3), dtype=np.uint8)
    result = Result(
        number, when, 0.1, Verdict.OK, np.zeros(shape, np.uint8), np.zeros((8, 8), np.float32), {}, "", "", "", 1.0, 1.0
    )
    return Frame(image, number, 0.0, when), result


def _frames(path: Path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def _videos(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_segments_by_time_hold_every_frame(tmp_path: Path, suffix: str) -> None:
    clock = [0.0]
    sink = OverlaySegments(
        tmp_path / f"o{suffix}",
        segment=timedelta(minutes=1),
        wall=lambda: NOW + clock[0],
        clock=lambda: clock[0],
        retention=Retention(max_bytes=10**9),
    )
    for number in range(13):
        sink.write(*_pair(number))
        clock[0] += 15.0
        assert len(_videos(tmp_path)) == number // 4
    sink.close()
    sink.close()
    names = _videos(tmp_path)
    assert names == [f"o-20261127T10{minute}00Z{suffix}" for minute in (15, 16, 17, 18)]
    assert [_frames(tmp_path / name) for name in names] == [4, 4, 4, 1]


def test_a_new_size_is_a_new_segment_and_a_restart_overwrites_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        with OverlaySegments(tmp_path / "o.avi", wall=lambda: NOW) as sink:
            for number in range(6):
                sink.write(*_pair(number, (96, 128) if number < 4 else (48, 64)))
    names = _videos(tmp_path)
    assert set(names) == {f"o-20261127T101500Z{number}.avi" for number in ("", "-001", "-002", "-003")}
    assert sorted(_frames(tmp_path / name) for name in names) == [2, 2, 4, 4]


def test_limits_and_segments_by_size(tmp_path: Path) -> None:
    limit = 12 << 20
    clock = [0.0]
    sink = OverlaySegments(
        tmp_path / "o.avi", segment_bytes=1 << 20, retention=Retention(max_bytes=limit), wall=lambda: NOW + clock[0]
    )
    newest = ""
    for number in range(400):
        sink.write(*_pair(number % 8, (240, 320)))
        clock[0] += 1.0
        names = _videos(tmp_path)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= limit
        assert not names or names[-1] >= newest
        newest = names[-1] if names else ""
    sink.close()
    assert len(names) >= 5
    assert names[0] > "o-20261127T101500Z.avi"  # the first has gone
    assert all((tmp_path / name).stat().st_size < 3 << 19 for name in names)


def test_a_power_cut_loses_no_avi(tmp_path: Path) -> None:
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[2]); from test_segments import _pair\n"
        "from diffad_runtime.sinks import OverlaySegments\n"
        "sink = OverlaySegments(sys.argv[1])\n"
        "for number in range(60): sink.write(*_pair(number, (240, 320)))\n"
        "print('written', flush=True); time.sleep(60)"
    )
    for suffix in (".avi", ".mp4"):
        command = [sys.executable, "-c", code, str(tmp_path / f"o{suffix}"), str(Path(__file__).parent)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "written\n"
        child.kill()
        child.wait()
        child.stdout.close()
        assert _videos(tmp_path) == []
        OverlaySegments(tmp_path / f"o{suffix}").close()
        if suffix == ".avi":
            (name,) = _videos(tmp_path)
            assert _frames(tmp_path / name) >= 50
            (tmp_path / name).unlink()
        assert [path.name for path in tmp_path.iterdir() if path.name.endswith((".avi", ".mp4"))] == []


def test_no_room_is_a_fault_and_what_there_is_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [1 << 30]
    sink = OverlaySegments(tmp_path / "o.avi", wall=time.time, retention=Retention(min_free_bytes=1 << 20))
    monkeypatch.setattr(sink._keeper, "_free", lambda _: free[0])
    for number in range(5):
        sink.write(*_pair(number))
    free[0] = 5 << 20
    for number in range(3):
        with pytest.raises(InputError, match="no room"):
            sink.write(*_pair(number))
    (name,) = _videos(tmp_path)
    assert _frames(tmp_path / name) == 5
    free[0] = 1 << 30
    sink.write(*_pair(9))
    sink.close()
    assert sorted(_frames(tmp_path / name) for name in _videos(tmp_path)) == [1, 5]


def test_what_cannot_be_written_leaves_nothing_open(tmp_path: Path) -> None:
    sink = OverlaySegments(tmp_path / "o.avi")
    frame, result = _pair(0)
    bad = dataclasses.replace(result, mask=np.zeros((3, 3, 3, 3), np.uint8))
    with pytest.raises((DiffadError, cv2.error)):
        sink.write(frame, bad)
    sink.write(frame, result)
    sink.close()
    (name,) = _videos(tmp_path)
    assert _frames(tmp_path / name) == 1


def test_without_frames_nothing_is_left(tmp_path: Path) -> None:
    OverlaySegments(tmp_path / "o.avi").close()
    assert _videos(tmp_path) == []


@pytest.mark.parametrize(
    "opening",
    [
        lambda folder: OverlaySegments(folder / "o.avi", segment=timedelta(0)),
        lambda folder: OverlaySegments(folder / "o.avi", retention=Retention(max_bytes=1 << 20)),
        lambda folder: [OverlaySegments(folder / "o.avi") for _ in range(2)],
    ],
)
def test_what_makes_no_sense(tmp_path: Path, opening: Callable[[Path], object]) -> None:
    with pytest.raises(InputError):
        opening(tmp_path)


def test_live_runs_get_segments(tmp_path: Path) -> None:
    with open_overlay(tmp_path / "o.avi", 10, live=True) as sink:
        assert isinstance(sink, OverlaySegments)
