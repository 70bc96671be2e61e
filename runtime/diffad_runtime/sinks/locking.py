"""One writer to a place: a lock that the kernel lets go of when the process ends, however it ends.

Knows one call. Does not know what is written.
"""

import fcntl
import os
from pathlib import Path

from diffad_runtime.errors import InputError


def hold(path: Path) -> int | None:
    """Lock a file, which is made where missing and stays. Closing the descriptor lets go.

    Returns:
        An open descriptor; None where the file system has no locks.

    Raises:
        InputError: somebody else holds it, in this process or another, or the folder cannot be written to.
    """
    try:
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise InputError(
            f"the folder {path.parent} cannot be written to: {error.strerror or error}", mend="Name a folder that can"
        ) from error
    if take(opened, path.parent):
        return opened
    os.close(opened)
    return None


def take(opened: int, what: Path) -> bool:
    """Lock an open file; False where the file system has no locks. `what` is for the message.

    Raises:
        InputError: somebody else holds it. The descriptor is closed.
    """
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(opened)
        raise InputError(
            f"{what} is being written to by another run or sink", mend="Give each a place of its own"
        ) from error
    except OSError:  # a network disk
        return False
    return True
