"""What every source of frames promises: numbered, stamped frames, one after the other, until it ends or is closed.

Knows numbering, time stamps and closing. Does not know files, cameras or URIs; each kind has a sibling file.
Three states are kept apart: a source that ended stops the iteration, one that failed raises SourceError, one that was
closed stops the iteration at the next call.
"""

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from typing_extensions import Self

from diffad_runtime.result import Frame, Image, SourceState

# No camera keeps a picture for longer; a stamp before that, or ahead of now, comes from a clock that is wrong.
_OLDEST_S = 60.0


@dataclass(frozen=True, slots=True)
class Shot:
    """What a kind of source grabs.

    Attributes:
        image: uint8 (H, W, 3) BGR, owned by the receiver.
        name, truth: as in Frame.
        t_monotonic: seconds on the monotonic clock at capture where the source knows better than "just now". Not
            believed where it is ahead, or more than a minute ago; never handed on smaller than the frame's before it.
        state: as in Frame.
        skipped: frames that came before this one and were not handed out; they take frame ids all the same.
    """

    image: Image
    name: str = ""
    truth: Image | None = None
    t_monotonic: float | None = None
    state: SourceState = SourceState.STREAMING
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """What a source is doing now, for the status line, metrics and the watchdog. Counts are since it was opened.

    Attributes:
        state: now.
        detail: one line, why, where the state is not STREAMING; else "".
        frames: handed out.
        last_frame: monotonic seconds of the newest frame's capture, None before the first.
        reconnects: times that it was opened again successfully.
        stalls: times that no frame came for too long.
        frozen: times that the picture stood still for too long.
        rejected: frames that were thrown away as unusable, corrupt or of another size.
    """

    state: SourceState
    detail: str = ""
    frames: int = 0
    last_frame: float | None = None
    reconnects: int = 0
    stalls: int = 0
    frozen: int = 0
    rejected: int = 0


class Source(ABC):
    """Iterator of Frame, and context manager.

    Attributes:
        uri: what was opened, without any password.
        live: True if frames come whether or not anybody takes them, so that a late reader has to drop some; False for
            files and folders, of which none may be lost.
        fps_hint: frames per second that the source claims, None where it claims nothing.
        problems: one line for each thing that should have given a frame and did not; grows while reading.
    """

    def __init__(self, uri: str, *, live: bool, fps_hint: float | None) -> None:
        self.uri = uri
        self.live = live
        self.fps_hint = fps_hint
        self.problems: list[str] = []
        self._next_id = 0
        self._handed_out = 0
        self._closing = threading.Event()
        self._busy = threading.Lock()
        self._state = SourceState.STREAMING
        self._last_frame: float | None = None

    @abstractmethod
    def _grab(self) -> Shot | None:
        """The next shot, None at the end. Never called after close(); must return soon once `_closing` is set."""

    @abstractmethod
    def _release(self) -> None:
        """Free what the source holds. Called once or more, never during _grab."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Frame:
        with self._busy:
            try:
                shot = None if self._closing.is_set() else self._grab()
            except Exception:
                self._state = SourceState.FAILED
                raise
            if shot is None:
                self._state = SourceState.ENDED
                raise StopIteration
            now, utc = time.monotonic(), datetime.now(timezone.utc)
            captured = now
            if shot.t_monotonic is not None and now - _OLDEST_S < shot.t_monotonic <= now:
                captured = shot.t_monotonic
            if self._last_frame is not None:
                captured = max(captured, self._last_frame)
            frame_id = self._next_id + shot.skipped
            self._next_id, self._last_frame = frame_id + 1, captured
            self._handed_out += 1
        return Frame(
            shot.image,
            frame_id,
            captured,
            utc - timedelta(seconds=now - captured),
            name=shot.name,
            truth=shot.truth,
            source_state=shot.state,
        )

    def status(self) -> SourceStatus:
        """What it is doing; from any thread, without waiting."""
        state = SourceState.ENDED if self._closing.is_set() else self._state
        return SourceStatus(state, frames=self._handed_out, last_frame=self._last_frame)

    def close(self) -> None:
        """End the source. Legal in every state, from any thread, and twice; waits for a grab in progress."""
        self._closing.set()
        with self._busy:
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
