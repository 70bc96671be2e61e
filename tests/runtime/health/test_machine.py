"""What the system tells."""

import os
import threading
from pathlib import Path

from diffad_runtime.health.machine import disk, temperatures, threads


def test_temperatures_where_there_are_none(tmp_path: Path) -> None:
    assert temperatures(tmp_path) == ()
    temperatures()  # whatever this machine has


def test_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    here, later = disk(tmp_path), disk(tmp_path / "masks" / "today")
    assert here is not None
    assert later is not None
    assert later.size == here.size == os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    assert later.folder == str(tmp_path / "masks" / "today")
    assert 0 < here.free <= here.size
    odd = disk(tmp_path / os.fsdecode(b"\xff"))
    assert odd is not None
    odd.folder.encode()


def test_threads_of_this_process(tmp_path: Path) -> None:
    before = threads()
    assert before is not None
    release = threading.Event()
    other = threading.Thread(target=release.wait)
    other.start()
    assert threads() == before + 1
    release.set()
    other.join()
    assert threads(tmp_path) is None
