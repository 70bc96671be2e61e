"""Whether a camera's frame may be judged at all: not by a frozen picture, nor by one of another size than before.

Knows the frame's state and size. Does not know what is on it. A verdict over such a frame would be a lie: it is ERROR.
"""

import threading

import numpy as np

from diffad_runtime.result import Frame, SourceState


class FrameGuard:
    """Remembers the size of the first frame. Files and folders may mix sizes, so only live sources are held to it."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._size: tuple[int, int] | None = None
        self._other: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def refuse(self, frame: Frame) -> str:
        """Why the frame must not be judged, "" where it may be."""
        if frame.source_state is SourceState.STALLED:
            return "the camera's picture is frozen: it shows no part that passes now"
        if not self._live or not isinstance(frame.image, np.ndarray) or frame.image.ndim < 2 or frame.image.size == 0:
            return ""
        size = (frame.image.shape[1], frame.image.shape[0])
        with self._lock:
            self._size = self._size or size
            self._other = size if size != self._size else None
            return "" if self._other is None else f"the camera gives {_words(size)}, expected {_words(self._size)}"

    def faults(self) -> tuple[str, ...]:
        """The last frame's fault as a line for whoever mends cameras."""
        with self._lock:
            if self._other is None or self._size is None:
                return ()
            return (
                f"SETUP: the camera gives {_words(self._other)}, at the start it gave {_words(self._size)}. "
                "Set it back, or start again with the new size",
            )


def _words(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
