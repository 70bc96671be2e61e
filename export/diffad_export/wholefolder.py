"""Folders that are there whole or not at all: filled under a temporary name, then renamed.

Knows nothing of what is inside. A name says which process of which host is at work, so that what a killed one left
behind can be told from work in progress.
"""

import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STALE_SECONDS = 86_400.0


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """An empty folder to fill; becomes `final` when the block ends well, and is removed when it does not.

    Where another process made `final` in the meantime, that one stays.
    """
    work = final.with_name(f"{final.name}.{socket.gethostname()}.{os.getpid()}.part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
        try:
            work.rename(final)
        except OSError:
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left in `folder` and in the folders of it.

    That is: what a process of this host was filling that is gone, or what did not change for a day.
    """
    for work in (*folder.glob("*.part"), *folder.glob("*/*.part")):
        if work.is_dir() and (_owner_is_gone(work) or _age(work) > STALE_SECONDS):
            shutil.rmtree(work, ignore_errors=True)


def _owner_is_gone(work: Path) -> bool:
    rest, _, pid = work.name.removesuffix(".part").rpartition(".")
    if not rest.endswith(f".{socket.gethostname()}") or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def _age(work: Path) -> float:
    times = []
    for path in (work, *work.rglob("*")):
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:  # finished, or swept by another, between listing and looking
            continue
    return time.time() - max(times, default=time.time())
