"""Lines that no rotation, crash, full disk or second writer loses or breaks."""

import json
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.errors import InputError
from diffad_runtime.sinks import Retention, Rotation
from diffad_runtime.sinks.linefile import LineFile

NOW = 1795774500.0  # 2026-11-27 10:15:00 UTC


def _line(number: int, length: int = 0) -> str:
    return json.dumps({"n": number, "x": "é" * length}, ensure_ascii=False)


def _numbers(folder: Path) -> list[int]:
    """Of all lines, in the order of files by name, the one in use last."""
    files = sorted(folder.glob("r-*.jsonl"), key=lambda path: path.stem.split("-")[1:])
    lines = [line for path in (*files, folder / "r.jsonl") if path.exists() for line in path.read_bytes().splitlines()]
    return [json.loads(line)["n"] for line in lines]


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from([0, 0, 0, 1, 59, 3600, 90_000, -5000]), st.booleans()),
        min_size=1,
        max_size=40,
    ),
    max_bytes=st.integers(1, 400),
)
def test_rotation_never_loses_a_line(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, bool]], max_bytes: int
) -> None:
    """Whatever the lengths, with a clock that jumps both ways, and restarts in between."""
    folder = tmp_path_factory.mktemp("lines")
    now = NOW
    rotation = Rotation(max_bytes=max_bytes, every=timedelta(hours=1))

    def opened() -> LineFile:
        return LineFile(folder / "r.jsonl", rotation, wall=lambda: now)

    file = opened()
    for number, (length, jump, restart) in enumerate(steps):
        now += jump
        if restart:
            file.close()
            file = opened()
        file.append(_line(number, length))
        assert _numbers(folder)[-1] == number
    file.close()
    assert _numbers(folder) == list(range(len(steps)))
    for path in folder.glob("*.jsonl"):
        assert path.stat().st_size <= max(max_bytes, *(len(line) + 1 for line in path.read_bytes().splitlines()))


def test_names_and_limits(tmp_path: Path) -> None:
    now = NOW
    rotation = Rotation(max_bytes=100, every=None, keep=Retention(max_bytes=8 * 4096, max_files=3))
    file = LineFile(tmp_path / "r.jsonl", rotation, wall=lambda: now)
    for number in range(30):
        file.append(_line(number, 30))
        names = sorted(path.name for path in tmp_path.glob("r-*"))
        assert len(names) <= 3
        assert sum(-(-path.stat().st_size // 4096) * 4096 for path in tmp_path.iterdir()) <= 8 * 4096
    file.close()
    assert names == [f"r-20261127T101500Z-{number:03d}.jsonl" for number in (26, 27, 28)]
    assert _numbers(tmp_path) == [26, 27, 28, 29]


def test_a_day_has_a_file_of_its_own_also_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with_day = Rotation(every=timedelta(days=1))
    path.write_text(_line(0) + "\n")
    os.utime(path, (NOW - 86400, NOW - 86400))
    file = LineFile(path, with_day, wall=lambda: NOW)
    file.append(_line(1))
    file.close()
    assert [path.name for path in tmp_path.glob("r-*")] == ["r-20261127T101500Z.jsonl"]
    assert _numbers(tmp_path) == [0, 1]
    assert path.read_text() == _line(1) + "\n"


@pytest.mark.parametrize(
    ("tail", "kept", "torn"),
    [
        (b"", [0, 1], None),
        (b'{"n": 2, "x": "hal', [0, 1], b'{"n": 2, "x": "hal'),
        (b'{"n": 2}', [0, 1, 2], None),  # cut just before the end of the line
        (b"\0" * 5000, [0, 1], b"\0" * 5000),  # what a file system may leave of blocks that were never written
        (b'{"n": 2, "x": "' + b"y" * 200_000, [0, 1], b'{"n": 2, "x": "' + b"y" * 200_000),
    ],
)
def test_a_torn_last_line_is_moved_away(tmp_path: Path, tail: bytes, kept: list[int], torn: bytes | None) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(f"{_line(0)}\n{_line(1)}\n".encode() + tail)
    file = LineFile(path)
    file.append(_line(9))
    file.close()
    assert _numbers(tmp_path) == [*kept, 9]
    aside = tmp_path / "r.jsonl.torn"
    assert (aside.read_bytes() if aside.exists() else None) == torn


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 200))
def test_cut_anywhere_only_the_cut_line_is_lost(tmp_path_factory: pytest.TempPathFactory, at: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "r.jsonl"
    whole = "".join(f"{_line(number, number)}\n" for number in range(6)).encode()
    path.write_bytes(whole[:at])
    file = LineFile(path)
    file.append(_line(9))
    file.close()
    before = len([1 for end in range(min(at, len(whole)) + 1) if whole[:end].endswith(b"\n")])
    numbers = _numbers(path.parent)
    assert numbers[-1] == 9
    assert numbers[:-1] in ([*range(before)], [*range(before + 1)])  # one more where only its end was missing


@pytest.mark.parametrize("content", [b"\x89PNG\r\n", b"hello\n", b"[1]\n"])
def test_what_is_no_file_of_lines_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match="holds no JSON lines"):
        LineFile(path)
    assert path.read_bytes() == content
    LineFile(path, overwrite=True).close()
    assert path.read_bytes() == b""


