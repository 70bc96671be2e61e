"""How far a build is, and the way to stop it.

Knows TensorRT's nested phases. Does not know a terminal, nor who wants to stop.
"""

import threading
from collections.abc import Callable
from typing import Any


class Fraction:
    """Nested phases as one number that never falls.

    A phase of n steps is at (steps done + the fraction of the phase that runs within it) / n. Phases are known by their
    names, as TensorRT gives them; the outermost one stands for the whole. How long a step takes is not known, so this
    is a measure of order, not of time. TensorRT tells of phases on several threads.
    """

    def __init__(self) -> None:
        self._phases: dict[str, tuple[str | None, int, int]] = {}  # name -> parent, steps, done
        self._reached = 0.0
        self._lock = threading.Lock()

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps begins, within another one or on its own."""
        with self._lock:
            self._phases[name] = (parent, max(1, steps), 0)

    def step(self, name: str, index: int) -> None:
        """Step `index` of a phase, from 0, is done."""
        with self._lock:
            if name in self._phases:
                parent, steps, done = self._phases[name]
                self._phases[name] = (parent, steps, min(steps, max(done, index + 1)))

    def finish(self, name: str) -> None:
        """A phase ended, whether or not all of its steps were told."""
        with self._lock:
            if name in self._phases:
                parent, _, _ = self._phases.pop(name)
                if parent is None:
                    self._reached = 1.0

    @property
    def value(self) -> float:
        """0 to 1."""
        with self._lock:
            for name, (parent, _, _) in self._phases.items():
                if parent is None or parent not in self._phases:
                    self._reached = max(self._reached, self._of(name, 0))
            return self._reached

    def _of(self, name: str, depth: int) -> float:
        _, steps, done = self._phases[name]
        inner = 0.0
        if depth < 16:
            running = [child for child, (parent, _, _) in self._phases.items() if parent == name]
            inner = max((self._of(child, depth + 1) for child in running), default=0.0)
        return min(1.0, (done + inner) / steps)


def make_monitor(trt: Any, on_progress: Callable[[float], None], cancelled: Callable[[], bool]) -> Any:
    """A trt.IProgressMonitor for a builder's configuration.

    Args:
        on_progress: is told a number from 0 to 1; on TensorRT's threads.
        cancelled: asked at every step; True ends the build soon, without a plan. An exception of either ends it as
            well, and is kept in the attribute `error`: through TensorRT's own code it could not be thrown.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # its base is known only where TensorRT is installed
        def __init__(self) -> None:
            super().__init__()
            self.fraction = Fraction()
            self.error: BaseException | None = None
            self.stopped = False

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.fraction.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                self.fraction.step(phase_name, step)
                on_progress(self.fraction.value)
                self.stopped = self.stopped or cancelled()
            except BaseException as error:
                self.error, self.stopped = error, True
            return not self.stopped

        def phase_finish(self, phase_name: str) -> None:
            self.fraction.finish(phase_name)

    return Monitor()
