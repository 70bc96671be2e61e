"""One file for each frame, whole or not there, for as long as a camera runs.

Knows temporary names and rename. Does not know what is in the file.

Paths of such files are text, not pathlib's: on Python 3.12 every new name that goes through pathlib stays in memory for
ever (measured on 3.12.1: 109 bytes a name; 3.10, 3.11 and 3.13: none), which at 30 frames a second is 12 MB an hour for
each time that a frame's name is put into a Path.
"""

import os
import uuid
from contextlib import suppress

from diffad_runtime.errors import InputError

LEFTOVER = r"\.[0-9a-f]{12}\.tmp"
"""What the temporary name has after a dot and the name, where a crash left it."""


def write_whole(path: str, data: bytes, *, sync: bool = False) -> None:
    """Write a file in a folder that exists.

    Args:
        path: the file.
        data: all of it.
        sync: have it on the disk before it has its name, so that a power cut leaves no file that is empty.

    Raises:
        InputError: the disk refused; its cause is the OSError.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex[:12]}.tmp")  # noqa: PTH118  as said above
    try:
        opened = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(opened, rest) :]
            if sync:
                os.fsync(opened)
        finally:
            os.close(opened)
        os.replace(temporary, path)  # noqa: PTH105  as said above
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108  as said above
        raise InputError(
            f"cannot write {path}: {error.strerror or error}", mend="Check the folder, its permissions and free space"
        ) from error
