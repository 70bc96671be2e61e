"""Several frames under judgement at once, results in the order of the frames.

Knows threads, order and the end. Does not know where frames come from, nor what a judgement is.

While the engine works on one frame, the next is made small and the mask of the one before is drawn. On two
x86 cores two judges brought 1.5 times the frames of one (0.92 and 0.61 of the bare graphs, docs/time_pipeline.py); more
than two were not timed.
"""

import threading
from collections.abc import Callable

from diffad_runtime.result import Frame, Result

Take = Callable[[], Frame | None]


class Judges:
    """Threads that take a frame, judge it, and hand the result on; `emit` is called by one of them at a time, in order.

    Args:
        count: threads.
        take: gives the next frame, None at the end; called by one thread at a time, and never again after None or an
            exception.
        judge: frame -> result, or None where the run is over and this frame has no judgement.
        emit: gets each frame and its result.

    Attributes:
        error: what `take`, `judge` or `emit` raised first.
    """

    def __init__(
        self,
        count: int,
        take: Take,
        judge: Callable[[Frame], Result | None],
        emit: Callable[[Frame, Result], None],
    ) -> None:
        self.error: BaseException | None = None
        self._take, self._judge, self._emit = take, judge, emit
        self._taking = threading.Lock()
        self._emitting = threading.Lock()
        self._over = False
        self._taken = 0
        self._next = 0
        self._ready: dict[int, tuple[Frame, Result] | None] = {}
        self._finished = threading.Event()
        self._left = count
        self._threads = [threading.Thread(target=self._work, name=f"judge {i}", daemon=True) for i in range(count)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float | None = None) -> bool:
        """Whether all judges have ended; waits at most so long. Hears Ctrl-C."""
        return self._finished.wait(seconds)

    def stop(self) -> None:
        """Take no more frames; those under judgement are finished and handed on."""
        self._over = True

    def _work(self) -> None:
        try:
            while (taken := self._next_frame()) is not None:
                number, frame = taken
                result = self._judge(frame)
                self._hand_on(number, None if result is None else (frame, result))
                if result is None:
                    self._over = True
                del frame, result, taken  # while the next one is awaited, nothing of this one is held
        except BaseException as error:  # raised again by whoever waits
            self._fail(error)
        finally:
            with self._taking:
                self._left -= 1
                if self._left == 0:
                    self._finished.set()

    def _next_frame(self) -> tuple[int, Frame] | None:
        with self._taking:
            if self._over:
                return None
            try:
                frame = self._take()
            except BaseException:
                self._over = True
                raise
            if frame is None:
                self._over = True
                return None
            self._taken += 1
            return self._taken - 1, frame

    def _hand_on(self, number: int, judged: tuple[Frame, Result] | None) -> None:
        with self._emitting:
            self._ready[number] = judged
            while self._next in self._ready:
                ready = self._ready.pop(self._next)
                if ready is not None:
                    self._emit(*ready)  # where it raises, nothing more is handed on: the next number never comes
                self._next += 1

    def _fail(self, error: BaseException) -> None:
        self._over = True
        if self.error is None:
            self.error = error
