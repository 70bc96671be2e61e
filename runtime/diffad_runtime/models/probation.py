"""Counts what a trial does to parts while they are judged, and ends the trial: commit or rollback.

Knows which verdicts say something of the model, and when to ask trial.py. Does not know how an engine is changed: a
Watch sees that, like every other change.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from diffad_runtime.errors import DiffadError
from diffad_runtime.health.logs import event
from diffad_runtime.models.changing import commit, rollback, steady
from diffad_runtime.models.starting import Active
from diffad_runtime.models.state import Measured
from diffad_runtime.models.trial import Action, Decision, Observed, TrialSettings, decide, slow_from_ms
from diffad_runtime.result import ErrorCode, Result, Verdict

_LOG = logging.getLogger(__name__)
BLAMED: Final = frozenset(
    {ErrorCode.NONE, ErrorCode.LATE, ErrorCode.RECIPE, ErrorCode.ENGINE, ErrorCode.BUSY, ErrorCode.INTERNAL}
)
"""Of a part that is ERROR: the model may be to blame. The others say that there was no picture to judge."""
_RETRY_S = 30.0
_LATENCIES = 2000


class Probation:
    """One trial, from its start to its end. Every method may be called from any thread.

    Args:
        active: what is run. Where it is no trial, nothing is counted and nothing happens.
        settings: the limits.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        active: Active,
        settings: TrialSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._active = active
        self._settings = settings or TrialSettings()
        self._clock = clock
        self._began = clock()
        self._slow_from = slow_from_ms(self._settings, active.reference)
        self._lock = threading.Lock()
        self._judged = self._ng = self._slow = self._errors = self._failures = 0
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._looked = -1
        self._again = -math.inf  # not before that time, after the disk refused
        self._steady = False
        self._ended = not active.trial

    def count(self, result: Result) -> None:
        """A verdict was reached. Quick. Results of another bundle, under judgement during the change, are left out."""
        if self._ended or result.bundle_digest != self._active.digest:
            return
        with self._lock:
            if result.verdict is Verdict.ERROR:
                self._errors += result.code in BLAMED
                self._failures = self._failures + 1 if result.code is ErrorCode.ENGINE else self._failures
                return
            took = result.latency_ms.get("total", 0.0)
            self._latencies.append(took)
            self._judged += 1
            self._failures = 0
            self._ng += result.verdict is Verdict.NG
            self._slow += took > self._slow_from

    def observed(self) -> Observed:
        """What was counted so far."""
        with self._lock:
            return Observed(
                self._judged, self._ng, self._slow, self._errors, self._failures, self._clock() - self._began
            )

    def tick(self) -> Decision | None:
        """Look whether the trial is to be ended, and end it. Call it every second or so; it writes to the disk when it
        ends the trial, and once before that. Never raises: where the disk refuses, it tries again later.

        Returns:
            what was done, once; None while the trial goes on, and after its end.
        """
        seen = self.observed()
        if self._ended or self._clock() < self._again:
            return None
        decision = decide(self._settings, seen, self._active.reference, alone=self._active.alone)
        try:
            if decision.action is Action.KEEP:
                if not self._steady and seen.judged >= self._settings.steady_parts:
                    steady(self._active.folder, self._active.generation)
                    self._steady = True
                return None
            self._end(decision, seen)
        except DiffadError as error:
            self._again = self._clock() + _RETRY_S
            event(_LOG, logging.ERROR, "model_trial", f"{decision.action.value} failed: {error}")
            return None
        self._ended = True
        return decision

    def _end(self, decision: Decision, seen: Observed) -> None:
        folder, number = self._active.folder, self._active.generation
        if decision.action is Action.COMMIT:
            measured = Measured(parts=seen.judged, ng=seen.ng, p99_ms=self._p99_ms())
            commit(folder, generation=number, measured=measured, reason=decision.reason)
            event(_LOG, logging.INFO, "model_committed", f"generation {number} is in force: {decision.reason}")
        else:
            rollback(folder, decision.reason, generation=number)
            event(_LOG, logging.ERROR, "model_rolled_back", f"generation {number} was dropped: {decision.reason}")

    def _p99_ms(self) -> float:
        """Nearest rank, of the newest parts."""
        with self._lock:
            ordered = sorted(self._latencies)
        return max(ordered[math.ceil(0.99 * len(ordered)) - 1], 1e-3)
