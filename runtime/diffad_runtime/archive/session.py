"""One session of the archive: a folder with pictures and a line for each, so that either is there with the other.

Knows the layout and in which order things are written. Does not know which sessions there are, nor which go.

    20261127T101500Z/
      session.json          what this is, written first
      frames.jsonl          a Record a line, written after its picture
      000017_NG_20261127T101730.250000Z_PART.png

A picture without a line is one that a crash left; nothing reads it, and it goes with the session. A line without a
picture is one whose picture was removed to make room, oldest first.
"""

import hashlib
import json
import os
import re
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from diffad_runtime.archive.record import FILE_PATTERN, Record
from diffad_runtime.atomic import replacing
from diffad_runtime.errors import InputError
from diffad_runtime.result import Frame, Result
from diffad_runtime.sinks.linefile import LineFile
from diffad_runtime.sinks.retention import on_disk
from diffad_runtime.sinks.stamps import FAR_S, STAMP, moment, next_stamp, safe_part, stamp
from diffad_runtime.sinks.wholefile import LEFTOVER, write_whole

MARKER = "session.json"
LINES = "frames.jsonl"
SESSION = re.compile(rf"({STAMP})(?:-(\d{{3,}}))?")
FILES = re.compile(FILE_PATTERN)
LEFTOVERS = re.compile(rf"\.{FILE_PATTERN}{LEFTOVER}")
MADE_BY = "diffad-edge archive"
FAR = timedelta(seconds=FAR_S)

# 1080p from the synthetic line with noise of 2 levels, one x86 core, OpenCV 5.0: 66 ms and 3.0 MB; OpenCV's default
# 75 ms, level 1 145 ms and 3.5 MB, level 6 518 ms and 3.3 MB; lossless WebP 598 ms and 2.9 MB; BMP 1.3 ms and 6.2 MB.
_PNG = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY)


class Session:
    """Writes one session. What raises leaves neither a picture without a line nor a line without a picture.

    Args:
        root: of the archive.
        last: (stamp, number) of the newest session there is; the new one's name sorts after it, but for one that a
            wrong clock named after a time to come.
        now: UTC.

    Attributes:
        key: (stamp, number) of its own.
        count: lines so far.
        blocks: bytes, in blocks, of what is not pictures.

    Raises:
        InputError: the disk refused; its cause is the OSError.
    """

    def __init__(self, root: Path, last: tuple[str, str], now: datetime) -> None:
        key = next_stamp(now, last if last[0] <= stamp(now + FAR) else ("", ""))
        while (folder := root / "-".join(filter(None, key))).exists():
            key = next_stamp(now, key)
        self.key, self.folder, self.name, self.began, self.count = key, folder, folder.name, now, 0
        about = {"made_by": MADE_BY, "format": 1, "began": now.isoformat()}
        with replacing(folder / MARKER) as temporary:
            temporary.write_text(json.dumps(about) + "\n", encoding="utf-8")
        self._lines = LineFile(folder / LINES)
        self._line_bytes = 0

    @property
    def blocks(self) -> int:
        return on_disk(1) + on_disk(self._line_bytes)

    def prepare(self, frame: Frame, result: Result, data: bytes | None, suffix: str) -> tuple[str | None, str]:
        """The picture's name, None without `data`, and the line."""
        part = f"_{safe_part(result.part_id)}" if result.part_id else ""
        file = f"{self.count:06d}_{result.verdict.value}_{moment(result.t_capture)}{part}{suffix}"
        if data is None:
            return None, Record.of(self.count, frame, result, None, None).to_line()
        return file, Record.of(self.count, frame, result, file, hashlib.sha256(data).hexdigest()).to_line()

    def put(self, file: str | None, line: str, data: bytes | None) -> None:
        """Write what `prepare` gave, the picture first.

        Raises:
            InputError: the disk refused; its cause is the OSError.
        """
        if file is not None and data is not None:
            write_whole(f"{self.folder}/{file}", data, sync=True)
        try:
            self._lines.append(line)
        except InputError:
            if file is not None:
                with suppress(OSError):
                    os.unlink(f"{self.folder}/{file}")  # noqa: PTH108  wholefile.py says why
            raise
        self.count += 1
        self._line_bytes += len(line.encode()) + 1

    def close(self) -> None:
        self._lines.close()


def encoded(image: Any, suffix: str) -> bytes | None:
    """A frame as a lossless file; None where it is no picture, as that of a part whose frame never came."""
    usable = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size > 0
    if not usable or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        return None
    done, data = cv2.imencode(suffix, image, _PNG if suffix == ".png" else [])
    return data.tobytes() if done else None


def sessions_in(root: Path) -> list[Path]:
    """Folders of sessions directly in `root`, oldest first; links are none."""
    found = [
        (match.groups(""), Path(entry.path))
        for entry in os.scandir(root)
        if (match := SESSION.fullmatch(entry.name)) and entry.is_dir(follow_symlinks=False) and is_session(entry.path)
    ]
    return [path for _, path in sorted(found)]


def is_session(folder: str | Path) -> bool:
    """Whether a folder says that the archive made it."""
    marker = Path(folder) / MARKER
    try:
        about = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.get("made_by") == MADE_BY