def test_one_writer_and_the_lock_ends_with_it(tmp_path: Path) -> None:
    code = "import sys; from diffad_runtime.sinks.linefile import LineFile; LineFile(sys.argv[1])"
    first = LineFile(tmp_path / "r.jsonl")
    other = [sys.executable, "-c", code, str(tmp_path / "r.jsonl")]
    refused = subprocess.run(other, capture_output=True, text=True, check=False)
    assert "being written to by another run or sink" in refused.stderr
    with pytest.raises(InputError, match="being written to"):
        LineFile(tmp_path / "r.jsonl")
    first.append(_line(1))
    first.close()
    first.close()
    assert subprocess.run(other, check=False).returncode == 0
    with pytest.raises(InputError, match="is closed"):
        first.append(_line(2))


def test_killed_in_the_middle_every_line_is_whole(tmp_path: Path) -> None:
    code = (
        "import sys, json; from diffad_runtime.sinks.linefile import LineFile, Rotation\n"
        "file = LineFile(sys.argv[1], Rotation(max_bytes=5000)); n = 0\n"
        "while True: file.append(json.dumps({'n': n, 'x': 'y' * (n % 97)})); n += 1"
    )
    seen = 0
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "r.jsonl")])
        end = time.monotonic() + 10
        while len(list(tmp_path.glob("r-*"))) <= seen and time.monotonic() < end:
            time.sleep(0.01)
        child.kill()
        child.wait()
        seen = len(list(tmp_path.glob("r-*")))
    numbers = _numbers(tmp_path)
    starts = [at for at, number in enumerate(numbers) if number == 0]
    assert len(starts) == 3
    for begin, end_at in zip(starts, [*starts[1:], len(numbers)], strict=True):
        assert numbers[begin:end_at] == list(range(end_at - begin))


def test_moved_or_removed_under_its_feet_it_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    file = LineFile(path)
    file.append(_line(0))
    path.rename(tmp_path / "r-moved.jsonl")  # as logrotate does
    file.append(_line(1))
    path.unlink()
    file.append(_line(2))
    with path.open("w"):  # emptied
        pass
    file.append(_line(3))
    file.close()
    assert path.read_text() == _line(3) + "\n"
    assert (tmp_path / "r-moved.jsonl").read_text() == _line(0) + "\n"


def test_a_link_is_kept(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "r.jsonl").symlink_to(tmp_path / "data" / "r.jsonl")
    (tmp_path / "data" / "r.jsonl").touch()
    file = LineFile(tmp_path / "r.jsonl", Rotation(max_bytes=20), wall=lambda: NOW)
    for number in range(3):
        file.append(_line(number))
    file.close()
    assert (tmp_path / "r.jsonl").is_symlink()
    assert _numbers(tmp_path / "data") == [0, 1, 2]


def test_devices_and_pipes_are_written_to(tmp_path: Path) -> None:
    file = LineFile("/dev/null", Rotation(max_bytes=1))
    file.append(_line(0))
    file.close()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="cannot be written"):  # nobody reads it
        LineFile(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    end = time.monotonic() + 5
    while True:
        try:
            file = LineFile(pipe)
            break
        except InputError:
            assert time.monotonic() < end
    file.append(_line(5))
    file.close()
    reader.join(5)
    assert got == [_line(5) + "\n"]


def test_rotations_that_make_no_sense() -> None:
    for wrong in ({"max_bytes": 0}, {"every": timedelta(0)}, {"keep": Retention(max_bytes=10_000)}):
        with pytest.raises(InputError):
            Rotation(**wrong)
