"""A file of JSON lines that is appended to, followed by other programs, rotated, and whole after a power cut.

Knows lines, and what a crash may leave of the last one. Does not know what the lines say.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from diffad_runtime.errors import InputError
from diffad_runtime.sinks.keeper import Keeper
from diffad_runtime.sinks.locking import take
from diffad_runtime.sinks.retention import Retention
from diffad_runtime.sinks.stamps import next_stamp, stamped, stamped_pattern

_BLOCK = 1 << 16
_MEND = "Name a file that can be written to"


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file of lines is put aside, and how much is kept.

    Attributes:
        max_bytes: of one file; a longer line gets a file of its own.
        every: a new file for each such stretch of time, counted from midnight UTC for a day and from the hour for an
            hour; None: by size alone.
        keep: of the files put aside and the one in use together.
    """

    max_bytes: int = 64 << 20
    every: timedelta | None = timedelta(days=1)
    keep: Retention = field(default_factory=lambda: Retention(max_bytes=1 << 30))

    def __post_init__(self) -> None:
        if self.max_bytes <= 0 or (self.every is not None and self.every < timedelta(seconds=1)):
            raise InputError(f"{self} puts files aside all the time", mend="Give more bytes, or a second or more")
        # One file in use, and one that was put aside and is the newest of them, which stays.
        if self.keep.max_bytes is not None and self.keep.max_bytes < 2 * (self.max_bytes + 8192):
            raise InputError(
                f"{self.keep.max_bytes} bytes are to be kept, of files of {self.max_bytes}, expected room for two",
                mend="Keep more, or make the files smaller",
            )


