"""An inspector that follows a models folder: another generation is taken up between two frames, a trial is watched.

Knows when to look, and what to do where a generation cannot be opened. Does not know how a frame is judged, nor how a
generation is chosen (starting.py).
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from diffad_runtime.bundle import Bundle
from diffad_runtime.errors import DiffadError
from diffad_runtime.health.logs import event
from diffad_runtime.inspector import Inspector
from diffad_runtime.models.changing import rollback
from diffad_runtime.models.probation import Probation
from diffad_runtime.models.starting import Active, active
from diffad_runtime.models.trial import TrialSettings
from diffad_runtime.models.watch import Watch
from diffad_runtime.result import Result
from diffad_runtime.trust.policy import Policy

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.5
_RETRY_S = 10.0

Make = Callable[[Bundle], Inspector]


class ModelRun:
    """Keeps one inspector at the generation that its folder wants. `count` from any thread, the rest from one.

    The next generation is opened beside the one that judges, on a thread of its own: building its engine may take
    minutes, and parts are judged meanwhile. One that cannot be opened is dropped where it is on trial.

    Args:
        folder: of models.
        make: opens an inspector of a bundle, as `run` wants it.
        policy, settings: of signatures and trials.

    Raises:
        BundleError, InputError, GateError, EngineError, MissingExtraError: no generation can be run.
    """

    def __init__(
        self, folder: Path, make: Make, policy: Policy | None = None, settings: TrialSettings | None = None
    ) -> None:
        self._folder, self._make = folder, make
        self._policy, self._settings = policy, settings or TrialSettings()
        self._fault = ""
        self._changing: threading.Thread | None = None
        self._look_at = self._retry_at = 0.0
        self._lock = threading.Lock()
        while True:
            self._active = self._next()
            try:
                self.inspector = make(self._active.bundle)
                break
            except DiffadError as error:
                if not self._drop(self._active, error):
                    raise
        self._watch = Watch(self._active)
        self._probation = Probation(self._active, self._settings)

    @property
    def active(self) -> Active:
        """What judges now."""
        return self._active

    def count(self, result: Result) -> None:
        """A verdict was reached."""
        self._probation.count(result)

    def tick(self) -> None:
        """Look after the trial, and whether another generation is wanted. Never raises."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_S
        self._probation.tick()
        if self._changing is not None and self._changing.is_alive():
            return
        if now >= self._retry_at and self._watch.wanted() is not None:
            self._changing = threading.Thread(target=self._change, name="change model", daemon=True)
            self._changing.start()

    def faults(self) -> tuple[str, ...]:
        """What is wrong with the models, for whoever looks after the line."""
        with self._lock:
            return (f"MODEL: {self._fault}",) if self._fault else ()

    def _next(self) -> Active:
        found = active(self._folder, policy=self._policy, settings=self._settings)
        with self._lock:
            self._fault = "; ".join(found.reasons)
        return found

    def _change(self) -> None:
        try:
            wanted = self._next()
            if wanted.generation == self._active.generation:
                self._watch.taken(wanted)
                return
            try:
                self._take_over(self._make(wanted.bundle))
            except DiffadError as error:
                if self.inspector.closed or self._drop(wanted, error):
                    return
                raise
            self._active = wanted
            self._probation = Probation(wanted, self._settings)
            self._watch.taken(wanted)
            event(
                _LOG,
                logging.INFO,
                "model_changed",
                f"generation {wanted.generation}, {wanted.model_id} version {wanted.version}, judges from now on",
            )
        except DiffadError as error:
            self._retry_at = time.monotonic() + _RETRY_S
            with self._lock:
                self._fault = f"another generation is wanted and cannot be run: {error}"
            event(_LOG, logging.ERROR, "model_change", self._fault)

    def _take_over(self, made: Inspector) -> None:
        try:
            self.inspector.take_over(made)
        except DiffadError:
            made.close()  # nobody else holds its engine
            raise

    def _drop(self, one: Active, error: DiffadError) -> bool:
        """Give up a trial that does not even start; whether that was done."""
        if not one.trial or one.alone:
            return False
        reason = f"it could not be started: {error.what}"
        try:
            rollback(self._folder, reason, generation=one.generation)
        except DiffadError as another:
            event(_LOG, logging.ERROR, "model_trial", f"rollback failed: {another}")
            return False
        event(_LOG, logging.ERROR, "model_rolled_back", f"generation {one.generation} was dropped: {reason}")
        return True
