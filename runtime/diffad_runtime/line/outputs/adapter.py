"""Digital outputs beside a station: verdicts become edges.

Knows the desk, the pattern and one kind of lines. Does not know when what is on (pattern.py), nor how a line is driven.

A verdict that finds the lines at rest is driven by the thread that reached it. All that has to wait, the end of a pulse
first of all, is done by one thread of its own; so is taking lines again that were lost.
"""

import atexit
import logging
import threading
import time
from collections.abc import Callable

from diffad_runtime.errors import DiffadError, InputError
from diffad_runtime.health.logs import event
from diffad_runtime.line.base import Adapter, Desk
from diffad_runtime.line.handshake import signals
from diffad_runtime.line.job import AdapterStatus, LineState, Outcome, Phase
from diffad_runtime.line.outputs import pattern as patterns
from diffad_runtime.line.outputs.lines import Lines, make_lines
from diffad_runtime.line.outputs.settings import OutputsSettings, Signal
from diffad_runtime.line.settings import Address

_LOG = logging.getLogger(__name__)
_PATIENCE_S = 1.5
_ORDER = (Signal.ERROR, Signal.NG, Signal.OK, Signal.READY, Signal.HEARTBEAT)
"""Of lines that go on together: whoever waits for an edge of NG finds ERROR as it belongs to it."""
_AGAIN_S = (0.2, 5.0)
"""Lost lines are asked for again after the first, then after twice as long each time, up to the second."""


