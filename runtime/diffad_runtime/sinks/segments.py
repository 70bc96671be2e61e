"""An overlay video of a camera that never ends: cut into segments, of which the oldest go.

Knows when a segment ends and which were left by a power cut. Does not know drawing, nor how a video is written.
"""

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from diffad_runtime.errors import DiffadError, InputError
from diffad_runtime.result import Frame, Result
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sinks.keeper import Keeper
from diffad_runtime.sinks.locking import hold
from diffad_runtime.sinks.overlay import CODECS, OverlayVideo
from diffad_runtime.sinks.retention import Retention
from diffad_runtime.sinks.stamps import STAMP, next_stamp, stamped, stamped_pattern

SEGMENT = timedelta(minutes=5)
SEGMENT_BYTES = 512 << 20
LIVE_RETENTION = Retention(max_bytes=8_000_000_000, min_free_bytes=500_000_000)

# OpenCV says nothing when a disk is full, and goes on. So a segment ends while there is still room for what it has not
# yet written, its index among it.
_MARGIN = 4 << 20


class OverlaySegments(Sink):
    """Writes overlay-20261127T101500Z.avi and so on, named after when each began.

    A segment gets its name when it is finished; a power cut loses the one that was being written. Of an .avi even that
    one is kept up to where it was cut, and gets its name at the next start; an .mp4 without its end cannot be played.

    Args:
        path: overlay.avi or overlay.mp4: folder, beginning and ending of the names.
        fps: frames per second to play at; None: 25.
        segment, segment_bytes: a segment ends at whichever comes first, or when frames change their size.
        retention: how much is kept; None: LIVE_RETENTION. 4 MB of the disk stay free in any case.
        wall, clock: seconds since the epoch, and monotonic.

    Raises:
        InputError: the folder cannot be written to, or another run writes to it.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float | None = None,
        *,
        segment: timedelta = SEGMENT,
        segment_bytes: int = SEGMENT_BYTES,
        retention: Retention | None = None,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = f"overlay video {path}"
        limits = retention or LIVE_RETENTION
        limits = replace(limits, min_free_bytes=max(limits.min_free_bytes or 0, _MARGIN))
        if limits.max_bytes is not None and limits.max_bytes < 2 * (segment_bytes + _MARGIN):
            segment_bytes = limits.max_bytes // 2 - _MARGIN
        if segment_bytes <= 0 or segment <= timedelta(0):
            raise InputError(
                f"there is no room for two segments of a video in {limits.max_bytes} bytes", mend="Keep more"
            )
        self._path, self._fps, self._segment, self._segment_bytes = Path(path), fps, segment, segment_bytes
        self._wall, self._clock = wall, clock
        self._video: OverlayVideo | None = None
        self._began = 0.0
        self._shape: tuple[int, ...] = ()
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the folder {folder} cannot be made: {error.strerror or error}", mend="Name a folder that can"
            ) from error
        self._lock = hold(folder / f".{self._path.stem}.lock")
        self._recover()
        self._keeper = Keeper(folder, limits, stamped_pattern(self._path.stem, self._path.suffix), wall=wall)

    def write(self, frame: Frame, result: Result) -> None:
        if self._video is not None and (
            self._clock() - self._began >= self._segment.total_seconds()
            or self._keeper.pending >= self._segment_bytes
            or frame.image.shape[:2] != self._shape
        ):
            self._finish()
        try:
            self._keeper.admit(_MARGIN, 0 if self._video else 1)
            if self._video is None:
                self._video = self._start()
                self._shape = frame.image.shape[:2]
            self._video.write(frame, result)
            self._keeper.pending = self._video.temporary.stat().st_size
        except (DiffadError, OSError):
            # What there is becomes a whole segment, which may then be removed like any other.
            with suppress(DiffadError, OSError):
                self._finish()
            raise

    def close(self) -> None:
        try:
            self._finish()
        finally:
            self._keeper.close()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _start(self) -> OverlayVideo:
        newest = self._keeper.newest
        last = (newest[0], newest[1]) if newest else ("", "")
        name = next_stamp(datetime.fromtimestamp(self._wall(), timezone.utc), last)
        self._began = self._clock()
        return OverlayVideo(self._path.with_name(stamped(self._path.stem, name, self._path.suffix)), self._fps)

    def _finish(self) -> None:
        if self._video is None:
            return
        video, self._video = self._video, None
        self._keeper.pending = 0
        video.close()
        with suppress(FileNotFoundError):  # no frame came to be written
            self._keeper.add(video.path.name, video.path.stat().st_size)

    def _recover(self) -> None:
        """Give segments that a crash left under a temporary name their own, or remove what cannot be played."""
        stem, suffix = re.escape(self._path.stem), re.escape(self._path.suffix)
        leftover = re.compile(rf"\.({stem}-{STAMP}(?:-\d{{3,}})?)\.[0-9a-f]{{12}}\.tmp{suffix}")
        with suppress(OSError):
            for name in os.listdir(self._path.parent):  # noqa: PTH208  names are all that is wanted
                match = leftover.fullmatch(name)
                there = self._path.parent / name
                if match is None or there.is_symlink() or not there.is_file():
                    continue
                named = self._path.with_name(match[1] + self._path.suffix)
                if CODECS[self._path.suffix.lower()] == "MJPG" and there.stat().st_size and not named.exists():
                    there.rename(named)
                else:
                    there.unlink()
