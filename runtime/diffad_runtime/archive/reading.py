"""Reads archived sessions back.

Knows where lines and pictures lie and what a crash or the limits may have left of them. Does not know how to judge.
"""

import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from diffad_runtime.archive.record import Record
from diffad_runtime.archive.session import LINES, is_session, sessions_in
from diffad_runtime.errors import DataError, ImageError
from diffad_runtime.imagefile import decode_image
from diffad_runtime.result import Image

_MEND = "Name the folder that --archive was given, or one session in it"


def sessions_of(path: str | Path) -> list[Path]:
    """The session that a folder is, or those that it holds, oldest first.

    Raises:
        DataError: neither.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", mend=_MEND)
    if is_session(folder):
        return [folder]
    try:
        found = sessions_in(folder)
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read: {error.strerror or error}", mend=_MEND) from error
    if not found:
        raise DataError(f"{folder} holds no session of an archive", mend=_MEND)
    return found


def records_of(session: Path) -> Iterator[Record | DataError | None]:
    """The session's lines in order; an error in place of a line that cannot be read.

    None stands for a last line that was cut off in the middle, by a power cut or because it is being written now.

    Raises:
        DataError: the disk does not give the lines.
    """
    try:
        with (session / LINES).open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield Record.parse(line)
                except DataError as error:
                    if not line.endswith(b"\n"):
                        yield None
                    else:
                        yield DataError(f"{session.name}/{LINES} line {number}: {error.what}", mend=error.mend)
    except FileNotFoundError:  # it ended before its first frame
        return
    except OSError as error:
        raise DataError(
            f"the lines of session {session} cannot be read: {error.strerror or error}", mend=_MEND
        ) from error


def read_frame(session: Path, record: Record) -> Image | None:
    """The archived frame, uint8 (H, W, 3) BGR or (H, W), as it was captured; None where its file is not there.

    Raises:
        ImageError: the file is not the one that was written.
    """
    assert record.file is not None
    path = session / record.file
    try:
        if not stat.S_ISREG(path.lstat().st_mode):  # a pipe would be waited on for ever
            raise ImageError(f"{path} is no regular file", mend="Leave it out")
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}", mend="Check the disk") from error
    if hashlib.sha256(data).hexdigest() != record.file_sha256:
        raise ImageError(f"{path} is not the file that was written: its SHA-256 differs", mend="Leave it out")
    image = decode_image(data, str(path))
    if image.dtype != np.uint8 or not (image.ndim == 2 or image.shape[2] == 3):
        raise ImageError(f"{path} holds {image.dtype} {image.shape}, expected what a frame is", mend="Leave it out")
    return np.asarray(image, np.uint8)
