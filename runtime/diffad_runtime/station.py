"""A camera at a station where parts are asked for by triggers: one verdict for each, before its deadline.

Knows threads, clocks and who waits for what. Does not know which picture belongs to which part, nor when a verdict is
due (parts.py), nor where triggers come from.

    capture    takes every frame, at once, and asks the ledger whose it is
    judges     judge the frames that were claimed; these are never dropped
    deadlines  gives ERROR to whoever would be late
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

import numpy as np
from typing_extensions import Self

from diffad_runtime import parts
from diffad_runtime.delivery import Delivery, SinkFault
from diffad_runtime.errors import InputError
from diffad_runtime.frameguard import FrameGuard
from diffad_runtime.inspector import Inspector
from diffad_runtime.monitor import Monitor
from diffad_runtime.result import ErrorCode, Frame, Result, SourceState
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sources import Source

_PATIENCE_S = 2.0
_LONGEST_MS = 3_600_000.0
GUARD_MS = 20.0
"""A verdict is due this much before its deadline: what a thread may take to wake up and tell it."""


@dataclass(slots=True)
class _Ticket:
    """Who asked, and whom to tell."""

    part_id: str
    recipe: str | int | None
    future: "Future[Result]"
    asked: float
    asked_utc: datetime
    claimed: float = 0.0
    waits: dict[str, float] = field(default_factory=dict)


class Station:
    """Judges parts on demand. Every trigger gets exactly one Result: OK, NG or ERROR, where late, lost or failed.

    A frame shows the part that was triggered last before its capture; where no picture comes before the next trigger,
    the part is ERROR. Sinks get the Result of each part, with an empty frame (0 x 0, frame_id -1) where it has none.

    Args:
        inspector: judges; stays open.
        source: opened, closed with the station.
        sinks: get each part's frame and Result; closed with the station.
        on_verdict: called with each Result on the thread that reached it, before sinks; must be quick. What it raises
            is counted as a problem and goes no further.
        late_trigger_ms: a trigger may come so long after its part's picture was taken.
        camera_delay_ms: from exposure to the frame's time stamp, where the camera is known to be late.
        monitor: counts; None: one of its own.
        judges: frames under judgement at once.
    """

    def __init__(
        self,
        inspector: Inspector,
        source: Source,
        sinks: Sequence[Sink] = (),
        *,
        on_verdict: Callable[[Result], None] | None = None,
        late_trigger_ms: float = 0.0,
        camera_delay_ms: float = 0.0,
        monitor: Monitor | None = None,
        judges: int = 2,
    ) -> None:
        for name, value in (("late_trigger_ms", late_trigger_ms), ("camera_delay_ms", camera_delay_ms)):
            if not 0 <= value <= _LONGEST_MS:
                raise InputError(f"{name} is {value}, expected 0 to {_LONGEST_MS:.0f}", mend="Give milliseconds")
        self.monitor = monitor or Monitor(inspector, source, triggered=True)
        self.problems: deque[str] = deque(maxlen=20)
        self._inspector, self._source = inspector, source
        self._on_verdict = on_verdict
        self._lead_s, self._delay_s = 1e-3 * late_trigger_ms, 1e-3 * camera_delay_ms
        self._delivery = Delivery(sinks, wait=False)
        self._guard = FrameGuard(live=source.live)
        self._parts = parts.Parts()
        self._tickets: dict[int, _Ticket] = {}
        self._jobs: deque[tuple[int, Frame]] = deque()
        self._newest: Frame | None = None
        self._gone = ""  # why no frame will come any more
        self._closed = False
        self._changed = threading.Condition()
        self.monitor.setup.append(self._guard.faults)
        self.monitor.sinks = self._delivery.status
        self.monitor.queues["judge"] = lambda: len(self._jobs)
        work = [("capture", self._capture), ("deadlines", self._watch_deadlines)]
        work += [(f"judge {number}", self._judge_claimed) for number in range(judges)]
        self._threads = [threading.Thread(target=target, name=name, daemon=True) for name, target in work]
        for thread in self._threads:
            thread.start()

    def submit(self, part_id: str, deadline_ms: float, recipe: str | int | None = None) -> "Future[Result]":
        """Ask for a part's verdict.

        Args:
            part_id: for the Result.
            deadline_ms: from now; the verdict is there before.
            recipe: by name or index; None: the one in force.

        Returns:
            a future that always gets a Result, never an exception, and cannot be cancelled.

        Raises:
            InputError: deadline_ms is not a positive number of milliseconds up to an hour.
        """
        now, utc = time.monotonic(), datetime.now(timezone.utc)
        if not (math.isfinite(deadline_ms) and 0 < deadline_ms <= _LONGEST_MS):
            raise InputError(
                f"deadline_ms is {deadline_ms}, expected more than 0 and at most {_LONGEST_MS:.0f}",
                mend="Give the milliseconds that the line leaves between trigger and reject gate",
            )
        future: Future[Result] = Future()
        future.set_running_or_notify_cancel()  # a part cannot be taken back
        due = now + 1e-3 * max(deadline_ms - GUARD_MS, deadline_ms / 2)
        with self._changed:
            number = self._parts.triggers
            self._tickets[number] = _Ticket(part_id, recipe, future, now, utc)
            decided = self._apply(parts.triggered(self._parts, now - self._lead_s, due))
            if self._gone:
                code = ErrorCode.CLOSED if self._closed else ErrorCode.CAMERA
                decided += self._apply(parts.abandoned(self._parts, self._gone, code, waiting_only=True))
            self._changed.notify_all()
        self._tell(decided)
        return future

    def trigger(self, part_id: str, deadline_ms: float, recipe: str | int | None = None) -> Result:
        """As `submit`, and wait for the Result."""
        future = self.submit(part_id, deadline_ms, recipe)
        try:
            return future.result(1e-3 * deadline_ms)
        except FutureTimeout:  # the thread that watches deadlines did not get to run: do its work here
            self._expire()
            return future.result()

    async def trigger_async(self, part_id: str, deadline_ms: float, recipe: str | int | None = None) -> Result:
        """As `trigger`, for asyncio. The part gets its verdict also where whoever awaits it is cancelled."""
        return await asyncio.wrap_future(self.submit(part_id, deadline_ms, recipe))

    @property
    def sink_faults(self) -> list[SinkFault]:
        """Sinks that failed, how often, and what they said first."""
        return self._delivery.faults

    def close(self) -> None:
        """Give ERROR to all parts without a verdict, and close source and sinks. Legal in every state, and twice."""
        with self._changed:
            first, self._closed = not self._closed, True
            self._gone = "the station is closed"
            decided = self._apply(parts.abandoned(self._parts, self._gone, ErrorCode.CLOSED))
            self._jobs.clear()
            self._newest = None
            self._changed.notify_all()
        self._tell(decided)
        if not first:
            return
        closer = threading.Thread(target=self._source.close, name="close source", daemon=True)
        closer.start()
        until = time.monotonic() + _PATIENCE_S
        for thread in (closer, *self._threads):
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))
                if thread.is_alive():
                    self.problems.append(f"the thread {thread.name!r} did not end; it was left behind")
        self._delivery.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _capture(self) -> None:
        latest, frames = -math.inf, 0
        reason = "the source is at its end: no more pictures come"
        try:
            for frame in self._source:
                latest = max(latest, frame.t_monotonic - self._delay_s)
                frames += 1
                with self._changed:
                    if self._closed:
                        return
                    self._newest = frame
                    decided = self._apply(parts.captured(self._parts, frame.frame_id, latest))
                    self._changed.notify_all()
                self.monitor.set(dropped=frame.frame_id + 1 - frames)
                self._tell(decided)
        except Exception as error:  # every part that waits for it is told
            reason = f"the source failed: {' '.join(str(error).split())}"
            self.problems.append(reason)
        with self._changed:
            self._gone = self._gone or reason
            decided = self._apply(parts.abandoned(self._parts, self._gone, waiting_only=True))
            self._changed.notify_all()
        self._tell(decided)

    def _judge_claimed(self) -> None:
        while True:
            with self._changed:
                while not (self._jobs or self._closed):
                    self._changed.wait()
                if self._closed:
                    return
                number, frame = self._jobs.popleft()
                ticket = self._tickets.get(number)
            if ticket is None:  # its deadline passed while it waited here
                self.monitor.late()
                continue
            ticket.waits["wait"] = 1e3 * (time.monotonic() - ticket.claimed)
            reason = self._guard.refuse(frame)
            result = (
                self._inspector.refused(frame, reason, ticket.part_id)
                if reason
                else self._inspector.judge(frame, ticket.part_id, ticket.recipe)
            )
            with self._changed:
                now = time.monotonic()
                step = parts.judged(self._parts, number, result.verdict, result.error, now, result.code)
                if not step.decisions:
                    self.monitor.late()
                decided = self._apply(step, frame, result)
                self._changed.notify_all()
            self._tell(decided)
            del frame, result, decided, step  # nothing of it is held while the next one is awaited

    def _watch_deadlines(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                due = self._parts.next_deadline
                wait = None if due is None else due - time.monotonic()
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                    continue
            self._expire()

    def _expire(self) -> None:
        status = self._source.status()
        why = "" if status.state is SourceState.STREAMING else f": the source is {status.state.value}, {status.detail}"
        with self._changed:
            decided = self._apply(parts.expired(self._parts, time.monotonic(), why.rstrip(", ")))
            self._changed.notify_all()
        self._tell(decided)

    def _apply(
        self, step: parts.Step, frame: Frame | None = None, result: Result | None = None
    ) -> list[tuple[_Ticket, Frame, Result]]:
        """Take a step of the ledger, under the lock; whoever was decided is told outside it."""
        self._parts = step.parts
        if step.claim is not None and self._newest is not None:
            ticket = self._tickets[step.claim[0]]
            ticket.claimed = time.monotonic()
            ticket.waits["picture"] = 1e3 * max(0.0, self._newest.t_monotonic - self._delay_s - ticket.asked)
            self._jobs.append((step.claim[0], self._newest))
        decided = []
        for decision in step.decisions:
            ticket = self._tickets.pop(decision.number)
            shown = frame or Frame(
                np.empty((0, 0, 3), np.uint8),
                -1,
                time.monotonic(),
                ticket.asked_utc + timedelta(seconds=time.monotonic() - ticket.asked),
            )
            if result is None or result.verdict is not decision.verdict:
                result = self._inspector.refused(shown, decision.reason, ticket.part_id, code=decision.code)
            decided.append((ticket, shown, replace(result, t_trigger=ticket.asked_utc)))
            frame = result = None
        self.monitor.set(pending=len(self._tickets))
        return decided

    def _tell(self, decided: list[tuple[_Ticket, Frame, Result]]) -> None:
        for ticket, frame, result in decided:
            took_ms = 1e3 * (time.monotonic() - ticket.asked)
            told = replace(result, latency_ms={**result.latency_ms, **ticket.waits, "trigger": took_ms})
            self.monitor.count(told)
            ticket.future.set_result(told)
            if self._on_verdict is not None:
                try:
                    self._on_verdict(told)
                except Exception as error:  # foreign code
                    self.problems.append(f"on_verdict failed: {type(error).__name__}: {error}")
            self._delivery.put(frame, told)
