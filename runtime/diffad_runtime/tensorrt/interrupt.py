"""Ctrl-C while TensorRT works.

Knows signals. Does not know what is interrupted.

A build is one long call into C++ on the main thread, where Python runs no signal handler, and TensorRT asks its
progress monitor on threads of its own. What the C part of Python does at once, on any thread, is to write the signal's
number to a file descriptor; that is what is looked at here.
"""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def ctrl_c() -> Iterator[Callable[[], bool]]:
    """Yield a function that says, on any thread, whether Ctrl-C was pressed while the block ran.

    Nothing is raised while the block runs. On another thread than the main one signals belong to somebody else, and
    the function always says False.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    reading, writing = socket.socketpair()
    pressed = threading.Event()

    def asked() -> bool:
        if not pressed.is_set():
            try:
                # Other signals write their numbers as well.
                if signal.SIGINT in reading.recv(4096):
                    pressed.set()
            except BlockingIOError:
                pass
        return pressed.is_set()

    with reading, writing:
        reading.setblocking(False)
        writing.setblocking(False)
        before = signal.signal(signal.SIGINT, lambda *_: None)
        woken = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            yield asked
        finally:
            signal.set_wakeup_fd(woken)
            signal.signal(signal.SIGINT, before)
