"""The chaos camera: a source whose faults are scripted.

Knows how each fault shows to a reader. Does not know when a fault comes (plan.py) nor what it does to pixels
(damage.py).
"""

import threading
import time
from collections import OrderedDict
from dataclasses import replace

import numpy as np

from diffad_runtime.chaos.damage import OUT_OF_SHAPE, spoil
from diffad_runtime.chaos.kinds import FaultKind
from diffad_runtime.chaos.pictures import Pictures
from diffad_runtime.chaos.plan import ChaosPlan
from diffad_runtime.chaos.timetable import ScriptedFault
from diffad_runtime.errors import SourceError
from diffad_runtime.sources.base import Shot, Source

_PLANS_KEPT = 16
_plans: OrderedDict[str, ChaosPlan] = OrderedDict()
_plans_lock = threading.Lock()


class ChaosCamera(Source):
    """One opening of the chaos camera. Use ChaosPlan.open to make one.

    Picture i of the stream is spoilt by the fault over stream second i / fps, whatever the reader does: a late one
    makes the camera wait, as the synthetic line does. Closing is done at once in every state but a planted hang, which
    is deaf to it for its length: that is what it is for.
    """

    def __init__(self, plan: ChaosPlan, pictures: Pictures) -> None:
        super().__init__(plan.uri, live=True, fps_hint=plan.config.fps)
        self._plan = plan
        self._pictures = pictures
        self.problems = pictures.problems
        self._due = 0.0
        self._given = 0
        self._lost = 0
        self._frozen: Shot | None = None
        self._broken: Exception | None = None
        self._ended = False

    @property
    def closing(self) -> bool:
        """close() was called."""
        return self._closing.is_set()

    def close(self) -> None:
        """As in Source; a planted hang makes it wait for what is left of its length."""
        self._closing.set()
        self._plan.wake()
        self._pictures.close()
        super().close()

    def _grab(self) -> Shot | None:
        while True:
            if self._broken is not None:
                raise self._broken
            wait = self._due - time.monotonic()
            if self._ended or (wait > 0 and self._closing.wait(wait)):
                return None
            turn = self._plan.turn(self)
            if turn is None or self.closing:
                return None
            index, fault = turn
            if fault is not None and self._strikes(fault):
                continue
            shot = self._pictures.take(index)
            if shot is None:
                return None
            slowness = max(1, round(fault.amount)) if fault is not None and fault.kind is FaultKind.SLOW else 1
            self._pace(slowness)
            lost = (
                fault is not None and fault.kind is FaultKind.DROP and self._rng(fault, index).random() < fault.amount
            )
            self._plan.took(self, slowness, handed_out=not lost)
            if lost:
                self._lost += 1
                continue
            self._given += 1
            skipped, self._lost = self._lost, 0
            return replace(self._spoilt(shot, index, fault), skipped=skipped)

    def _pace(self, periods: int) -> None:
        """When the next picture is due. A late reader moves the schedule; it is not paid back with a burst."""
        own = periods - 1 if self._pictures.live else periods
        self._due = max(self._due, time.monotonic() - 1e-3) + own / self._plan.config.fps

    def _strikes(self, fault: ScriptedFault) -> bool:
        """Do what keeps a frame from coming at all; False where the fault lets one come."""
        kind = fault.kind
        if kind is FaultKind.SILENCE:
            self._plan.sit_out(self, fault, deaf=False)
        elif kind is FaultKind.HANG:
            self._pictures.close()  # a device is free for the next opening, as the driver thinks
            self._plan.sit_out(self, fault, deaf=True)
            if not self.closing:
                self._pictures = self._plan.pictures()
        elif kind is FaultKind.END:
            self._ended = True
        elif kind is FaultKind.CRASH:
            self._broken = RuntimeError("planted: the driver lost its buffers")
        elif kind in {FaultKind.ERROR, FaultKind.STORM} or (kind is FaultKind.FLAP and self._given > 0):
            self._plan.broke(fault)
            self._broken = SourceError(f"{self.uri} stopped (planted: {kind.value})", mend="Open it again")
        else:
            return False
        return True

    def _spoilt(self, shot: Shot, index: int, fault: ScriptedFault | None) -> Shot:
        if fault is None or fault.kind is not FaultKind.FREEZE:
            self._frozen = None
        if fault is None:
            return shot
        if fault.kind is FaultKind.FREEZE:
            if self._frozen is None:
                self._frozen = replace(shot, t_monotonic=None)
            truth = self._frozen.truth
            return replace(self._frozen, image=self._frozen.image.copy(), truth=truth)
        if fault.kind in {FaultKind.CLOCK_BACK, FaultKind.CLOCK_AHEAD}:
            off = fault.amount if fault.kind is FaultKind.CLOCK_AHEAD else -fault.amount
            return replace(shot, t_monotonic=time.monotonic() + off)
        image = spoil(fault.kind, shot.image, fault.amount, self._rng(fault, index))
        truth = None if fault.kind in OUT_OF_SHAPE else shot.truth
        return replace(shot, image=image, truth=truth)

    def _rng(self, fault: ScriptedFault, index: int) -> np.random.Generator:
        return np.random.default_rng([self._plan.config.seed, fault.number, index])

    def _release(self) -> None:
        self._pictures.close()


def open_chaos(uri: str) -> Source:
    """Open chaos://. The same URI in one process is the same camera: opened again, its script goes on where it was.

    Whoever wants its log, or a script from the beginning, makes a ChaosPlan and opens that.

    Args:
        uri: chaos://?seed=7&fps=30&size=256&faults=freeze,silence,corrupt&every=12&length=8, see ChaosConfig; or with
            script=FILE.toml, or over=URI of another source.

    Raises:
        SourceError: an unknown parameter or fault, a bad value, a script that cannot be used, `over` that does not
            open, or a planted storm.
    """
    with _plans_lock:
        plan = _plans.get(uri)
        if plan is None:
            plan = _plans[uri] = ChaosPlan.from_uri(uri)
        _plans.move_to_end(uri)
        while len(_plans) > _PLANS_KEPT:
            _plans.popitem(last=False)
    return plan.open()