class LineFile:
    """Appends lines; each is whole or not there.

    results.jsonl is the file in use; put aside it is results-20261127T101500Z.jsonl, named after when that was. A line
    that a power cut left half written is moved to results.jsonl.torn when the file is opened again. A file that was
    moved away or removed meanwhile is made anew. Lines are with the kernel at once, so a crash of this process loses
    none; a power cut loses what the kernel had not yet written, by default of Linux the last 30 seconds.

    Args:
        path: FILE.jsonl. Where it is no file but a device or a pipe, lines are written to it and that is all.
        rotation: None: one file that grows.
        overwrite: start empty.
        wall: seconds since the epoch.

    Raises:
        InputError: it cannot be opened, holds something else than JSON lines, or another process writes to it.
    """

    def __init__(
        self,
        path: str | Path,
        rotation: Rotation | None = None,
        *,
        overwrite: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._plain = Path(path).is_file() or not Path(path).exists()
        # A link is kept, and what it leads to is rotated. /dev/stdout leads to what has no name.
        self.path = Path(os.path.realpath(path)) if self._plain else Path(path)
        self._wall = wall
        self._rotation: Rotation | None = None
        self._period = 0
        self._descriptor: int | None = None
        self._keeper: Keeper | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
            if self._plain:
                self._begin(rotation, overwrite=overwrite)
        except OSError as error:
            self.close()
            raise self._refused(error) from error
        except InputError:
            self.close()
            raise

    def append(self, line: str) -> None:
        """Add one line.

        Raises:
            InputError: the disk refused, or there is no room within the limits; nothing of the line is in the file.
                Where only putting the old file aside failed, the line is in the old file.
        """
        data = line.encode() + b"\n"
        if self._descriptor is None:
            raise InputError(f"the file {self.path} is closed", mend="Open it again")
        problem: OSError | None = None
        try:
            if self._plain:
                self._follow()
                try:
                    self._rotate_if_due(len(data))
                except OSError as error:
                    problem = error
            self._write(data)
        except OSError as error:
            raise self._refused(error) from error
        if problem is not None:
            raise self._refused(problem) from problem

    def close(self) -> None:
        """Put what was written on the disk. Twice is harmless."""
        if self._keeper is not None:
            self._keeper.close()
        if self._descriptor is not None:
            opened, self._descriptor = self._descriptor, None
            with suppress(OSError):  # a pipe
                os.fsync(opened)
            os.close(opened)

    @property
    def _opened(self) -> int:
        assert self._descriptor is not None
        return self._descriptor

    def _open(self) -> None:
        if self._plain:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        else:  # a pipe that nobody reads is an error now, not a run that hangs
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.set_blocking(self._descriptor, True)

    def _begin(self, rotation: Rotation | None, *, overwrite: bool) -> None:
        self._lock()
        if overwrite:
            os.ftruncate(self._opened, 0)
        self._rotation = rotation
        facts = os.fstat(self._opened)
        self._period = self._period_of(facts.st_mtime if facts.st_size else self._wall())
        self._heal()
        if rotation is not None:
            names = stamped_pattern(self.path.stem, self.path.suffix)
            self._keeper = Keeper(self.path.parent, rotation.keep, names, wall=self._wall)

    def _lock(self) -> None:
        try:
            take(self._opened, self.path)
        except InputError:
            self._descriptor = None
            raise

    def _heal(self) -> None:
        """End the last line, or move what a power cut left of it away."""
        size = os.fstat(self._opened).st_size
        if size == 0:
            return
        if os.pread(self._opened, 1, 0) not in {b"{", b"\0"}:
            raise InputError(f"{self.path} is there and holds no JSON lines", mend="Name another file, or move it away")
        tail, at = b"", size
        while at > 0 and b"\n" not in tail:
            start = max(0, at - _BLOCK)
            tail = os.pread(self._opened, at - start, start) + tail
            at = start
        tail = tail[tail.rfind(b"\n") + 1 :]
        if not tail:
            return
        try:
            json.loads(tail)
        except ValueError:  # zeros, too: what some file systems leave of data that never came to the disk
            with suppress(OSError):  # a full disk must not keep the rest from being healed
                self.path.with_name(f"{self.path.name}.torn").write_bytes(tail)
            os.ftruncate(self._opened, size - len(tail))
        else:
            self._write(b"\n")

    def _follow(self) -> None:
        """Open the file again where it is no longer the one of that name."""
        mine = os.fstat(self._opened)
        try:
            there = self.path.stat()
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            before = self._opened
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
            os.close(before)
            self._lock()
            self._heal()

    def _rotate_if_due(self, more: int) -> None:
        if self._rotation is None or self._keeper is None:
            return
        size = os.fstat(self._opened).st_size
        period = self._period_of(self._wall())
        if size and (size + more > self._rotation.max_bytes or period != self._period):
            name = next_stamp(datetime.fromtimestamp(self._wall(), timezone.utc), self._last())
            aside = self.path.with_name(stamped(self.path.stem, name, self.path.suffix))
            with suppress(OSError):
                os.fsync(self._opened)
            self.path.rename(aside)
            self._keeper.add(aside.name, size)
            self._keeper.pending = 0
            before = self._opened
            self._open()  # where it fails, the line still goes to the file put aside
            os.close(before)
            self._lock()
            size = 0
        self._period = period
        self._keeper.pending = size
        self._keeper.admit(more, 0)

    def _last(self) -> tuple[str, str]:
        newest = self._keeper.newest if self._keeper is not None else ()
        return (newest[0], newest[1]) if newest else ("", "")

    def _period_of(self, seconds: float) -> int:
        every = self._rotation.every if self._rotation is not None else None
        return 0 if every is None else int(seconds // every.total_seconds())

    def _write(self, data: bytes) -> None:
        before = os.fstat(self._opened).st_size if self._plain else 0
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._opened, rest) :]
        except OSError:
            if self._plain:  # the disk was full in the middle of the line
                with suppress(OSError):
                    os.ftruncate(self._opened, before)
            raise

    def _refused(self, error: OSError) -> InputError:
        return InputError(f"the file {self.path} cannot be written: {error.strerror or error}", mend=_MEND)
