"""Hands results to the sinks, each on a thread and a queue of its own, so that none holds up another one or the line.

Knows order, bounded queues, faults and how they end. Does not know what a sink does with a result.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from diffad_runtime.result import Frame, Result
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sinks.status import SinkStatus

# Eight frames are a quarter of a second at 30 frames a second: an fsync or a busy disk, not a sink that is too slow,
# which no depth helps. Arrays are shared, so sinks that are equally late hold the same 8 frames: at 1080p 6.2 MB of
# picture and 2.1 MB of mask each, and one more in the sink's hands, 75 MB. Sinks late by different amounts hold more.
DEPTH = 8
LIVE_LIMIT_S = 3.0  # and a third of it for closing: a stop is done within 5 s
FILE_LIMIT_S = 30.0

_HANG_S = 30.0
_AT_ONCE = 2  # so many faults in a row are each followed by another try at once
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
_LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class SinkFault:
    """What went wrong in one sink: how many results it failed on, and what it said first.

    Attributes:
        sink: its name.
        count: results that failed or were lost to a failure, and a close() that failed or did not come back.
        first_error: one line.
        dropped: results that it never saw because its queue was full (live runs only).
    """

    sink: str
    count: int
    first_error: str
    dropped: int = 0


class Delivery:
    """Writes every result to every sink, in the order of `put`. Closes the sinks when it is closed.

    A sink that raises is counted and gets the next result. In a live run, one that raises again and again is left alone
    for a growing pause (0.1 s, doubled up to 10 s), whose results count as faults; one success makes it healthy again.
    Where nothing may be lost there is no pause: each result is tried.

    Args:
        sinks: closed from now on by `close`.
        wait: True for files and folders: `put` waits for room, so that nothing is lost, but for a sink that has been
            busy with one result for longer than `hang_s`. False for cameras and triggers: a full queue drops the result
            for that sink alone and counts it.
        depth: results that each sink may be behind.
        hang_s: seconds in one call after which a sink counts as hanging.
    """

    def __init__(self, sinks: Sequence[Sink], *, wait: bool, depth: int = DEPTH, hang_s: float = _HANG_S) -> None:
        self._wait = wait
        self._lanes = [_Lane(sink, depth, hang_s, patient=wait) for sink in sinks]

    def put(self, frame: Frame, result: Result) -> None:
        """Queue a result for all sinks. From any thread; after `close` it is dropped and counted."""
        # Whoever has room gets it first: while one sink is waited for, the others have work.
        full = [lane for lane in self._lanes if not lane.offer(frame, result, last=not self._wait)]
        for lane in full:
            lane.offer_patiently(frame, result)

    def close(self, limit_s: float | None = None) -> None:
        """Let the sinks take what is queued, then close them. From any thread, and twice.

        What a sink has not taken by then is lost and counted; to be closed it gets a third of the limit more. One
        that still does not come back is left behind and counted.

        Args:
            limit_s: None: 3 s in a live run, 30 s otherwise.
        """
        limit = limit_s if limit_s is not None else FILE_LIMIT_S if self._wait else LIVE_LIMIT_S
        start = time.monotonic()
        for lane in self._lanes:
            lane.finish(start + limit)
        for lane in self._lanes:
            lane.leave(start + limit + limit / 3, limit)

    def status(self) -> tuple[SinkStatus, ...]:
        """How each sink is doing; from any thread, without waiting for a sink."""
        return tuple(lane.status() for lane in self._lanes)

    @property
    def faults(self) -> list[SinkFault]:
        """Sinks that failed so far. Drops alone are no fault: see `status`."""
        return [
            SinkFault(status.name, status.faults, status.first_error, status.dropped)
            for status in self.status()
            if status.faults
        ]


class _Lane:
    """One sink, its queue and its thread. `_changed` guards all fields; it is never held while the sink is called."""

    def __init__(self, sink: Sink, depth: int, hang_s: float, *, patient: bool) -> None:
        self._sink = sink
        self._name = str(getattr(sink, "name", "") or type(sink).__name__)
        self._depth, self._hang_s, self._patient = max(1, depth), hang_s, patient
        self._queue: deque[tuple[Frame, Result]] = deque()
        self._changed = threading.Condition()
        self._deadline: float | None = None  # set by finish(): after it, what is queued is given up
        self._left = self._ended = False
        self._busy_since: float | None = None
        self._written = self._faults = self._dropped = self._in_a_row = 0
        self._first = self._last = ""
        self._hang_said = False
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._work, name=f"sink: {self._name}", daemon=True)
        self._thread.start()

    def offer(self, frame: Frame, result: Result, *, last: bool) -> bool:
        """Whether it was queued, or need not be offered again; with `last`, no room means dropped."""
        with self._changed:
            if self._deadline is None and len(self._queue) < self._depth:
                self._queue.append((frame, result))
                self._changed.notify_all()
                return True
            if last or self._deadline is not None:
                self._hangs()
                self._dropped += 1
                return True
            return False

    def offer_patiently(self, frame: Frame, result: Result) -> None:
        """Wait for room, as long as the sink does not hang."""
        with self._changed:
            while len(self._queue) >= self._depth and self._deadline is None:
                if self._hangs():
                    self._faults += 1
                    return
                busy_for = 0.0 if self._busy_since is None else time.monotonic() - self._busy_since
                self._changed.wait(max(0.001, self._hang_s - busy_for))
            if self._deadline is not None:
                self._dropped += 1
                return
            self._queue.append((frame, result))
            self._changed.notify_all()

    def finish(self, deadline: float) -> None:
        with self._changed:
            if self._deadline is None or deadline < self._deadline:
                self._deadline = deadline
            self._changed.notify_all()

    def leave(self, deadline: float, limit_s: float) -> None:
        """Wait for the thread until `deadline`, then give it up; `limit_s` is for the message."""
        if threading.current_thread() is self._thread:  # a sink that closes the delivery: it cannot wait for itself
            return
        with self._changed:
            while not (self._ended or self._left) and (rest := deadline - time.monotonic()) > 0:
                self._changed.wait(rest)
            if not self._ended and not self._left:
                self._left = True
                self._fault(f"did not finish within {limit_s:g} s and was left behind", 1 + len(self._queue))
                self._queue.clear()
            ended = self._ended
        if ended:
            self._thread.join()  # it has nothing left to do; afterwards no thread of it is to be seen

    def status(self) -> SinkStatus:
        with self._changed:
            hangs = self._hangs()
            return SinkStatus(
                name=self._name,
                written=self._written,
                faults=self._faults,
                dropped=self._dropped,
                waiting=len(self._queue),
                first_error=self._first,
                last_error=self._last,
                healthy=not (hangs or self._in_a_row or self._left),
            )

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            error = self._call(partial(self._sink.write, *taken))
            del taken  # or an idle sink would keep a picture alive
            with self._changed:
                if error is None:
                    self._written += 1
                    self._in_a_row = 0
                else:
                    self._fault(error)
        error = self._call(self._sink.close)
        with self._changed:
            if error is not None:
                self._fault(error)
            self._ended = True
            self._changed.notify_all()

    def _next(self) -> tuple[Frame, Result] | None:
        """The next result to write; None where the sink is to be closed."""
        with self._changed:
            while True:
                while not self._queue and self._deadline is None:
                    self._changed.wait()
                if self._left or not self._queue:
                    return None
                now = time.monotonic()
                if self._deadline is not None and now > self._deadline:
                    self._fault(f"still had {len(self._queue)} results to write when the run ended", len(self._queue))
                    self._queue.clear()
                    return None
                taken = self._queue.popleft()
                self._changed.notify_all()
                if now >= self._retry_at or self._patient:
                    return taken
                self._faults += 1
                del taken

    def _call(self, call: Callable[[], None]) -> str | None:
        """What the sink raised, in words, or None."""
        with self._changed:
            self._busy_since, self._hang_said = time.monotonic(), False
        try:
            call()
        # A sink is foreign code; no fault of it may stop the line. SystemExit and KeyboardInterrupt are no exception:
        # signals are raised on the main thread, so here they can only be the sink's own, and letting them pass would
        # end this thread in silence.
        except BaseException as error:
            return _said(error)
        finally:
            with self._changed:
                self._busy_since = None
                self._changed.notify_all()
        return None

    def _fault(self, message: str, count: int = 1) -> None:
        self._faults += count
        self._in_a_row += 1
        self._first, self._last = self._first or message, message
        if self._in_a_row >= _AT_ONCE:
            pause = min(_FIRST_PAUSE_S * 2 ** min(self._in_a_row - _AT_ONCE, 32), _LONGEST_PAUSE_S)
            self._retry_at = time.monotonic() + pause

    def _hangs(self) -> bool:
        if self._busy_since is None or time.monotonic() - self._busy_since < self._hang_s:
            return False
        if not self._hang_said:
            self._hang_said = True
            self._last = f"has been busy with one result for more than {self._hang_s:g} s"
            self._first = self._first or self._last
        return True


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())[:_LONGEST_MESSAGE]
    if isinstance(error, Exception):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}".removesuffix(": ")
