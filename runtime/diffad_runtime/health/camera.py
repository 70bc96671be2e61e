"""Does the camera still show what it showed when the line was set up? Faults of the set-up, apart from any part.

Knows a reference and limits. Does not know how pictures are measured (picture.py, shift.py, dirt.py), nor verdicts of
parts, but for one thing: the reference is learned from parts that were OK.

One picture says little: parts differ, and one may be missing. So the median of the last nine looks is what counts, and
a fault ends only when that is well inside its limit again. A look costs some milliseconds and is taken once a second,
not at every frame. Limits are relative, but never tighter than what the reference's own spread allows: parts that lie
as they like hide a shift that a fixture would show.

A defect does not make a fault: it is on one part, and gone with the next look. A camera that lost its focus, its light
or its place does not make a defect either, though every part may be NG by it: so it has to be said apart.
"""

import logging
import threading
from collections import deque
from pathlib import Path

from diffad_runtime.errors import DiffadError
from diffad_runtime.health.camerafaults import CameraLimits, Placed, findings, gauges, medians
from diffad_runtime.health.dirt import Dirt, describe
from diffad_runtime.health.logs import event
from diffad_runtime.health.picture import look
from diffad_runtime.health.reference import Learner, Reference, difference, save_reference
from diffad_runtime.health.shift import Shift
from diffad_runtime.result import Frame, Image, SourceState, Verdict

_LOG = logging.getLogger(__name__)
_WINDOW = 9
_LEAST_LOOKS = 5
_RETURN = 0.8  # of a limit, that a fault has to come back to
_NEARLY = 0.7  # of a limit: nothing is said of dirt beyond it
_STILL_LEVELS = 0.3  # two pictures that differ by less show the same part twice
_LEAST_SIDE = 16


class CameraHealth:
    """Looks at pictures of a run, and says what is wrong with the camera.

    Args:
        reference: of this camera and product; None: learned from the run's first OK parts.
        limits: how far is too far.
        period_s: at least so long between two looks, by the frames' own time.
        learn: looks at OK parts that a reference is learned from.
        save_to: NAME.json, where a learned reference is kept.

    Attributes:
        reference: in force, None while it is learned.
    """

    def __init__(
        self,
        reference: Reference | None = None,
        limits: CameraLimits | None = None,
        *,
        period_s: float = 1.0,
        learn: int = 50,
        save_to: Path | None = None,
    ) -> None:
        self._limits = limits or CameraLimits()
        self._period_s = period_s
        self._learn = learn
        self._save_to = save_to
        self._lock = threading.Lock()
        self._faults: tuple[str, ...] = ()
        self._gauges: dict[str, float] = {}
        self._last_look = float("-inf")
        self.use(reference)

    def use(self, reference: Reference | None) -> None:
        """Begin anew with another reference, for another product; None: learn one."""
        with self._lock:
            self.reference = reference
            self._learner: Learner | None = None
            self._looks: deque[Placed] = deque(maxlen=_WINDOW)
            self._active: set[str] = set()
            self._faults, self._gauges = (), {"camera_learned": float(reference is not None)}
            self._shift = Shift(reference.mean) if reference else None
            self._dirt = Dirt(reference) if reference else None

    def look(self, frame: Frame, verdict: Verdict) -> None:
        """Take a judged frame into account; does nothing for most of them. Never raises for what a picture shows."""
        # Either way: a camera's clock that jumps back must not put an end to it.
        if abs(frame.t_monotonic - self._last_look) < self._period_s:
            return
        if frame.source_state is SourceState.STALLED or min(frame.image.shape[:2]) < _LEAST_SIDE:
            return
        learned = None
        with self._lock:
            if self.reference is not None:
                self._compare(frame.image, self.reference)
            elif verdict is Verdict.OK:
                learned = self._take_in(frame.image)
            else:
                return  # and look at the next one, not in a second
            self._last_look = frame.t_monotonic
        if learned is not None:
            self.use(learned)
            self._keep(learned)

    def faults(self) -> tuple[str, ...]:
        """What is wrong now, a line each; none while a reference is learned. From any thread."""
        return self._faults

    def gauges(self) -> dict[str, float]:
        """The figures behind it, for metrics; medians over the last looks."""
        return self._gauges

    def _take_in(self, image: Image) -> Reference | None:
        """Learn from an OK part; the reference once there were enough."""
        learner = self._learner
        height, width = image.shape[:2]
        if learner is None or (learner.height, learner.width) != (height, width):
            self._learner = learner = Learner(height, width)
        seen = look(image, learner.size)
        # A line that stands still shows one part for ever, and a reference without spread would make all others faults.
        if learner.looks and difference(seen.small, learner.looks[-1].small) < _STILL_LEVELS:
            return None
        learner.add(seen)
        return learner.reference() if len(learner.looks) >= self._learn else None

    def _keep(self, reference: Reference) -> None:
        event(_LOG, logging.INFO, "camera_learned", f"camera reference learned from {reference.figures.pictures} parts")
        if self._save_to is not None:
            try:
                save_reference(self._save_to, reference)
            except DiffadError as error:
                event(_LOG, logging.ERROR, "camera_reference_not_kept", str(error))

    def _compare(self, image: Image, reference: Reference) -> None:
        assert self._shift is not None
        assert self._dirt is not None
        mean = reference.mean
        seen = look(image, (mean.shape[0], mean.shape[1]))
        self._looks.append(Placed(seen, *self._shift.of(seen.small)))
        if len(self._looks) < _LEAST_LOOKS:
            return
        middle = medians(list(self._looks))
        found = findings(middle, reference.figures, self._limits, image.shape[:2])
        self._active = {each.kind for each in found if each.strain > (_RETURN if each.kind in self._active else 1.0)}
        faults = [f"SETUP: {each.kind}: {each.text}" for each in found if each.kind in self._active]
        if max(each.strain for each in found) > _NEARLY:
            self._dirt.reset()  # what is shifted or lit otherwise is out of the ordinary at every edge
        else:
            self._dirt.add(seen.small)
        spots = self._dirt.spots()
        if spots:
            faults.append(f"SETUP: dirt: {describe(spots, image.shape[:2])}")
        own = {"camera_learned": 1.0, "camera_dirt_spots": float(len(spots))}
        self._gauges = {**own, **gauges(middle, reference.figures)}
        if bool(faults) != bool(self._faults):
            text = "; ".join(faults) or "the camera shows again what it did"
            event(_LOG, logging.WARNING, "camera_fault" if faults else "camera_well", text)
        self._faults = tuple(faults)
