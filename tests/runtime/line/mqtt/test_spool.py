"""Results outlive the process, a damaged file, a full disk and a slow one; and whoever judges waits for none of it."""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from diffad_runtime.errors import InputError
from diffad_runtime.line.mqtt import spool as module
from diffad_runtime.line.mqtt.ledger import AT_HAND
from diffad_runtime.line.mqtt.spool import Spool
from diffad_runtime.line.mqtt.spoolfile import NAME, SpoolFile


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Spool]]:
    made: list[Spool] = []

    def one(folder: Path | None = tmp_path / "spool", *, most: int = 10_000, most_bytes: int = 1 << 30) -> Spool:
        made.append(Spool(folder, most=most, most_bytes=most_bytes))
        return made[-1]

    yield one
    for spool in made:
        spool.close()


def _put(spool: Spool, count: int, size: int = 10) -> list[int]:
    return [spool.put(lambda seq: f"{seq} ".encode().ljust(size, b".")) for _ in range(count)]


def _take(spool: Spool, count: int, *, done: bool = True) -> list[int]:
    got: list[int] = []
    until = time.monotonic() + 5
    while len(got) < count:
        entry = spool.take()
        if entry is None:
            assert time.monotonic() < until, f"{len(got)} of {count}, {spool.status()}"
            time.sleep(0.002)
            continue
        assert int(entry.payload.split()[0]) == entry.seq
        got.append(entry.seq)
        if done:
            spool.done(entry.seq)
    return got


def test_what_waits_is_there_after_a_restart_and_numbers_grow(make: Any) -> None:
    first = make()
    seqs = _put(first, 5)
    assert _take(first, 2) == seqs[:2]
    first.close()
    second = make()
    assert second.status().waiting == 3
    newer = _put(second, 2)
    assert newer[0] > seqs[-1]
    assert _take(second, 5) == seqs[2:] + newer
    second.close()
    assert make().status().waiting == 0


def test_a_backlog_larger_than_memory_comes_in_order(make: Any) -> None:
    spool = make()
    seqs = _put(spool, 3 * AT_HAND)
    spool.close()
    again = make()
    seqs += _put(again, 50)
    assert _take(again, 3 * AT_HAND + 50, done=False) == seqs
    for seq in seqs:
        again.done(seq)
    again.close()
    assert make().status().waiting == 0


def test_rewound_comes_again_before_the_rest(make: Any) -> None:
    spool = make()
    seqs = _put(spool, 6)
    _take(spool, 4, done=False)
    spool.done(seqs[1])
    spool.rewind()
    assert _take(spool, 5) == [seqs[0], *seqs[2:]]


