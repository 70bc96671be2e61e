"""Timings: of the right thing, and honest about a machine that does something else."""

import os
import subprocess
import sys
import time
from subprocess import PIPE

import pytest

from diffad_export.search import stopwatch
from diffad_export.search.stopwatch import BUSY, Track, machine, race, waiting_ms
from diffad_runtime.engines.fake import FakeEngine
from diffad_runtime.result import Image

SIZE = 64


class Paced:
    """In place of graphs: an engine of known pace."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.frames = 0

    def engine(self, _name: str, size: int) -> FakeEngine:
        def wait(_image: Image) -> bool:
            self.frames += 1
            time.sleep(self.seconds)
            return False

        return FakeEngine(size, fails=wait)


def track(frame_size: tuple[int, int] | None = None) -> Track:
    return Track(SIZE, frame_size, pixels=16)


def test_contestants_take_turns_and_keep_their_pace() -> None:
    slow, fast, heard = Paced(0.01), Paced(0.002), list[tuple[int, int]]()
    found = race({"slow": slow, "fast": fast}, track((96, 128)), 4, lambda *done: heard.append(done))  # type: ignore[dict-item]
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert slow.frames == fast.frames == stopwatch.WARM_UP_ROUNDS + 4
    assert 10 <= found["slow"].p50 <= found["slow"].p95
    assert 2 <= found["fast"].p50 < found["slow"].p50
    # the pace lies in the extractor
    assert 10 <= found["slow"].around <= found["slow"].p50
    assert found["slow"].rounds == 4


def test_the_name_says_what_a_timing_depends_on() -> None:
    assert track((480, 640)).named() == f"{machine()}, frames of 640 x 480"
    assert track().named() == f"{machine()}, frames of 64 x 64"
    assert "onnxruntime" in machine()


def _spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_waiting_for_a_core_is_seen() -> None:
    if waiting_ms() == 0:
        pytest.skip("this kernel does not count the time that a thread waits for a core")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})  # inherited by the other process
    try:
        with subprocess.Popen([sys.executable, "-c", "print(1, flush=True)\nwhile True: pass"], stdout=PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            start, ready = time.monotonic(), waiting_ms()
            _spin(0.3)
            share = (waiting_ms() - ready) / (1e3 * (time.monotonic() - start))
            other.kill()
    finally:
        os.sched_setaffinity(0, before)
    assert share > BUSY
