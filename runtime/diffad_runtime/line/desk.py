"""Between the line's signals and the station: takes jobs, gives each its one outcome, tells every adapter.

Knows jobs, repeats and the station's state. Does not know protocols, nor how a part is judged.
"""

import logging
import math
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from typing_extensions import Self

from diffad_runtime.errors import InputError, RecipeError
from diffad_runtime.health.logs import event
from diffad_runtime.inspector import Inspector
from diffad_runtime.line.base import Adapter
from diffad_runtime.line.job import AdapterStatus, Job, LineState, Outcome, Phase, Request
from diffad_runtime.monitor import Monitor
from diffad_runtime.result import ErrorCode, Result, SourceState

_LOG = logging.getLogger(__name__)
BEAT_S = 0.5
_LOOK_S = 0.1
_REMEMBERED = 4096
_LONGEST_ID = 200
_LONGEST_MS = 3_600_000.0
_SICK = {ErrorCode.LATE, ErrorCode.ENGINE, ErrorCode.INTERNAL}
_SICK_AFTER = 3
_SICK_S = 2.0
"""A PLC that sees no TriggerReady sends no trigger, so no verdict would ever say that it is better: try again then."""
_NO_MASK = np.zeros((0, 0), np.uint8)
_NO_MAP = np.zeros((0, 0), np.float32)

Submit = Callable[[str, float, "str | int | None"], "Future[Result]"]


@dataclass(slots=True)
class _Kept:
    """A job, and its outcome once there is one."""

    job: Job
    outcome: Outcome | None = None


