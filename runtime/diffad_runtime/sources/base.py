"""What every source of frames promises: numbered, stamped frames, one after the other, until it ends or is closed.

Knows numbering, time stamps and closing. Does not know files, cameras or URIs; each kind has a sibling file.
Three states are kept apart: a source that ended stops the iteration, one that failed raises SourceError, one that was
closed stops the iteration at the next call.
"""

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime, timezone

from typing_extensions import Self

from diffad_runtime.result import Frame, Image


@dataclass(frozen=True, slots=True)
class Shot:
    """What a kind of source grabs: pixels uint8 (H, W, 3) BGR, and the name and truth that it knows, as in Frame."""

    image: Image
    name: str = ""
    truth: Image | None = None


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
        self._closing = threading.Event()
        self._busy = threading.Lock()

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
            shot = None if self._closing.is_set() else self._grab()
            if shot is None:
                raise StopIteration
            frame_id, self._next_id = self._next_id, self._next_id + 1
        return Frame(
            shot.image, frame_id, time.monotonic(), datetime.now(timezone.utc), name=shot.name, truth=shot.truth
        )

    def close(self) -> None:
        """End the source. Legal in every state, from any thread, and twice; waits for a grab in progress."""
        self._closing.set()
        with self._busy:
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
