"""Ctrl-C, held back until a training step is whole: what is saved then is exactly what an uninterrupted run had."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether Ctrl-C was pressed since the context began."""

    raised = False

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        if self.raised:  # pressed again: no more patience
            raise KeyboardInterrupt
        self.raised = True


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Note the first Ctrl-C instead of raising it; the second raises at once. No effect off the main thread."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, interrupt._note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