class OutputsAdapter(Adapter):
    """Line signals by digital outputs. All outcomes are put out, whoever asked for them.

    Args:
        settings: of [outputs].
        address: of the station; lines have no room for it.
        lines: in place of those that the settings ask for.
        clock: seconds, monotonic.
    """

    name = "outputs"

    def __init__(
        self,
        settings: OutputsSettings,
        address: Address | None = None,  # noqa: ARG002  every adapter is given it
        *,
        lines: Lines | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lines = lines or make_lines(settings)
        self._clock = clock
        self._wired = [signal for signal, _ in settings.lines.items()]
        pulse_s = None if settings.pulse_ms == "latched" else 1e-3 * settings.pulse_ms
        self._pattern: patterns.Pattern[Outcome] = patterns.Pattern(patterns.Rules(pulse_s, 1e-3 * settings.gap_ms))
        self._driven: dict[Signal, bool] = {}
        self._changed = threading.Condition()
        self._opening = threading.Lock()
        self._desk: Desk | None = None
        self._thread: threading.Thread | None = None
        self._open = self._closed = False
        self._faults = self._sent = self._missed = 0
        self._last_error = ""

    def start(self, desk: Desk) -> None:
        with self._changed:
            if self._closed or self._thread is not None:
                raise InputError("digital outputs are started once", mend="Make another OutputsAdapter")
        with self._opening:
            self._lines.open()
        with self._changed:
            self._desk, self._open = desk, True
            self._driven = dict.fromkeys(self._wired, False)
            self._thread = threading.Thread(target=self._keep_time, name="outputs", daemon=True)
        # A program that ends without close() must not leave READY on.
        atexit.register(self.close)
        self.state(desk.state())
        self._thread.start()
        if self._closed:  # meanwhile, from another thread
            self._let_go()

    def show(self, outcome: Outcome) -> None:
        lines = signals(outcome)
        high = {Signal.OK: lines.ok, Signal.NG: lines.ng, Signal.ERROR: lines.error}
        on = frozenset(signal for signal, is_on in high.items() if is_on)
        with self._changed:
            if self._desk is None or self._closed:
                return
            if self._open:
                step = patterns.decided(self._pattern, outcome, on, self._clock())
                driven = self._become(step)
            else:  # a verdict that comes out late would be taken for that of another part
                step, driven = patterns.Step(self._pattern, raised=outcome), False
                self._missed += 1
            self._changed.notify()
        self._tell(step, driven)

    def state(self, state: LineState) -> None:
        with self._changed:
            if self._desk is None or self._closed:
                return
            ready = state.phase is Phase.READY
            now = self._clock()
            after = patterns.stationed(self._pattern, ready, state.heartbeat, state.beat_s, now)
            self._become(patterns.Step(after))
            self._changed.notify()

    def status(self) -> AdapterStatus:
        with self._changed:
            return AdapterStatus(
                name=self.name,
                connected=self._open and not self._closed,
                sent=self._sent,
                waiting=len(self._pattern.waiting),
                lost=self._pattern.lost + self._missed,
                faults=self._faults,
                last_error=self._last_error,
                details={"overflowed": self._pattern.lost, "not_driven": self._missed},
            )

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        atexit.unregister(self.close)
        if self._thread is not None:
            self._let_go()
            if self._thread is not threading.current_thread() and self._thread.is_alive():
                self._thread.join(_PATIENCE_S)

    def _let_go(self) -> None:
        """All off, then the lines are given back."""
        with self._changed:
            self._become(patterns.Step(patterns.stopped(self._pattern)))
            self._open = False
        if self._opening.acquire(timeout=_PATIENCE_S / 3):  # the thread may be asking for lost lines just now
            try:
                self._lines.close()
            finally:
                self._opening.release()

    def _become(self, step: patterns.Step[Outcome]) -> bool:
        """Under the lock: the lines are as the pattern says; False: they could not be driven."""
        self._pattern = step.pattern
        if not self._open:
            return False
        levels = self._pattern.levels
        new = {signal: levels[signal] for signal, level in self._driven.items() if level != levels[signal]}
        # Off before on: nobody sees two verdicts where a kind of lines changes them one by one.
        new = dict(sorted(new.items(), key=lambda one: (one[1], _ORDER.index(one[0]))))
        try:
            if new:
                self._lines.set(new)
                self._driven.update(new)
        except OSError as error:
            self._open = False
            self._faults += 1
            self._last_error = f"the output lines could not be driven: {error}"
            self._missed += step.raised is not None
            self._pattern = patterns.rested(self._pattern)
        else:
            self._sent += step.raised is not None
        return self._open

    def _tell(self, step: patterns.Step[Outcome], driven: bool) -> None:
        """Without the lock."""
        if step.raised is not None and driven and self._desk is not None:
            self._desk.signalled(step.raised, self.name)
        elif step.raised is not None:
            text = f"the verdict of {step.raised.job.job_id} was not put out: {self._last_error}"
            event(_LOG, logging.ERROR, "outputs_not_driven", text)
        if step.lost is not None:
            text = f"the verdict of {step.lost.job.job_id} was not put out: they come faster than gap_ms lets them"
            event(_LOG, logging.ERROR, "outputs_overflow", text)

    def _keep_time(self) -> None:
        while self._wait():
            with self._changed:
                step = patterns.ticked(self._pattern, self._clock())
                driven, lost = self._become(step), not self._open
            self._tell(step, driven)
            if lost and not self._closed:
                event(_LOG, logging.ERROR, "outputs_lost", self._last_error)
                self._take_again()

    def _wait(self) -> bool:
        """Until there is something to do; False: it is over."""
        with self._changed:
            due = self._pattern.next_due
            seconds = None if due is None else due - self._clock()
            if not self._closed and self._open and (seconds is None or seconds > 0):
                self._changed.wait(seconds)
            return not self._closed

    def _take_again(self) -> None:
        """Without the lock, as it may take its time: ask for lost lines until they are there."""
        wait_s, longest_s = _AGAIN_S
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._closed, wait_s):
                    return
            try:
                with self._opening:
                    self._lines.close()
                    if self._closed:
                        return
                    self._lines.open()
            except DiffadError as error:
                self._last_error = str(error)
                wait_s = min(2 * wait_s, longest_s)
                continue
            with self._changed:
                self._open, self._driven = not self._closed, dict.fromkeys(self._wired, False)
                self._become(patterns.Step(self._pattern))
            event(_LOG, logging.INFO, "outputs_back", "the output lines are there again")
            return
