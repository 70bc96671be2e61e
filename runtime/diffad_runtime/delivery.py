"""Hands results to the sinks on a thread of its own, and keeps a broken sink away from the inspection.

Knows order, a bounded queue and faults. Does not know what a sink does with a result.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from diffad_runtime.result import Frame, Result
from diffad_runtime.sinks.base import Sink

# Enough to ride out a slow write; a queue that is full makes the judge wait, and a live feed then drops frames.
_DEPTH = 8
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class SinkFault:
    """What went wrong in one sink: how often, and what it said first."""

    sink: str
    count: int
    first_error: str


class Delivery:
    """Writes to every sink in turn, frame by frame, in order. Closes the sinks when it is closed."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)
        self._waiting: deque[tuple[Frame, Result]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._counts: dict[int, int] = {}
        self._first: dict[int, str] = {}
        self._thread = threading.Thread(target=self._work, name="sinks", daemon=True)
        self._thread.start()

    def put(self, frame: Frame, result: Result) -> None:
        """Queue a result for all sinks; waits while the queue is full."""
        with self._changed:
            while len(self._waiting) >= _DEPTH and not self._closed:
                self._changed.wait()
            self._waiting.append((frame, result))
            self._changed.notify_all()

    def close(self) -> None:
        """Let the sinks take what is queued, then close them. A sink that hangs is left behind and counted."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            for index in range(len(self._sinks)):
                self._count(index, f"did not finish within {_PATIENCE_S:.0f} s")

    @property
    def faults(self) -> list[SinkFault]:
        """Sinks that failed so far."""
        return [SinkFault(self._sinks[index].name, count, self._first[index]) for index, count in self._counts.items()]

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._closed):
                    self._changed.wait()
                if not self._waiting:
                    break
                frame, result = self._waiting.popleft()
                self._changed.notify_all()
            for index, sink in enumerate(self._sinks):
                try:
                    sink.write(frame, result)
                except Exception as error:  # a sink is foreign code; no fault of it may stop the line
                    self._count(index, _said(error))
        for index, sink in enumerate(self._sinks):
            try:
                sink.close()
            except Exception as error:  # as above
                self._count(index, _said(error))

    def _count(self, index: int, message: str) -> None:
        self._counts[index] = self._counts.get(index, 0) + 1
        self._first.setdefault(index, message)


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
