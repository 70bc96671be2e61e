"""Keeps a folder of written files within its limits: removes the oldest, and nothing that is not its own.

Knows files by their names and sizes, and the order of their age. Does not know what is in them.

Files lie in shelves, folders directly below the root, or all in the root itself. Of each shelf only the sum is kept in
memory, and the list of files of the oldest one; so a hundred thousand files cost no memory, and no write looks at more
than the shelf it takes from. What was there before is counted on a thread, oldest shelf first, while writing goes on.
"""

import os
import re
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from diffad_runtime.errors import InputError
from diffad_runtime.sinks.locking import hold
from diffad_runtime.sinks.retention import Retention, free_bytes, on_disk
from diffad_runtime.sinks.stamps import FAR_S

_MOST_AT_ONCE = 64  # removed for one write; a write that needs more room than that fails, and the next goes on
_AGED_AT_ONCE = 2  # removed for their age alone, for one write: a clock that is wrong must not clear a whole archive
_CLOSE_S = 1.5
_LOCK = ".diffad-lock"


@dataclass(slots=True)
class _Shelf:
    bytes: int = 0
    files: int = 0


@dataclass(frozen=True, slots=True)
class _File:
    key: tuple[str, ...]
    name: str
    size: int
    written: float


class Keeper:
    """Counts and removes the files of one sink. One writer; `used`, `removed` and `close` from any thread.

    Removes only regular files whose names match in full, from real folders that do: links are neither followed nor
    removed, and other files stay where they are. The newest file is never removed.

    Args:
        root: exists; where it is a link, what it leads to.
        retention: limits.
        files: full pattern of the names of files; its groups, in order, are what they are sorted by.
        shelves: full pattern of the names of shelves, the same; None: files lie in the root. A shelf is only taken for
            ours where it holds the file `marker`.
        marker: file in every shelf.
        rest: other files of a shelf that go with it when its last file has gone.
        leftovers: full pattern of temporary names; such files in shelves of earlier runs are removed at the start.
        wall, free: clock (seconds since the epoch) and free bytes, for tests.

    Raises:
        InputError: another process keeps the same root, or it cannot be read.
    """

    def __init__(
        self,
        root: Path,
        retention: Retention,
        files: re.Pattern[str],
        *,
        shelves: re.Pattern[str] | None = None,
        marker: str = "",
        rest: tuple[str, ...] = (),
        leftovers: re.Pattern[str] | None = None,
        wall: Callable[[], float] = time.time,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self.root = Path(os.path.realpath(root))
        self.pending = 0  # bytes of a file that is being written and was not added yet
        self.removed = 0
        self._retention, self._files, self._shelf_names = retention, files, shelves
        self._marker, self._rest, self._leftovers = marker, (*rest, marker) if marker else rest, leftovers
        self._wall, self._free = wall, free
        self._lock = threading.RLock()
        self._shelves: dict[str, _Shelf] = {}  # oldest first
        self._known = 0  # so many of them, from the front, were there before
        self._used = self._count = self._steps = 0
        self._list: deque[_File] = deque()  # of the oldest shelf, once it was looked at
        self._listed: str | None = None
        self._closed = threading.Event()
        self.counted = threading.Event()  # what was there before is counted, and is within the limits
        self._lock_file = None if shelves is None else hold(self.root / _LOCK)
        self._thread: threading.Thread | None = None
        if shelves is None:
            self._shelves[""] = _Shelf()
            self._load("")
            self._shelves[""] = _Shelf(sum(on_disk(file.size) for file in self._list), len(self._list))
            self._used, self._count = self._shelves[""].bytes, self._shelves[""].files
            self.counted.set()
        else:
            self._thread = threading.Thread(target=self._look, name=f"keeper: {root}", daemon=True)
            self._thread.start()

    @property
    def used(self) -> int:
        """Bytes of all that is known, in blocks."""
        return self._used

    @property
    def newest(self) -> tuple[str, ...]:
        """What the newest file of the listed shelf is sorted by; () where there is none."""
        with self._lock:
            return self._list[-1].key if self._list else ()

    def add_shelf(self, name: str) -> None:
        """A shelf that was just made; from now on the newest."""
        with self._lock:
            self._shelves.setdefault(name, _Shelf())

    def add(self, name: str, size: int, shelf: str = "") -> None:
        """A file that was just written; from now on the newest."""
        with self._lock:
            self._grow(shelf, on_disk(size), 1)
            known = self._list and self._list[-1].name == name  # listed between being written and being added
            if self._listed == shelf and not known and (match := self._files.fullmatch(name)):
                self._list.append(_File(match.groups(""), name, size, self._wall()))

    def grow(self, blocks: int, shelf: str) -> None:
        """Bytes, in blocks, that another file of the shelf has grown by."""
        with self._lock:
            self._grow(shelf, blocks, 0)

    def admit(self, need: int, files: int = 1) -> None:
        """Make room for so many bytes and files, oldest first.

        Raises:
            InputError: there is none: too many others use the disk, or the limits are too tight for one file.
        """
        with self._lock:
            for _ in range(_AGED_AT_ONCE):
                if self._outdated():
                    self._remove_oldest()
            if problem := self._make_room(need, files):
                raise InputError(f"no room in {self.root}: {problem}", mend="Free space, or raise the limit")

    def relieve(self, need: int) -> bool:
        """After a disk that was full all the same: remove the oldest, so many bytes. False where nothing was."""
        with self._lock:
            freed = 0
            for _ in range(_MOST_AT_ONCE):
                one = self._remove_oldest() if freed < need else None
                if one is None:
                    break
                freed += one
            return freed > 0

    def close(self) -> None:
        """End the counting, let go of the folder. From any thread, and twice."""
        self._closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_S)
        with self._lock:
            if self._lock_file is not None:
                os.close(self._lock_file)
                self._lock_file = None

    def _make_room(self, need: int, files: int) -> str:
        """Remove the oldest until so much more fits; what is in the way where it does not, else ""."""
        free = self._free_now()
        for _ in range(_MOST_AT_ONCE):
            if not self._crowded(need, files, free) or (freed := self._remove_oldest()) is None:
                break
            # Not asked again: some file systems free blocks later, and it would all be removed for nothing.
            free = None if free is None else free + freed
        return self._crowded(need, files, free)

    def _crowded(self, need: int, files: int, free: int | None) -> str:
        limits = self._retention
        total = self._used + on_disk(self.pending) + on_disk(need)
        if limits.max_bytes is not None and total > limits.max_bytes:
            return f"{total} bytes with the new ones, at most {limits.max_bytes} are to be kept"
        if limits.max_files is not None and self._count + files > limits.max_files:
            return f"{self._count + files} files with the new one, at most {limits.max_files} are to be kept"
        if free is not None and limits.min_free_bytes is not None and free - on_disk(need) < limits.min_free_bytes:
            return f"{free} bytes are free on the disk, {limits.min_free_bytes} are to stay free"
        return ""

    def _free_now(self) -> int | None:
        if self._retention.min_free_bytes is None:
            return None
        try:
            return self._free(self.root)
        except OSError:  # the folder has gone; the write will say so
            return None

    def _outdated(self) -> bool:
        if self._retention.max_age is None or not self._look_at_oldest():
            return False
        try:
            written = self._list[0].written if self._list else (self.root / next(iter(self._shelves))).stat().st_mtime
        except OSError:  # removed by somebody
            return True
        removable = self._count > 1 if self._list else len(self._shelves) > 1
        return removable and self._wall() - written > self._retention.max_age.total_seconds()

    def _look_at_oldest(self) -> bool:
        """List the oldest shelf; False where there is none."""
        if not self._shelves:
            return False
        if self._listed != (name := next(iter(self._shelves))):
            self._load(name)
        return True

    def _remove_oldest(self) -> int | None:
        """Remove the oldest file, and its shelf where it was the last one in it and newer shelves follow.

        Returns:
            Bytes freed, in blocks; None where nothing may be removed.
        """
        if not self._look_at_oldest() or (self._list and self._count <= 1):
            return None
        name = next(iter(self._shelves))
        freed = 0
        if self._list:
            file = self._list.popleft()
            freed = on_disk(file.size)
            # What cannot be removed, as a file that somebody made immutable to keep it, no longer counts as ours.
            with suppress(OSError), self._folder(name) as folder:
                os.unlink(file.name, dir_fd=folder)
            self._grow(name, -freed, -1)
            self.removed += 1
        elif len(self._shelves) == 1:
            return None
        if not self._list and len(self._shelves) > 1:
            freed += self._shelves[name].bytes
            self._drop_shelf(name)
        self._steps += 1
        return freed

    def _drop_shelf(self, name: str) -> None:
        with suppress(OSError), self._folder(name) as folder:
            for other in self._rest:
                with suppress(OSError):
                    os.unlink(other, dir_fd=folder)
        with suppress(OSError):  # somebody keeps files of theirs in it
            (self.root / name).rmdir()
        shelf = self._shelves.pop(name)
        self._known = max(0, self._known - 1)
        self._used -= shelf.bytes
        self._count -= shelf.files

    def _grow(self, shelf: str, size: int, files: int) -> None:
        one = self._shelves.setdefault(shelf, _Shelf())
        one.bytes += size
        one.files += files
        self._used += size
        self._count += files

    def _load(self, name: str) -> None:
        self._listed = name
        with suppress(OSError), self._folder(name) as folder:
            self._list = deque(sorted(self._own(folder), key=lambda file: file.key))
            return
        self._list = deque()

    def _own(self, folder: int) -> Iterator[_File]:
        with os.scandir(folder) as entries:
            for entry in entries:
                match = self._files.fullmatch(entry.name)
                with suppress(OSError):  # removed by somebody in the meantime
                    if match and entry.is_file(follow_symlinks=False):
                        facts = entry.stat(follow_symlinks=False)
                        yield _File(match.groups(""), entry.name, facts.st_size, facts.st_mtime)

    @contextmanager
    def _folder(self, shelf: str) -> Iterator[int]:
        """A shelf, opened so that nobody can put a link in its place while files are removed from it."""
        opened = os.open(self.root / shelf, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            yield opened
        finally:
            os.close(opened)

    def _look(self) -> None:
        """Count what was there before, oldest shelf first, then remove what is too much of it."""
        for name in self._found():
            if self._closed.is_set():
                return
            counted = self._count_shelf(name)
            with self._lock:
                if counted is not None and name not in self._shelves:
                    self._insert(name, counted)
        before = -1
        while before != self._steps and not self._closed.wait(0.01):  # writers have their turn in between
            before = self._steps
            with self._lock:
                self._make_room(0, 0)
        self.counted.set()

    def _found(self) -> list[str]:
        assert self._shelf_names is not None
        found: list[tuple[bool, tuple[str, ...], str]] = []
        # A shelf from the future has its name from a wrong clock. It goes first: it would else outlive all that follow.
        soon = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._wall() + FAR_S))
        with suppress(OSError), os.scandir(self.root) as entries:
            for entry in entries:
                match = self._shelf_names.fullmatch(entry.name)
                with suppress(OSError):
                    if match and entry.is_dir(follow_symlinks=False):
                        key = match.groups("")
                        found.append((key[0] <= soon, key, entry.name))
        return [name for *_, name in sorted(found)]

    def _count_shelf(self, name: str) -> _Shelf | None:
        """None where it is not ours."""
        shelf = _Shelf()
        try:
            with self._folder(name) as folder:
                if not stat.S_ISREG(os.stat(self._marker, dir_fd=folder, follow_symlinks=False).st_mode):
                    return None
                for file in self._own(folder):
                    shelf.bytes += on_disk(file.size)
                    shelf.files += 1
                for other in self._rest:
                    with suppress(OSError):
                        shelf.bytes += on_disk(os.stat(other, dir_fd=folder, follow_symlinks=False).st_size)
                with self._lock:  # not of a shelf that this run has made in the meantime
                    if self._leftovers is not None and name not in self._shelves:
                        for other in os.listdir(folder):  # noqa: PTH208  by descriptor, not by name
                            if self._leftovers.fullmatch(other):
                                os.unlink(other, dir_fd=folder)
        except OSError:
            return None
        return shelf

    def _insert(self, name: str, shelf: _Shelf) -> None:
        """After the shelves found before, in front of those of this run."""
        names = list(self._shelves.items())
        self._shelves = dict([*names[: self._known], (name, shelf), *names[self._known :]])
        self._known += 1
        self._used += shelf.bytes
        self._count += shelf.files
