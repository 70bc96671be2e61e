"""What is done to the files of a models folder, one small step each, so that a test can stop between any two.

Knows system calls and what they promise. Does not know what the files mean, nor in which order they are written.

POSIX promises little about a power cut: data is on the disk after fsync of the file, a name (made, moved or removed)
after fsync of its folder, and a rename shows either the old file or the new one, whole, to whoever looks. Nothing else
is relied on.
"""

import os
import shutil
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

TEMPORARY: Final = ".tmp"
"""What the name of a file ends with that is not whole yet."""


class Disk:
    """The real one. A test's own notes each step down, or fails at one."""

    def write(self, path: Path, chunks: Iterable[bytes | memoryview]) -> None:
        """A new file, with its data on the disk. The name is not there for sure.

        Raises:
            OSError: as the disk says.
        """
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        with os.fdopen(opened, "wb", buffering=0) as file:
            for chunk in chunks:
                rest = memoryview(chunk)
                while rest:
                    rest = rest[file.write(rest) or 0 :]
            os.fsync(file.fileno())

    def rename(self, source: Path, target: Path) -> None:
        """Move over whatever has that name.

        Raises:
            OSError: as the disk says.
        """
        os.replace(source, target)  # noqa: PTH105  atomic, and says so

    def unlink(self, path: Path) -> None:
        """Remove a file, where it is there.

        Raises:
            OSError: as the disk says.
        """
        path.unlink(missing_ok=True)

    def make_folder(self, path: Path) -> None:
        """Where it is missing, with those around it.

        Raises:
            OSError: as the disk says.
        """
        path.mkdir(mode=0o755, parents=True, exist_ok=True)

    def sync_folder(self, path: Path) -> None:
        """Have the names in a folder on the disk as they are now.

        Raises:
            OSError: as the disk says.
        """
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

    def free_bytes(self, path: Path) -> int:
        """Room for this user, bytes."""
        return shutil.disk_usage(path).free

    def replace(self, path: Path, data: bytes) -> None:
        """A small file, old or new at any time, new for good once this returns.

        Raises:
            OSError: as the disk says; the old one is still there, and nothing half-written.
        """
        temporary = temporary_beside(path)
        try:
            self.write(temporary, [data])
            self.rename(temporary, path)
        except OSError:
            with suppress(OSError):
                self.unlink(temporary)
            raise
        self.sync_folder(path.parent)


def temporary_beside(path: Path) -> Path:
    """A name that nobody else has, hidden, in the same folder."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{TEMPORARY}")