def test_the_oldest_go_and_are_counted(make: Any, soon: Any, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("diffad_runtime").propagate = True
    spool = make(most=10)
    seqs = []
    for count in range(1, 26):
        seqs += _put(spool, 1)
        soon(lambda: spool.status().unstored == 0)
        assert spool.status().waiting == min(count, 10)
    assert spool.status().lost == 15
    assert [getattr(record, "diffad_event", "") for record in caplog.records] == ["mqtt_spool_full"]  # once
    assert _take(spool, 10) == seqs[15:]
    by_size = make(spool._folder.parent / "other", most_bytes=1000)
    seqs = _put(by_size, 30, size=100)
    soon(lambda: by_size.status().waiting == 10)
    assert _take(by_size, 10) == seqs[20:]


def test_memory_alone_is_bounded_too(make: Any) -> None:
    spool = make(None, most=100)
    seqs = _put(spool, 150)
    assert (spool.status().waiting, spool.status().lost) == (100, 50)
    assert _take(spool, 100) == seqs[50:]
    assert spool.status().unstored == 0


def test_killed_at_any_moment_it_keeps_what_was_put(tmp_path: Path, make: Any) -> None:
    """A child puts and says so; what it said a moment before it was killed must be there."""
    child = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from diffad_runtime.line.mqtt.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1]), most=100000, most_bytes=1 << 30)\n"
        "for _ in range(100000):\n"
        "    seq = spool.put(lambda seq: f'{seq} '.encode() * 20)\n"
        "    while spool.status().unstored: time.sleep(0.0005)\n"
        "    print(seq, flush=True)\n"
    )
    said: list[int] = []
    for round_ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", child, str(tmp_path / "spool")], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(50 + 37 * round_):
            said.append(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        process.wait()
        said += [int(line) for line in process.stdout.read().split("\n")[:-1]]
        process.stdout.close()
    spool = make()
    waiting = spool.status().waiting
    assert waiting >= len(said)
    got = _take(spool, waiting)
    assert set(said) <= set(got)
    assert got == sorted(got)


def _damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "junk":
        data[:] = os.urandom(len(data))
    elif how == "pages":
        data[4096:] = os.urandom(len(data) - 4096)
    elif how == "cut":
        del data[len(data) // 2 :]
    elif how == "empty":
        data.clear()
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["junk", "pages", "cut"])
def test_a_damaged_file_is_put_aside(make: Any, tmp_path: Path, how: str) -> None:
    first = make()
    last = _put(first, 200, size=500)[-1]
    first.close()
    path = tmp_path / "spool" / NAME
    _damage(path, how)
    second = make()
    assert "put aside" in second.status().last_error
    assert second.status().faults == 1
    assert path.with_name(f"{NAME}.damaged").stat().st_size > 0
    newer = _put(second, 3)
    assert newer[0] > last  # by the clock, as nothing else is left
    assert _take(second, 3) == newer


def test_a_file_of_somebody_else_is_put_aside(make: Any, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    with sqlite3.connect(tmp_path / "spool" / NAME) as base:
        base.execute("CREATE TABLE waiting (colour TEXT)")
    base.close()
    spool = make()
    assert "put aside" in spool.status().last_error
    newer = _put(spool, 2)
    assert _take(spool, 2) == newer


def test_one_damaged_result_is_lost_and_the_rest_is_sent(make: Any, tmp_path: Path, soon: Any) -> None:
    first = make()
    seqs = _put(first, 5)
    first.close()
    base = sqlite3.connect(tmp_path / "spool" / NAME)
    base.execute("UPDATE waiting SET payload = X'00' WHERE seq = ?", (seqs[2],))
    base.commit()
    base.close()
    second = make()
    assert _take(second, 4) == [*seqs[:2], *seqs[3:]]
    assert second.status().lost == 1
    soon(lambda: second.status().waiting == 0)


def test_two_runs_do_not_share_a_folder(make: Any, tmp_path: Path) -> None:
    make()
    with pytest.raises(InputError, match="another run"):
        make()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot make the spool folder"):
        make(tmp_path / "file" / "spool")


def test_a_slow_disk_holds_up_nobody(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    change = SpoolFile.change

    def slow(*args: Any, **more: Any) -> Any:
        time.sleep(0.2)
        return change(*args, **more)

    monkeypatch.setattr(SpoolFile, "change", slow)
    spool = make()
    start = time.monotonic()
    seqs = _put(spool, 50)
    assert _take(spool, 50) == seqs  # to be sent at once
    assert time.monotonic() - start < 0.15


def test_a_disk_that_hangs_does_not_hold_up_the_end(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(SpoolFile, "change", lambda *_, **__: go.wait(20) and [])
    spool = make()
    _put(spool, 1)
    start = time.monotonic()
    spool.close(0.3)
    assert time.monotonic() - start < 0.6
    go.set()


def test_what_broke_while_running_is_put_aside_and_memory_is_stored_again(
    make: Any, monkeypatch: pytest.MonkeyPatch, soon: Any
) -> None:
    spool = make()
    seqs = _put(spool, 5)
    soon(lambda: spool.status().unstored == 0)
    change, broken = SpoolFile.change, [True]

    def breaks(*args: Any, **more: Any) -> Any:
        if broken:
            broken.clear()
            raise module.SpoolDamagedError("malformed")
        return change(*args, **more)

    monkeypatch.setattr(SpoolFile, "change", breaks)
    seqs += _put(spool, 1)
    soon(lambda: spool.status().unstored == 0 and spool.status().faults == 1)
    assert spool.status().lost == 0  # all six were at hand
    spool.close()
    assert _take(make(), 6) == seqs


def test_what_the_broker_has_is_not_written_back(make: Any, tmp_path: Path) -> None:
    spool = make()
    for _ in range(300):
        seq = _put(spool, 1)[0]
        assert _take(spool, 1) == [seq]
    spool.close()
    file = SpoolFile(tmp_path / "spool")
    assert (file.count, file.size) == (0, 0)
    file.close()


def test_a_power_cut_takes_only_the_last_second(make: Any, tmp_path: Path, soon: Any) -> None:
    """What is in the main file alone was synced: the log beside it may be gone after a cut."""
    spool = make()
    _put(spool, 20)
    path = tmp_path / "spool" / NAME

    def synced() -> int:
        (tmp_path / "after").mkdir(exist_ok=True)
        (tmp_path / "after" / NAME).write_bytes(path.read_bytes())
        try:
            file = SpoolFile(tmp_path / "after")
        except module.SpoolDamagedError:
            return 0
        count = file.count
        file.close()
        for one in (tmp_path / "after").iterdir():
            one.unlink()
        return count

    soon(lambda: spool.status().unstored == 0)
    assert synced() == 0
    soon(lambda: synced() == 20, 3)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(folder: Path) -> Path:
    filler = folder / "somebody-else"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler


def test_a_full_disk_is_replaced_by_memory_and_taken_up_again(
    make: Any, small_disk: Path, soon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.2)
    spool = make(small_disk / "spool")
    seqs = _put(spool, 20)
    soon(lambda: spool.status().unstored == 0)
    filler = _fill(small_disk)
    seqs += _put(spool, 400, size=300)
    soon(lambda: spool.status().faults > 0)
    assert "full" in spool.status().last_error or "I/O" in spool.status().last_error
    assert _take(spool, 300) == seqs[:300]  # what is on the disk, at hand and in memory, in order
    filler.unlink()
    soon(lambda: spool.status().unstored == 0)
    assert spool.status().lost == 0
    spool.close()
    assert _take(make(small_disk / "spool"), 120) == seqs[300:]


def test_memory_is_bounded_while_the_disk_is_full(make: Any, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.1)
    monkeypatch.setattr(module, "MEMORY_MOST", 50)
    spool = make(small_disk / "spool")
    _fill(small_disk)
    seqs = []
    for _ in range(40):  # slowly enough for the disk to refuse
        seqs += _put(spool, 10, size=3000)
        time.sleep(0.005)
    status = spool.status()
    assert status.unstored <= 50
    assert status.waiting + status.lost == 400
    assert status.lost > 0
    got = _take(spool, status.waiting)
    assert got == sorted(got)
    assert got[-1] == seqs[-1]


def test_started_on_a_full_disk_it_works_in_memory(
    make: Any, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.1)
    folder = small_disk / "spool"
    folder.mkdir()
    (folder / "lock").touch()
    filler = _fill(small_disk)
    spool = make(folder)
    seqs = _put(spool, AT_HAND + 100)
    assert _take(spool, AT_HAND + 100) == seqs
    assert spool.status().faults
    filler.unlink()
    more = _put(spool, 3)
    until = time.monotonic() + 5
    while spool.status().unstored:
        assert time.monotonic() < until
        time.sleep(0.01)
    spool.close()
    assert _take(make(folder), 3) == more


def test_waiting_results_survive_a_start_on_a_full_disk(make: Any, small_disk: Path) -> None:
    first = make(small_disk / "spool")
    seqs = _put(first, 20)
    first.close()
    _fill(small_disk)
    assert _take(make(small_disk / "spool"), 20) == seqs
