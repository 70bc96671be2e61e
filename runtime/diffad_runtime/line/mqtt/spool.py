"""Results in order, from the verdict until the broker has them: on the disk, with the next ones at hand in memory.

Knows a thread, a disk that may refuse, and what a power cut can take. What waits where is kept by ledger.py, rows by
spoolfile.py. Does not know the broker, nor what a result says.

Memory and disk go side by side: sending does not wait for the disk, and whoever judges waits for neither.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from diffad_runtime.errors import InputError
from diffad_runtime.health.logs import event
from diffad_runtime.line.mqtt.ledger import AT_HAND, Entry, Ledger, first_number
from diffad_runtime.line.mqtt.spoolfile import NAME, SpoolDamagedError, SpoolFile, put_aside
from diffad_runtime.sinks.locking import hold

_LOG = logging.getLogger(__name__)

MEMORY_MOST: Final = 2048
"""Results that the disk does not take, or that have no disk."""
MEMORY_BYTES: Final = 16 << 20
SYNC_S: Final = 1.0
"""A power cut takes what came within it, of what the broker does not have."""
AGAIN_S: Final = 2.0
"""Between attempts at a disk that refuses."""
_BATCH = 256  # rows in a transaction
_MOST_REFUSALS_READING = 3


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """Counts since the start, but `waiting`.

    Attributes:
        waiting: results that the broker does not have, those of earlier runs too.
        unstored: of them, not on the disk.
        lost: given up, as there was no room or their bytes were damaged. One that was on its way may have arrived.
        faults: failures of the disk.
        last_error: the last of them, "" where there was none.
    """

    waiting: int
    unstored: int
    lost: int
    faults: int
    last_error: str


class Spool:
    """A bounded queue that survives this process.

    Args:
        folder: made where missing; None: memory alone.
        most, most_bytes: results on the disk, and bytes of them; the oldest go first. Without a disk at most
            MEMORY_MOST and MEMORY_BYTES.
        ready: called, from any thread, when there may be something to take.
        wall: seconds since 1970.

    Raises:
        InputError: the folder cannot be made or written to, or somebody else uses it.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        most: int,
        most_bytes: int,
        ready: Callable[[], None] = lambda: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._most, self._most_bytes, self._call_ready = folder, most, most_bytes, ready
        self._changed = threading.Condition()  # guards all but the file, which belongs to the thread
        self._faults = self._refusals_reading = 0
        self._last_error = ""
        self._refuses = self._full = self._closing = False
        self._write_at = self._read_at = 0.0  # a disk that refused is left alone until then
        self._sync_at: float | None = None
        self._file: SpoolFile | None = None
        self._held = _take_folder(folder) if folder is not None else None
        try:
            self._open_first()
        except BaseException:
            self._let_go()
            raise
        last, count = (self._file.last, self._file.count) if self._file is not None else (0, 0)
        memory = (MEMORY_MOST, MEMORY_BYTES)
        if folder is None:
            memory = (min(most, MEMORY_MOST), min(most_bytes, MEMORY_BYTES))
        self._ledger = Ledger(first_number(last, wall()), most=memory[0], most_bytes=memory[1], on_disk=count)
        self._thread = threading.Thread(target=self._work, name="mqtt spool", daemon=True)
        self._thread.start()

    def put(self, make: Callable[[int], bytes]) -> int:
        """Take a result; never waits for a disk.

        Args:
            make: gives the bytes of the result of this number.

        Returns:
            Its number, larger than any before, of earlier runs too.
        """
        with self._changed:
            seq = self._ledger.put(make)
            self._changed.notify_all()
        self._call_ready()
        return seq

    def take(self) -> Entry | None:
        """The next result to send; None where there is none at hand. `done` or `rewind` follows."""
        with self._changed:
            entry = self._ledger.take()
            if self._ledger.wants:
                self._changed.notify_all()
            return entry

    def done(self, seq: int, *, lost: bool = False) -> None:
        """A taken result is with the broker; or, `lost`, it never will be."""
        with self._changed:
            self._ledger.done(seq, lost=lost)
            self._changed.notify_all()

    def rewind(self) -> None:
        """What was taken and is not done is taken again, in order."""
        with self._changed:
            self._ledger.rewind()

    def status(self) -> SpoolStatus:
        """How it is doing, without waiting for a disk."""
        with self._changed:
            ledger = self._ledger
            return SpoolStatus(ledger.waiting, ledger.unstored, ledger.lost, self._faults, self._last_error)

    def close(self, limit_s: float = 1.0) -> None:
        """Store what is not stored, and let go of the folder. Twice is harmless.

        A disk that does not answer within `limit_s` is left behind with what it did not take.
        """
        with self._changed:
            if not self._closing:
                self._closing, self._write_at = True, 0.0  # one last attempt
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(limit_s)

    def _work(self) -> None:
        while (turn := self._next_turn()) is not None:
            try:
                turn()
            except SpoolDamagedError as damage:
                self._set_aside(str(damage))
            except (sqlite3.Error, OSError) as error:
                self._refused(error, reading=turn == self._fetch)
        if self._file is not None:
            self._file.close()
        self._let_go()

    def _next_turn(self) -> Callable[[], None] | None:
        """Wait for the next thing to do with the disk; None at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                owes = self._folder is not None and self._ledger.owes
                if owes and now >= self._write_at:
                    return self._store
                # Without a file nothing of ours is on the disk, and what is in memory needs none.
                if self._ledger.wants and (self._file is None or now >= self._read_at):
                    return self._fetch
                if self._sync_at is not None and now >= self._write_at and (now >= self._sync_at or self._closing):
                    return self._sync
                if self._closing:
                    return None
                due = [self._write_at] if owes else []
                due += [self._read_at] if self._ledger.wants else []
                due += [max(self._sync_at, self._write_at)] if self._sync_at is not None else []
                self._changed.wait(max(0.001, min(due) - now) if due else None)

    def _store(self) -> None:
        file = self._file or self._open_again()
        with self._changed:
            add, remove = self._ledger.to_store(_BATCH), self._ledger.to_remove()
        try:
            trimmed = file.change(add, remove, most=self._most, most_bytes=self._most_bytes)
        except BaseException:
            with self._changed:
                self._ledger.give_back(remove)
            raise
        with self._changed:
            self._ledger.stored(add, trimmed)
            if add and self._sync_at is None:
                self._sync_at = time.monotonic() + SYNC_S
        if trimmed and not self._full:
            event(_LOG, logging.ERROR, "mqtt_spool_full", f"the spool {file.path} is full, the oldest results go")
        self._full = bool(trimmed) or (self._full and self._nearly(file))
        self._works()

    def _nearly(self, file: SpoolFile) -> bool:
        return 2 * file.count > self._most or 2 * file.size > self._most_bytes

    def _fetch(self) -> None:
        rows: list[Entry] = []
        bad: list[int] = []
        if self._file is not None:
            rows, bad = self._file.after(self._ledger.at_hand, AT_HAND)
        with self._changed:
            self._ledger.fetched(rows, bad, AT_HAND)
            self._refusals_reading = 0
            if bad:
                self._fault(f"{len(bad)} results of the spool were damaged")
        self._works()
        self._call_ready()

    def _sync(self) -> None:
        with self._changed:
            self._sync_at = None
        if self._file is not None and self._file.count:  # what the broker has needs no disk
            self._file.sync()

    def _open_first(self) -> None:
        if self._folder is None:
            return
        path = self._folder / NAME
        there = path.exists() and path.stat().st_size > 0
        try:
            self._file = SpoolFile(self._folder)
        except SpoolDamagedError as damage:
            self._note_damage(str(damage))
            with suppress(sqlite3.Error, OSError):  # or else later
                put_aside(self._folder)
                self._file = SpoolFile(self._folder)
        except (sqlite3.Error, OSError) as error:
            if there:  # results of an earlier run: not to be overtaken by newer ones
                raise InputError(
                    f"cannot open the spool {path}: {error}",
                    mend="Look who else uses it, at its permissions and the disk; or move it away with its results",
                ) from None
            self._refused(error)

    def _open_again(self) -> SpoolFile:
        assert self._folder is not None
        opened = SpoolFile(self._folder)
        if opened.count:
            opened.close()
            raise SpoolDamagedError(
                f"it came back with {opened.count} results, older than some that were sent meanwhile"
            )
        self._file = opened
        return opened

    def _set_aside(self, why: str) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        with self._changed:
            lost = self._ledger.disk_lost()
            self._note_damage(why, lost)
        try:
            assert self._folder is not None
            put_aside(self._folder)
        except OSError as error:
            self._refused(error)

    def _note_damage(self, why: str, lost: int = 0) -> None:
        assert self._folder is not None
        self._fault(f"the spool {self._folder / NAME} is damaged and was put aside: {why}")
        event(_LOG, logging.ERROR, "mqtt_spool_damaged", self._last_error, lost=lost)

    def _refused(self, error: Exception, *, reading: bool = False) -> None:
        with self._changed:
            self._fault(f"the spool in {self._folder} cannot be used: {error}")
            again = float("inf") if self._closing else time.monotonic() + AGAIN_S
            if reading:
                self._read_at = again
            else:
                self._write_at = again
            news, self._refuses = not self._refuses, True
            self._refusals_reading += reading
            hopeless = self._refusals_reading >= _MOST_REFUSALS_READING
        if news:
            event(_LOG, logging.ERROR, "mqtt_spool_refused", f"{self._last_error}; results are kept in memory")
        if hopeless and self._file is not None:  # nothing comes after it in order, so nothing would be sent any more
            self._refusals_reading = 0
            self._set_aside(f"it could not be read {_MOST_REFUSALS_READING} times: {error}")

    def _works(self) -> None:
        if self._refuses:
            self._refuses = False
            event(_LOG, logging.INFO, "mqtt_spool_works", f"the spool in {self._folder} works again")

    def _fault(self, text: str) -> None:
        self._faults += 1
        self._last_error = " ".join(text.split())

    def _let_go(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None


def _take_folder(folder: Path) -> int | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make the spool folder {folder}: {error.strerror or error}",
            mend="Name a folder that can be written to, as spool in [mqtt]",
        ) from None
    return hold(folder / "lock")
