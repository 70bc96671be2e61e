"""Whether a file or folder is as its owner left it: what others may write to proves nothing.

Knows permission bits, owners and links. Does not know what lies in the file.
"""

import os
import stat
from pathlib import Path


def others_may_write(path: Path) -> str:
    """Who but this user and root may change it, in a few words; "" where nobody, or where it is not there.

    A link says nothing of what it points to, so it is named too: resolve a path that a person gave first.
    """
    try:
        status = path.lstat()
    except OSError:
        return ""
    if stat.S_ISLNK(status.st_mode):
        return f"{path.name} is a link"
    if status.st_uid not in {os.geteuid(), 0}:
        return f"{path.name} belongs to another user (uid {status.st_uid})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write to {path.name} (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""


def others_may_replace(path: Path) -> str:
    """As above, and whether one of the folders around it may be written to by everybody; a sticky one may (/tmp)."""
    if fault := others_may_write(path):
        return fault
    for folder in path.parents:
        try:
            mode = folder.stat().st_mode
        except OSError:
            continue
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f"everybody may write to {folder} (mode {stat.S_IMODE(mode):04o})"
    return ""
