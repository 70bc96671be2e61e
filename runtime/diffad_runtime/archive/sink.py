"""The archive of frames: every part that was not good, a few that were, each with all that is needed to judge it again.

Knows which frames are kept and what to do when the disk is full. Does not know files, lines or limits: session.py and
sinks/keeper.py.
"""

import errno
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Literal

from diffad_runtime.archive.session import FILES, LEFTOVERS, LINES, MARKER, SESSION, Session, encoded, sessions_in
from diffad_runtime.errors import InputError
from diffad_runtime.result import Frame, Result, Verdict
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sinks.keeper import Keeper
from diffad_runtime.sinks.retention import Retention, free_bytes, on_disk

RETENTION = Retention(max_bytes=20_000_000_000, max_age=timedelta(days=30), min_free_bytes=1_000_000_000)
"""At 3 MB a frame of 1080p, 6,600 frames."""

_MOST_FRAMES = 10_000  # in a session: few enough to be listed at once
_ERRORS_IN_ROW, _OF_MORE_ERRORS = 20, 20
_SPARE = 8192  # blocks that are begun, of the lines and the folder
_FULL = {errno.ENOSPC, errno.EDQUOT}


class ImageArchive(Sink):
    """Keeps NG always, 1 in `keep_ok` of OK, the first one too, and ERROR, but of a long row of these 1 in 20.

    A camera that is frozen gives ERROR for hours; keeping each would push out every NG before.

    A session is a folder named after when it began; a new one begins with each run, each day (UTC) and every 10,000
    frames. The oldest pictures go when a limit is reached. A full disk is a fault of this sink alone: it removes
    pictures of its own, tries again once, and the next frame is tried like any other.

    Args:
        folder: made where missing; nothing but the archive's own sessions in it is ever removed.
        keep_ok: 0: none. Counted over the results that this sink was given.
        retention: limits.
        form: lossless either way. "png": at 1080p 66 ms of one x86 core and 3 MB. "bmp": 1 ms and 6.2 MB, for lines
            that reject in bursts, and fast disks.
        wall, free: clock and free bytes, for tests.

    Raises:
        InputError: the folder cannot be written to, or another run writes to it.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        keep_ok: int = 100,
        retention: Retention = RETENTION,
        form: Literal["png", "bmp"] = "png",
        wall: Callable[[], float] = time.time,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        if keep_ok < 0:
            raise InputError(f"1 in {keep_ok} good frames is to be kept, expected 0 or more", mend="0 keeps none")
        self.name = f"archive in {folder}"
        self._keep_ok, self._suffix, self._wall = keep_ok, f".{form}", wall
        self._good = self._errors = 0
        self._session: Session | None = None
        root = Path(folder)
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._last = _key_of_newest(root)
        except OSError as error:
            raise InputError(
                f"the archive {folder} cannot be used: {error.strerror or error}", mend="Name a folder that can"
            ) from error
        self._keeper = Keeper(
            root,
            retention,
            FILES,
            shelves=SESSION,
            marker=MARKER,
            rest=(LINES,),
            leftovers=LEFTOVERS,
            wall=wall,
            free=free,
        )

    @property
    def keeper(self) -> Keeper:
        """What is kept and how much of it was removed."""
        return self._keeper

    def write(self, frame: Frame, result: Result) -> None:
        if not self._wanted(result.verdict):
            return
        data = encoded(frame.image, self._suffix)
        try:
            self._put(frame, result, data)
        except InputError as error:
            full = isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL
            if not (full and self._keeper.relieve(2 * on_disk(len(data or b"")) + _SPARE)):
                raise
            self._put(frame, result, data)

    def _wanted(self, verdict: Verdict) -> bool:
        self._errors = self._errors + 1 if verdict is Verdict.ERROR else 0
        if verdict is Verdict.OK:
            number, self._good = self._good, self._good + 1
            return self._keep_ok > 0 and number % self._keep_ok == 0
        return self._errors <= _ERRORS_IN_ROW or self._errors % _OF_MORE_ERRORS == 0

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
        self._keeper.close()

    def _put(self, frame: Frame, result: Result, data: bytes | None) -> None:
        session = self._current()
        file, line = session.prepare(frame, result, data, self._suffix)
        self._keeper.admit(on_disk(len(data or b"")) + len(line) + _SPARE, 0 if file is None else 1)
        before = session.blocks
        session.put(file, line, data)
        self._keeper.grow(session.blocks - before, session.name)
        if file is not None:
            self._keeper.add(file, len(data or b""), session.name)

    def _current(self) -> Session:
        now = datetime.fromtimestamp(self._wall(), timezone.utc)
        session = self._session
        if (
            session is None
            or session.count >= _MOST_FRAMES
            or session.began.date() != now.date()
            or not (session.folder / MARKER).exists()  # somebody cleared the archive away
        ):
            if session is not None:
                session.close()
            self._session = None
            session = Session(self._keeper.root, self._last, now)
            self._last = session.key
            self._keeper.add_shelf(session.name)
            self._keeper.grow(session.blocks, session.name)
            self._session = session
        return session


def _key_of_newest(root: Path) -> tuple[str, str]:
    sessions = sessions_in(root)
    match = SESSION.fullmatch(sessions[-1].name) if sessions else None
    return (match[1], match[2] or "") if match else ("", "")
