"""Who may change a models folder. The kernel lets go of a lock when its process ends, however it ends.

Knows two lock files. Does not know what is changed.

    state.lock       held for moments, by whoever changes the state
    install.lock     held for as long as an install takes: minutes, where TensorRT builds. Commit, rollback and a start
                     go on meanwhile; another install is refused
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from diffad_runtime.errors import InputError

STATE: Final = "state.lock"
INSTALL: Final = "install.lock"
_PATIENCE_S = 10.0
_LOOK_S = 0.02


@contextmanager
def held(path: Path, patience_s: float = _PATIENCE_S) -> Iterator[None]:
    """Hold a lock, whose file is made where missing and stays.

    Args:
        path: of the lock file.
        patience_s: how long to wait for somebody else.

    Raises:
        InputError: somebody else holds it, the folder cannot be written to, or the file system has no locks.
    """
    opened = _open(path)
    try:
        if not _taken(opened, path, patience_s):
            raise InputError(
                f"the models folder {path.parent} is in use by another process ({path.name})",
                mend="Try again when that one is done",
            )
        yield
    finally:
        os.close(opened)


@contextmanager
def held_if_free(path: Path) -> Iterator[bool]:
    """Hold a lock where nobody else does, and say whether.

    Raises:
        InputError: the folder cannot be written to, or the file system has no locks.
    """
    opened = _open(path)
    try:
        yield _taken(opened, path, 0.0)
    finally:
        os.close(opened)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise InputError(
            f"the models folder {path.parent} cannot be written to: {error.strerror or error}",
            mend="Run as the user that owns it",
        ) from error


def _taken(opened: int, path: Path, patience_s: float) -> bool:
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_LOOK_S)
        except OSError as error:
            raise InputError(
                f"the disk of {path.parent} has no file locks: {error.strerror or error}",
                mend="Keep models on a local disk",
            ) from error
        else:
            return True