class LineDesk:
    """The Desk of line/base.py. Every accepted job gets exactly one Outcome, which every adapter is shown once.

    A job id that a channel repeats within its last 4096 jobs is the same job. A station that runs freely, without
    triggers, announces its results instead.

    Args:
        inspector: whose recipes are prepared.
        monitor: counts, and knows camera and engine.
        adapters: owned: started by `start`, closed with the desk.
        submit: Station.submit; None: the station runs freely, triggers are refused.
        deadline_ms: of a job that names none.
        beat_s: between beats.

    Attributes:
        problems: what adapters raised though they must not, the last 20.
    """

    def __init__(
        self,
        inspector: Inspector,
        monitor: Monitor,
        adapters: Sequence[Adapter],
        *,
        submit: Submit | None,
        deadline_ms: float = 500.0,
        beat_s: float = BEAT_S,
    ) -> None:
        self.problems: deque[str] = deque(maxlen=20)
        self.run_id = uuid.uuid4().hex[:12]
        self._inspector, self._monitor, self._adapters = inspector, monitor, tuple(adapters)
        self._submit, self._deadline_ms, self._beat_s = submit, deadline_ms, beat_s
        self._lock = threading.Lock()
        self._order = threading.Lock()  # numbers and windows of parts in the same order
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._numbers = self._duplicates = self._heartbeat = self._last_job = 0
        self._codes: deque[ErrorCode] = deque(maxlen=_SICK_AFTER)
        self._decided_at = -math.inf
        self._was_ready = False
        self._closing = threading.Event()
        self._beats = threading.Thread(target=self._beat, name="line beat", daemon=True)
        monitor.line = self.status
        monitor.setup.append(self._faults)

    def start(self) -> Self:
        """Start all adapters, then the heartbeat.

        Raises:
            InputError, MissingExtraError: one cannot work; those before it are closed again.
        """
        try:
            for adapter in self._adapters:
                adapter.start(self)
        except BaseException:
            self.close()
            raise
        self._beats.start()
        return self

    def trigger(self, request: Request) -> Job:
        """As Desk.trigger."""
        if self._submit is None:
            raise InputError("the station runs freely and takes no triggers", mend="Set triggered = true in its file")
        _check(request)
        with self._order:
            again = self._known(request)
            if again is None:
                kept = self._accept(request)
                deadline = self._deadline_ms if request.deadline_ms is None else request.deadline_ms
                future = self._submit(kept.job.part_id, deadline, request.recipe)
        if again is not None:
            if again.outcome is not None:
                self._show(again.outcome, request.channel)
            return again.job
        future.add_done_callback(lambda done: self._decided(kept, done.result()))
        return kept.job

    def announce(self, result: Result) -> None:
        """A result that nobody asked for: a station that runs freely."""
        name = f"{self.run_id}-{result.frame_id}"
        kept = self._accept(Request("", name, result.part_id or result.name or name))
        self._decided(kept, result)

    def prepare(self, recipe: str | int) -> None:
        """As Desk.prepare."""
        if self._inspector.recipes is None:
            raise RecipeError(f"there is no recipe {recipe!r:.80}, none were loaded", mend="Start with --recipe")
        self._inspector.recipes.get(recipe)
        self._inspector.recipe = recipe

    def recipes(self) -> tuple[tuple[str, int | None], ...]:
        """As Desk.recipes."""
        book = self._inspector.recipes
        return () if book is None else tuple((recipe.name, recipe.index) for recipe in book.recipes)

    def state(self) -> LineState:
        """As Desk.state."""
        snapshot = self._monitor.snapshot()
        manifest = self._inspector.manifest
        recipe, index = self._recipe()
        source = snapshot.source
        with self._lock:
            phase = self._phase(source.state)
            return LineState(
                phase=phase,
                heartbeat=self._heartbeat,
                beat_s=self._beat_s,
                open=snapshot.pending,
                recipe=recipe,
                recipe_index=index,
                counts=snapshot.verdicts,
                duplicates=self._duplicates,
                faults=(*self._why(phase, source.state, source.detail), *snapshot.setup_faults),
                model_id="" if manifest is None else manifest.model_id,
                model_version=0 if manifest is None else manifest.version,
                bundle_digest=self._inspector.bundle_digest,
                last_job=self._last_job,
                run_id=self.run_id,
            )

    def signalled(self, outcome: Outcome, channel: str) -> None:
        """As Desk.signalled."""
        now = time.monotonic()
        self._monitor.add(f"signal {channel}", 1e3 * (now - outcome.job.asked))
        self._monitor.add(f"verdict to {channel}", 1e3 * (now - outcome.decided))

    def status(self) -> tuple[AdapterStatus, ...]:
        """Of every adapter."""
        return tuple(adapter.status() for adapter in self._adapters)

    def close(self) -> None:
        """Tell the line that nobody is home, and close all adapters, at the same time. Twice is harmless."""
        first = not self._closing.is_set()
        self._closing.set()
        if self._beats.ident is not None and self._beats is not threading.current_thread():
            self._beats.join(2)
        if first and self._beats.ident is not None:
            state = self.state()
            for adapter in self._adapters:
                self._guarded(adapter, "state", partial(adapter.state, state))
        closers = [threading.Thread(target=one.close, name=f"close {one.name}", daemon=True) for one in self._adapters]
        for closer in closers:
            closer.start()
        until = time.monotonic() + 3
        for closer in closers:
            closer.join(max(0.0, until - time.monotonic()))
            if closer.is_alive():
                self.problems.append(f"the thread {closer.name!r} did not end; it was left behind")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _known(self, request: Request) -> _Kept | None:
        with self._lock:
            kept = self._kept.get((request.channel, request.job_id)) if request.job_id else None
            self._duplicates += kept is not None
            return kept

    def _accept(self, request: Request) -> _Kept:
        with self._lock:
            self._numbers += 1
            job_id = request.job_id or f"{self.run_id}-{self._numbers}"
            job = Job(self._numbers, job_id, request.part_id or job_id, request, time.monotonic())
            kept = self._kept[request.channel, job_id] = _Kept(job)
            while len(self._kept) > _REMEMBERED:
                self._kept.popitem(last=False)
            return kept

    def _decided(self, kept: _Kept, result: Result) -> None:
        outcome = Outcome(kept.job, result, time.monotonic())
        with self._lock:
            # Remembered for whoever asks again, without the arrays: thousands of masks would not fit.
            kept.outcome = replace(outcome, result=replace(result, mask=_NO_MASK, anomaly_map=_NO_MAP))
            self._codes.append(result.code)
            self._decided_at = outcome.decided
            self._last_job = kept.job.number
        self._show(outcome)

    def _show(self, outcome: Outcome, channel: str | None = None) -> None:
        for adapter in self._adapters:
            if channel is None or adapter.name == channel:
                self._guarded(adapter, "show", partial(adapter.show, outcome))

    def _guarded(self, adapter: Adapter, what: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # one adapter's fault must not keep the others from telling the line
            line = f"{adapter.name}: {what} failed: {type(error).__name__}: {error}"
            if line not in self.problems:
                event(_LOG, logging.ERROR, "line", line)
            self.problems.append(line)

    def _beat(self) -> None:
        told, beat_at = None, 0.0
        while not self._closing.is_set():
            now = time.monotonic()
            if now >= beat_at:
                beat_at = now + self._beat_s
                with self._lock:
                    self._heartbeat += 1
            state = self.state()
            news = (state.phase, state.heartbeat, state.recipe, state.faults, state.bundle_digest)
            if news != told:
                told = news
                for adapter in self._adapters:
                    self._guarded(adapter, "state", partial(adapter.state, state))
            self._closing.wait(min(_LOOK_S, self._beat_s))

    def _recipe(self) -> tuple[str, int | None]:
        if self._inspector.recipes is None:
            return "", None
        try:
            recipe = self._inspector.recipes.get(self._inspector.recipe)
        except RecipeError:  # several, and each part says which; or it was taken away
            return "", None
        return recipe.name, recipe.index

    def _phase(self, source: SourceState) -> Phase:
        if self._closing.is_set() or self._inspector.closed:
            return Phase.STOPPED
        sick = len(self._codes) == _SICK_AFTER and all(code in _SICK for code in self._codes)
        sick = sick and time.monotonic() < self._decided_at + _SICK_S
        if source is SourceState.STREAMING and not sick:
            self._was_ready = True
            return Phase.READY
        return Phase.FAULT if self._was_ready or source is not SourceState.CONNECTING else Phase.STARTING

    def _why(self, phase: Phase, source: SourceState, detail: str) -> tuple[str, ...]:
        if phase is Phase.READY:
            return ()
        if phase is Phase.STOPPED:
            return ("the station is closed",)
        if source is SourceState.STREAMING:
            return (f"the last {_SICK_AFTER} parts had no judgement: {', '.join(code.name for code in self._codes)}",)
        return (f"the camera is {source.value}{': ' if detail else ''}{detail}",)

    def _faults(self) -> tuple[str, ...]:
        return tuple(
            f"LINE: {one.name} is not connected{': ' if one.last_error else ''}{one.last_error}"
            for one in self.status()
            if not one.connected
        )


def _check(request: Request) -> None:
    for name, value in (("job_id", request.job_id), ("part_id", request.part_id)):
        if len(value) > _LONGEST_ID or not value.isprintable():
            raise InputError(
                f"{name} has {len(value)} characters or unprintable ones, expected at most {_LONGEST_ID} plain ones",
                mend="Give a shorter name, or one without control characters",
            )
    deadline = request.deadline_ms
    if deadline is not None and not (math.isfinite(deadline) and 0 < deadline <= _LONGEST_MS):
        raise InputError(
            f"deadline_ms is {deadline}, expected more than 0 and at most {_LONGEST_MS:.0f}",
            mend="Give the milliseconds that the line leaves between trigger and reject gate",
        )
