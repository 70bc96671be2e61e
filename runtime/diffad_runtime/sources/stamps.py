"""When a picture was taken, from the stream's own clock and from when it arrived.

Pure. Knows clocks that drift, jump and start anywhere. Does not know containers or protocols.
"""

from collections import deque

_WINDOW_S = 30.0
_JUMP_S = 5.0


class CaptureClock:
    """Maps a stream's time stamps (PTS, seconds) to the monotonic clock.

    capture = pts + min over the last `window_s` of (arrival - pts): what came with the least delay is taken to have
    come with none, and the delay of the others is their jitter. The constant part of the delay (exposure, encoder,
    network) cannot be seen from here and is not taken off. Stamps that step back, or run away from the arrivals by more
    than `jump_s`, start anew, as after a jump of the camera's clock.

    A capture is never after its arrival, and never before the capture of the picture before.

    Args:
        window_s: how far back the smallest delay is looked for; long against jitter, short against drift of clocks
            (100 ppm are 3 ms in 30 s).
        jump_s: longer than a hold-up of the network after which the pictures that it kept should be known as old.
    """

    def __init__(self, *, window_s: float = _WINDOW_S, jump_s: float = _JUMP_S) -> None:
        self._window_s = window_s
        self._jump_s = jump_s
        # (arrival, arrival - pts), the second rising from the left: the smallest of the window is always the first.
        self._least: deque[tuple[float, float]] = deque()
        self._last: float | None = None
        self._pts: float | None = None

    def capture(self, pts: float | None, arrival: float) -> float:
        """Monotonic seconds at which the picture was taken.

        Args:
            pts: seconds on the stream's clock; None where it carries none.
            arrival: monotonic seconds, not smaller than at the call before.
        """
        captured = arrival if pts is None else self._map(pts, arrival)
        if self._last is not None:
            captured = max(captured, self._last)
        self._last = min(captured, arrival)
        return self._last

    def _map(self, pts: float, arrival: float) -> float:
        delay = arrival - pts
        stepped_back = self._pts is not None and pts < self._pts
        if self._least and (stepped_back or abs(delay - self._least[0][1]) > self._jump_s):
            self._least.clear()
        self._pts = pts
        while self._least and self._least[-1][1] >= delay:
            self._least.pop()
        self._least.append((arrival, delay))
        while self._least[0][0] < arrival - self._window_s:
            self._least.popleft()
        return pts + self._least[0][1]
