"""Files that appear whole or not at all.

Knows temporary names, fsync and rename. Does not know what is in the file.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from diffad_runtime.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, hidden, with the same suffix; when the block ends well, rename it.

    Missing folders are made. Whatever leaves the block by an exception leaves no temporary file behind.

    Raises:
        InputError: the disk refused.
    """
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        # The data must be on the disk before the name is: a power cut may not leave the name on an empty file.
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105  atomic, and says so
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}", mend="Check the folder, its permissions and free space"
        ) from error
    finally:
        with suppress(OSError):  # where the folder itself could not be made, this fails too
            temporary.unlink(missing_ok=True)
