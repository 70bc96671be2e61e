"""How much of what sinks write is kept: limits, and what to say when there is no room.

Knows the limits. Does not know which files there are: keeper.py.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from diffad_runtime.errors import InputError

_FEWEST_INODES = 64  # below it a disk is as good as full, however many bytes are free


@dataclass(frozen=True, slots=True)
class Retention:
    """Limits; None is no limit. What exceeds one goes, oldest first, before something new is written.

    Attributes:
        max_bytes: of all files together, each counted in blocks of 4096 bytes as it lies on the disk.
        max_age: since a file was last written to. With each new file at most two go that are too old, so that a clock
            that is wrong clears no archive at once; none go while the line stands still.
        min_free_bytes: left on the file system for everybody else. Where removing all but the newest file does not free
            that much, nothing is written.
        max_files: 2 or more.
    """

    max_bytes: int | None = None
    max_age: timedelta | None = None
    min_free_bytes: int | None = None
    max_files: int | None = None

    def __post_init__(self) -> None:
        age = None if self.max_age is None else self.max_age.total_seconds()
        limits = (self.max_bytes, age, self.min_free_bytes)
        if any(limit is not None and limit <= 0 for limit in limits):
            raise InputError(f"a limit of {self} is not above 0", mend="Leave out what is not to be limited")
        if self.max_files is not None and self.max_files < 2:
            raise InputError(
                f"{self.max_files} files are to be kept, expected 2 or more",
                mend="The newest file stays while the next one is written",
            )


def free_bytes(folder: Path) -> int:
    """What an ordinary user may still write to the file system of `folder`; 0 where it has no inodes left.

    Raises:
        OSError: no such folder.
    """
    found = os.statvfs(folder)
    if found.f_files and found.f_favail < _FEWEST_INODES:
        return 0
    return found.f_bavail * found.f_frsize


def on_disk(size: int) -> int:
    """Bytes that a file of this size takes, in blocks of 4096."""
    return -(-size // 4096) * 4096
