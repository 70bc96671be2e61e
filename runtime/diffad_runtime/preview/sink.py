"""Takes every frame and result of a run and keeps what a page would show, without making any of it.

Knows what is newest and what came before. Does not know pages or viewers: whoever waits for news leaves a function.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from diffad_runtime.preview.rejects import Rejects
from diffad_runtime.preview.settings import Settings
from diffad_runtime.result import Frame, Result, Verdict
from diffad_runtime.sinks.base import Sink

_NO_MASK = np.zeros((0, 0), np.uint8)
_NO_MAP = np.zeros((0, 0), np.float32)


@dataclass(frozen=True, slots=True)
class Mark:
    """One result in the strip of scores; `at` is when it came, seconds on the monotonic clock."""

    verdict: Verdict
    score: float
    threshold: float
    at: float


class PreviewSink(Sink):
    """Keeps references; shrinks a picture only where a part was NG or ERROR.

    Holds on to one frame and its mask, 8 MB at 1080p, and to the small pictures of the rejects.

    Attributes:
        number: results that came so far.
        ended: it was closed, nothing more will come.
        rejects: the last parts that were NG or ERROR.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = "preview"
        self.number = 0
        self.ended = False
        self.rejects = Rejects(settings.rejects, max(64, settings.longest * 2 // 3), settings.quality)
        self._clock = clock
        self._lock = threading.Lock()
        self._newest: tuple[int, Frame, Result] | None = None
        self._marks: deque[Mark] = deque(maxlen=settings.results)
        self._latencies: deque[dict[str, float]] = deque(maxlen=settings.results)
        self._tell: Callable[[], None] | None = None

    def write(self, frame: Frame, result: Result) -> None:
        mark = Mark(result.verdict, result.score, result.image_threshold, self._clock())
        number = self.number + 1
        if result.verdict is not Verdict.OK:
            self.rejects.add(number, frame, result, replace(result, mask=_NO_MASK, anomaly_map=_NO_MAP))
        with self._lock:
            self._newest = (number, frame, result)
            self._marks.append(mark)
            self._latencies.append(result.latency_ms)
            self.number = number
        self._announce()

    def close(self) -> None:
        self.ended = True
        self._announce()

    def call_once(self, tell: Callable[[], None]) -> None:
        """Call `tell` at the next result, once. It replaces one that was left before."""
        with self._lock:
            self._tell = tell

    def newest(self) -> tuple[int, Frame, Result] | None:
        """With its number; None before the first."""
        with self._lock:
            return self._newest

    def marks(self) -> list[Mark]:
        """Of the last results, oldest first."""
        with self._lock:
            return list(self._marks)

    def latencies(self) -> list[dict[str, float]]:
        """Milliseconds per stage of the last results, oldest first."""
        with self._lock:
            return list(self._latencies)

    def _announce(self) -> None:
        with self._lock:
            tell, self._tell = self._tell, None
        if tell is not None:
            tell()
