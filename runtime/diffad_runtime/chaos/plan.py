"""A camera that goes wrong on purpose, over any number of openings: where its script is, and what it has done so far.

    plan = ChaosPlan.from_uri("chaos://?seed=7&fps=30&faults=freeze,silence,end")
    camera = SupervisedSource(uri, plan.open, ...)      # or any other that opens it again and again
    ...
    plan.calm()                                         # no new faults
    for fault in plan.log():                            # what was planted, when, and by which signs it had to show
        fault.kind, fault.started, fault.ended, fault.about.signs

Knows the order of things: script, stream time, log. Does not know how a picture is spoilt (damage.py) nor how a
camera behaves (camera.py). One stream: while one camera is open, opening another takes the stream from the first.

Stream time goes on with each picture taken, by 1 / fps. Two faults go by the clock on the wall instead, for nobody
takes pictures under them: silence is over `length_s` after it began, whether or not the camera was opened again in the
meantime, and a hang when it has lasted `length_s` or the camera has been opened again.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from diffad_runtime.chaos.config import ChaosConfig, read_script
from diffad_runtime.chaos.kinds import FAULTS, FaultAbout, FaultKind, kinds_named
from diffad_runtime.chaos.pictures import LinePictures, Pictures, SourcePictures
from diffad_runtime.chaos.timetable import ScriptedFault, seeded
from diffad_runtime.errors import SourceError
from diffad_runtime.sources.base import Source

if TYPE_CHECKING:
    from diffad_runtime.chaos.camera import ChaosCamera

_KEPT = 10_000
_BY_WALL = {FaultKind.SILENCE, FaultKind.HANG}


@dataclass(frozen=True, slots=True)
class PlantedFault:
    """One fault as it happened.

    Attributes:
        kind: of it.
        number: in the script, from 0.
        planned_s: when it had to begin, seconds of the stream.
        length_s, amount: as planned.
        started: monotonic seconds when it first touched the reader: the spoilt frame was handed out, the read began
            to wait, or the read failed.
        ended: monotonic seconds when the stream was good again: the next good frame was ready, or, for failures, the
            camera was opened again. None while it lasts.
        frames: handed out under it.
        refused: attempts to open that failed under it.
    """

    kind: FaultKind
    number: int
    planned_s: float
    length_s: float
    amount: float
    started: float
    ended: float | None = None
    frames: int = 0
    refused: int = 0

    @property
    def about(self) -> FaultAbout:
        """What the kind does, and the signs of which any one shows that it was noticed."""
        return FAULTS[self.kind]


class ChaosPlan:
    """Script, stream time and log of one chaos camera. Safe to use from any thread.

    Args:
        config: of the camera.
        uri: shown in errors, and the camera's.
        faults: instead of those of `config`, in order.
        clock: seconds, for the log.
    """

    def __init__(
        self,
        config: ChaosConfig,
        *,
        uri: str = "chaos://",
        faults: Iterable[ScriptedFault] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.uri = uri
        self._clock = clock
        self._faults = iter(faults) if faults is not None else _of_config(config)
        self._next = next(self._faults, None)
        self._line: LinePictures | None = None
        self._lock = threading.Lock()
        self._woken = threading.Condition(self._lock)
        self._taken = 0
        self._holder: ChaosCamera | None = None
        self._fault: ScriptedFault | None = None
        self._left = 0
        self._calm = False
        self._log: deque[PlantedFault] = deque(maxlen=_KEPT)

    @classmethod
    def from_uri(cls, uri: str) -> "ChaosPlan":
        """As `chaos://?seed=7&fps=30&size=256&faults=freeze,silence&every=12&length=8`; see ChaosConfig for the rest.

        Raises:
            SourceError: an unknown parameter or fault, a bad value, or a script that cannot be used.
        """
        return cls(ChaosConfig.from_uri(uri), uri=uri)

    def open(self) -> Source:
        """Open the camera, or open it again: the script goes on where it was. Another that is open loses the stream.

        Raises:
            SourceError: a planted storm refuses, or `over` does not open.
        """
        from diffad_runtime.chaos.camera import ChaosCamera  # noqa: PLC0415  which knows this file

        with self._lock:
            fault = self._fault
            if fault is not None and fault.kind is FaultKind.STORM and self._left > 0:
                self._left -= 1
                self._note(refused=1)
                raise SourceError(f"{self.uri} does not open (a planted storm)", mend="Try again")
        camera = ChaosCamera(self, self.pictures())
        with self._lock:
            self._holder = camera
            if fault is not None and fault is self._fault and not self._outlasts_opening(fault):
                self._end()
        return camera

    def log(self) -> tuple[PlantedFault, ...]:
        """What has begun so far, oldest first; the newest 10,000."""
        with self._lock:
            return tuple(self._log)

    def calm(self) -> None:
        """Plant nothing more. A lasting fault is over now, a storm lets the next opening through."""
        with self._lock:
            self._calm = True
            self._left = 0
            self._woken.notify_all()

    @property
    def seconds(self) -> float:
        """Stream time."""
        return self._taken / self.config.fps

    # What follows is for ChaosCamera.

    def turn(self, camera: "ChaosCamera") -> tuple[int, ScriptedFault | None] | None:
        """The index of the picture that is due and the fault over it; None if the stream went to another camera."""
        with self._lock:
            if camera is not self._holder:
                return None
            if self._fault is not None and self._is_over(self._fault):
                self._end()
            due = self._next
            if self._fault is None and due is not None and not self._calm and self._taken >= self._picture_at(due.at_s):
                self._begin(due)
            return self._taken, self._fault

    def took(self, camera: "ChaosCamera", ticks: int = 1, *, handed_out: bool = True) -> None:
        """Stream time goes on by so many pictures."""
        with self._lock:
            if camera is self._holder:
                self._taken += ticks
                if self._fault is not None and handed_out:
                    self._note(frames=1)

    def broke(self, fault: ScriptedFault) -> None:
        """The fault under way broke the stream once more."""
        with self._lock:
            if fault.kind is FaultKind.FLAP:
                self._left = max(0, self._left - 1)

    def sit_out(self, camera: "ChaosCamera", fault: ScriptedFault, *, deaf: bool) -> None:
        """Wait until a silence or a hang is over; unless deaf, also until the camera is closed."""
        with self._lock:
            until = self._log[-1].started + fault.length_s
            while not self._calm and (left := until - self._clock()) > 0 and (deaf or not camera.closing):
                self._woken.wait(left)
            if self._fault is fault and camera is self._holder and (self._calm or self._clock() >= until):
                self._end()

    def wake(self) -> None:
        """A camera is being closed."""
        with self._lock:
            self._woken.notify_all()

    def pictures(self) -> Pictures:
        """Where a camera has its pictures from; drawn once, opened each time."""
        if self.config.over:
            return SourcePictures(self.config.over)
        with self._lock:
            if self._line is None:
                self._line = LinePictures(self.config, self.config.pictures)
            return self._line

    def _picture_at(self, seconds: float) -> int:
        """Index of the first picture at or after a moment of the stream; 0.1 + 0.2 is no later than 0.3."""
        return math.ceil(seconds * self.config.fps - 1e-6)

    def _is_over(self, fault: ScriptedFault) -> bool:
        if FAULTS[fault.kind].lasting:
            return self._calm or self._taken >= self._picture_at(fault.at_s + fault.length_s)
        return self._calm and fault.kind is FaultKind.FLAP

    def _outlasts_opening(self, fault: ScriptedFault) -> bool:
        """Whether a camera that is opened now still has it."""
        if fault.kind is FaultKind.FLAP:
            return self._left > 0
        return FAULTS[fault.kind].lasting and fault.kind is not FaultKind.HANG

    def _begin(self, fault: ScriptedFault) -> None:
        self._fault, self._next = fault, next(self._faults, None)
        self._left = round(fault.amount) if fault.kind in {FaultKind.STORM, FaultKind.FLAP} else 0
        self._log.append(
            PlantedFault(fault.kind, fault.number, fault.at_s, fault.length_s, fault.amount, self._clock())
        )

    def _end(self) -> None:
        fault = self._fault
        if fault is None:
            return
        if fault.kind in _BY_WALL:  # nobody took pictures in the meantime: catch up with the script
            self._taken = max(self._taken, self._picture_at(fault.at_s + fault.length_s))
        self._log[-1] = replace(self._log[-1], ended=self._clock())
        self._fault = None

    def _note(self, *, frames: int = 0, refused: int = 0) -> None:
        last = self._log[-1]
        self._log[-1] = replace(last, frames=last.frames + frames, refused=last.refused + refused)


def _of_config(config: ChaosConfig) -> Iterator[ScriptedFault]:
    if config.script:
        return iter(read_script(config.script, length_s=config.length))
    return seeded(kinds_named(config.faults), seed=config.seed, every_s=config.every, length_s=config.length)
