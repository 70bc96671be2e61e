"""SIGTERM and Ctrl-C end a run in order; the second one, or a time limit, ends the process at once.

Knows signals, threads and how a process leaves. Does not know what is ended.

Python runs a signal's handler on the main thread, between two of its steps: one that takes a lock which the main thread
holds waits for ever, and one does not run at all while the main thread is inside a call that hangs. So nothing is done
in the handler. The C part of Python writes the signal's number to a socket at once; a thread of our own reads it, and
that thread does what is to be done. Where somebody else has put his own socket there meanwhile (a build of engines
does), the handler passes the signal on.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_END = b"\0"
_PASSED_ON = 0x80  # added to a signal's number by the handler: the same signal, told a second way
_PATIENCE_S = 1.0
# What comes so soon is the first one again: told by C and by the handler, or sent to the process and to its group, as
# timeout(1) does.
_ONE_PRESS_S = 0.3


class Stop:
    """Whether, and by which signal, the run was asked to end.

    Attributes:
        signal: the first one, None before it.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._event = threading.Event()

    @property
    def requested(self) -> bool:
        """Asked to end."""
        return self._event.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until asked to end, or the time is over; whether it was asked."""
        return self._event.wait(timeout_s)

    def _ask(self, number: signal.Signals) -> None:
        self.signal = number
        self._event.set()


@contextmanager
def stop_on_signals(on_stop: Callable[[], None] | None = None, *, deadline_s: float | None = None) -> Iterator[Stop]:
    """While the block runs, SIGTERM and SIGINT ask to stop instead of ending the process. Main thread only.

    What the signals did before comes back at the end of the block. On another thread signals belong to somebody else:
    there the block runs, and nothing is ever asked.

    Args:
        on_stop: called once, on a thread of its own, with the first signal; it may take locks and wait. What it raises
            goes to stderr.
        deadline_s: how long the block may go on after the first signal; then the process ends as by a second one.
            None: as long as it likes.

    A second signal ends the process with exit code 128 + its number: no file is closed, no queue drained.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        listener = threading.Thread(
            target=_listen, args=(reading, stop, on_stop, deadline_s), name="signals", daemon=True
        )
        listener.start()

        def handler(number: int, _: FrameType | None) -> None:
            with suppress(OSError):
                writing.send(bytes([number | _PASSED_ON]))

        before = {each: signal.signal(each, handler) for each in _SIGNALS}
        woken = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            yield stop
        finally:
            signal.set_wakeup_fd(woken)
            for each, old in before.items():
                signal.signal(each, old)
            writing.setblocking(True)
            with suppress(OSError):
                writing.send(_END)
            listener.join(_PATIENCE_S)


def _listen(reading: socket.socket, stop: Stop, on_stop: Callable[[], None] | None, deadline_s: float | None) -> None:
    first = 0.0
    while True:
        try:
            data = reading.recv(64)
        except TimeoutError:
            _leave(stop.signal or signal.SIGTERM, f"not ended {time.monotonic() - first:.1f} s after it")
        except OSError:
            return
        now = time.monotonic()
        for byte in data or _END:
            if byte == _END[0]:
                return
            number = byte & ~_PASSED_ON
            if number not in _SIGNALS:
                continue
            if not stop.requested:
                first = now
                stop._ask(signal.Signals(number))
                if on_stop is not None:
                    threading.Thread(target=on_stop, name="stop", daemon=True).start()
            elif now - first >= _ONE_PRESS_S:
                _leave(signal.Signals(number), "the second one")
        if stop.requested and deadline_s is not None:
            reading.settimeout(max(0.001, first + deadline_s - now))


def _leave(number: signal.Signals, why: str) -> NoReturn:
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{number.name}, {why}: leaving at once\n")
        sys.stderr.flush()
    os._exit(128 + number)
