"""Takes frames from a source on a thread of its own, so that a slow judge never makes a camera wait.

Knows when frames may be dropped: a live source keeps only its newest frame, whatever else came is dropped and counted;
a file or a folder waits until there is room. Does not know what becomes of the frames.
"""

import threading
from collections import deque
from collections.abc import Iterator

from diffad_runtime.result import Frame
from diffad_runtime.sources import Source

# Deep enough to keep decoding and judging busy at once; every frame more is 6 MB at 1080p.
_FILE_DEPTH = 2
_PATIENCE_S = 2.0


class Feed:
    """An iterator over the frames of one source. The thread starts with the first `next`; the feed closes the source.

    One consumer. `close()` may come from any thread, at any time, more than once; the consumer then gets the end.

    Attributes:
        source: the source.
        dropped: frames of a live source that were never handed out: gaps in the frame ids, here or in the source.
        stuck: True where the source did not return from a read after close(); its thread is left behind.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.dropped = 0
        self.stuck = False
        self._frames: deque[Frame] = deque()
        self._depth = 1 if source.live else _FILE_DEPTH
        self._changed = threading.Condition()
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None
        self._next_id = 0
        self._thread: threading.Thread | None = None
        self._closer: threading.Thread | None = None

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        """The next frame.

        Raises:
            StopIteration: the source ended, or close() was called.
            Exception: whatever the source raised, after the frames before it were handed out.
        """
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._capture, name="capture", daemon=True)
                self._thread.start()
            while not (self._frames or self._ended or self._closed):
                self._changed.wait()
            if self._closed:
                raise StopIteration
            if not self._frames:
                if self._error is not None:
                    raise self._error
                raise StopIteration
            frame = self._frames.popleft()
            self._changed.notify_all()
            if self.source.live:
                self.dropped += max(0, frame.frame_id - self._next_id)
            self._next_id = frame.frame_id + 1
            return frame

    def waiting(self) -> int:
        """Frames that nobody has taken yet."""
        return len(self._frames)

    def close(self) -> None:
        """End the feed and close the source. Waits a few seconds at most."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._frames.clear()
                self._changed.notify_all()
                # The source's close() wakes a read that waits, but waits itself for one that hangs: hence on a thread,
                # joined for a while. Started under the lock: another close() may come at once, and joins it too.
                self._closer = threading.Thread(target=self._close_source, name="close source", daemon=True)
                self._closer.start()
        for other in (self._closer, self._thread):
            if other is not None and other is not threading.current_thread():
                other.join(_PATIENCE_S)
                self.stuck = self.stuck or other.is_alive()

    def _capture(self) -> None:
        error: BaseException | None = None
        try:
            for frame in self.source:
                if not self._offer(frame):
                    break
        except Exception as caught:  # handed to the consumer, which raises it
            error = caught
        with self._changed:
            self._error = error
            self._ended = True
            self._changed.notify_all()

    def _close_source(self) -> None:
        try:
            self.source.close()
        except Exception as error:  # nobody is left to take it; the frames it gave are good
            self.source.problems.append(f"closing it failed: {error}")

    def _offer(self, frame: Frame) -> bool:
        """Whether more are wanted."""
        with self._changed:
            if self.source.live:
                self._frames.clear()
            while len(self._frames) >= self._depth and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self._frames.append(frame)
            self._changed.notify_all()
            return True
