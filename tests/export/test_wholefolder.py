"""Folders appear whole or not at all, and what killed processes left behind is told from work in progress."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from diffad_export.wholefolder import sweep, whole_folder

DAY = 86_400


def test_it_appears_when_it_is_whole(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "new") as work:
        (work / "a").write_text("1")
        assert not (tmp_path / "new").exists()
        sweep(tmp_path)  # of a living process: stays
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "a"]


def test_it_does_not_appear_when_the_work_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with whole_folder(tmp_path / "new") as work:
            (work / "a").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_stays(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "new") as work:
        (work / "a").write_text("second")
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "a").write_text("first")
    assert (tmp_path / "new" / "a").read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failing_rename_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("a file is in the way")
    with pytest.raises(OSError, match="new"), whole_folder(tmp_path / "new"):
        pass


def gone() -> int:
    """The number of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


@pytest.mark.parametrize(
    ("host", "pid", "age", "stays"),
    [
        (socket.gethostname(), "mine", 0, True),
        (socket.gethostname(), "mine", 2 * DAY, False),  # the number was given to another process since
        (socket.gethostname(), "gone", 0, False),
        ("elsewhere.example", "gone", 0, True),
        ("elsewhere.example", "gone", 2 * DAY, False),
        (socket.gethostname(), "x", 0, True),
    ],
)
def test_what_is_swept(tmp_path: Path, host: str, pid: str, age: int, stays: bool) -> None:
    numbers = {"mine": os.getpid(), "gone": gone()}  # not in the parameters: each test process has its own
    name = f"rows-0.{host}.{numbers.get(pid, pid)}.part"
    for work in (tmp_path / name, tmp_path / "cache" / name):
        work.mkdir(parents=True)
        (work / "a.npy").write_text("1")
        for path in (work / "a.npy", work):
            os.utime(path, (path.stat().st_mtime - age,) * 2)
    (tmp_path / "rows-0").mkdir()
    sweep(tmp_path)
    assert [(tmp_path / name).exists(), (tmp_path / "cache" / name).exists()] == [stays, stays]
    assert (tmp_path / "rows-0").exists()


def test_a_folder_that_is_still_written_to_is_not_old(tmp_path: Path) -> None:
    work = tmp_path / "rows-0.elsewhere.1.part"
    work.mkdir()
    (work / "a.npy").write_text("1")
    os.utime(work, (work.stat().st_mtime - 2 * DAY,) * 2)
    sweep(tmp_path)
    assert work.exists()
