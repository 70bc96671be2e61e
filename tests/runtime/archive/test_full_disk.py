"""A disk that is really full: a tmpfs of 20 MB under all sinks that write. The run goes on and says what it lost."""

import os
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from diffad_runtime.archive import ImageArchive, Record
from diffad_runtime.archive.reading import read_frame, records_of, sessions_of
from diffad_runtime.delivery import Delivery
from diffad_runtime.errors import InputError
from diffad_runtime.result import Frame, Result, Verdict
from diffad_runtime.sinks import CallbackSink, JsonlSink, MaskSink, OverlaySegments, Retention, Rotation
from diffad_runtime.sinks.linefile import LineFile

WHEN = datetime(2026, 11, 27, tzinfo=timezone.utc)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _pair(number: int) -> tuple[Frame, Result]:
    image = np.random.default_rng(number % 8).integers(0, 256, (300, 400, 3), dtype=np.uint8)  # PNG of 360 kB
    mask, anomaly = np.zeros((300, 400), np.uint8), np.zeros((32, 32), np.float32)
    mask[:50, :50] = 255
    return (
        Frame(image, number, 0.0, WHEN),
        Result(number, WHEN, 1.0, Verdict.NG, mask, anomaly, {"total": 1.0}, "d" * 64, "v", "b", 0.5, 0.5),
    )


def _consistent(root: Path) -> int:
    """Every picture has a line and is whole; how many there are."""
    count = 0
    for session in sessions_of(root):
        for record in records_of(session):
            assert isinstance(record, Record)
            count += read_frame(session, record) is not None
    assert count == len([path for path in root.rglob("*.png") if not path.name.startswith(".")])
    return count


def test_the_run_never_stops(small_disk: Path) -> None:
    seen: list[int] = []
    filler = small_disk / "somebody-else"
    delivery = Delivery(
        [
            ImageArchive(small_disk / "archive", retention=Retention(max_bytes=10**9)),
            JsonlSink(small_disk / "results.jsonl", rotation=Rotation()),
            MaskSink(small_disk / "masks", live=True, retention=Retention(max_bytes=10**9)),
            OverlaySegments(small_disk / "o.avi", segment_bytes=2 << 20, retention=Retention(max_bytes=10**9)),
            CallbackSink(lambda frame, _: seen.append(frame.frame_id)),
        ],
        wait=False,
    )
    start = time.monotonic()
    slowest = 0.0
    number = 0

    def run_for(seconds: float) -> None:
        nonlocal number, slowest
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pair = _pair(number)
            before = time.perf_counter()
            delivery.put(*pair)
            slowest = max(slowest, time.perf_counter() - before)
            number += 1
            time.sleep(0.01)

    run_for(3.0)
    archive, lines, masks, overlay, watcher = delivery.status()
    assert watcher.written + watcher.dropped + watcher.waiting in {number, number - 1}
    assert overlay.faults > 0  # it keeps 4 MB free and has nothing of its own to remove that would do
    assert archive.written > 60  # 20 MB are full after 55 pictures: it goes on by removing its own
    with filler.open("wb") as file:  # somebody else takes what is left
        try:
            while True:
                file.write(b"x" * 65536)
                file.flush()
        except OSError:
            pass
    run_for(1.0)
    filler.unlink()
    while_full = delivery.status()[0].written
    run_for(1.0)
    delivery.close()
    assert time.monotonic() - start < 9.5
    assert slowest < 0.25
    assert watcher.faults == 0
    assert seen == sorted(set(seen))
    assert len(seen) > 0.9 * number
    archive, lines, masks, overlay, _ = delivery.status()
    assert archive.written > while_full + 10
    for status in (archive, lines, masks, overlay):
        assert status.written + status.faults + status.dropped >= number - 9, status
    assert _consistent(small_disk / "archive") >= 1
    results = (small_disk / "results.jsonl").read_bytes()
    assert results.endswith(b"}\n")
    assert results.count(b"\n") == lines.written


def test_a_line_that_fits_in_half_leaves_nothing_of_it(small_disk: Path) -> None:
    file = LineFile(small_disk / "r.jsonl")
    file.append('{"n": 0}')
    with (small_disk / "somebody-else").open("wb", buffering=0) as other:
        found = os.statvfs(small_disk)
        other.write(b"x" * (found.f_bavail * found.f_frsize - 3 * 4096))
    long = '{"x": "' + "y" * 40_000 + '"}'
    with pytest.raises(InputError, match="No space left on device"):
        file.append(long)
    assert (small_disk / "r.jsonl").read_text() == '{"n": 0}\n'
    file.append('{"n": 1}')
    (small_disk / "somebody-else").unlink()
    file.append(long)
    file.close()
    assert (small_disk / "r.jsonl").read_text() == '{"n": 0}\n{"n": 1}\n' + long + "\n"


def test_the_archive_alone_makes_its_own_room(small_disk: Path) -> None:
    """No limit but the disk itself, which it fills and then keeps full of the newest frames."""
    with ImageArchive(small_disk / "archive", retention=Retention(max_bytes=10**9)) as archive:
        for number in range(150):
            archive.write(*_pair(number))
    assert archive.keeper.removed >= 80
    assert _consistent(small_disk / "archive") >= 40


def test_a_floor_keeps_the_disk_from_ever_being_full(small_disk: Path) -> None:
    with ImageArchive(small_disk / "archive", retention=Retention(min_free_bytes=5 << 20)) as archive:
        for number in range(100):
            archive.write(*_pair(number))
            found = os.statvfs(small_disk)
            assert found.f_bavail * found.f_frsize >= 5 << 20
    assert _consistent(small_disk / "archive") >= 30
