"""Keeps a process that lives for months from growing: one heap of the C library, and what is free in it given back.

Knows glibc's malloc. Does not know who allocates. For commands that own their process; an application that embeds the
runtime may set MALLOC_ARENA_MAX=1 in its environment, and call `give_back` now and then.

glibc makes up to eight heaps a core, and what one thread freed another cannot use. With a camera, judges, sinks and a
reader that is started anew at each reconnect, a process grows for hours until each heap has seen its worst moment. In
one heap, too, free pages lie between those in use, more of them after every busy moment.
"""

import ctypes
import os
import time

_M_ARENA_MAX = -8  # malloc.h
_ARENAS = 1
EVERY_S = 60.0


def few_heaps() -> bool:
    """Set it, before threads are started; whether that was done. An environment that sets MALLOC_ARENA_MAX itself is
    left alone."""
    if "MALLOC_ARENA_MAX" in os.environ:
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS))
    except (AttributeError, OSError):  # another C library
        return False


def give_back() -> bool:
    """Return free pages of all heaps to the system; whether there were any."""
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError):
        return False


class Housekeeping:
    """Gives memory back once a minute, asked as often as one likes."""

    def __init__(self) -> None:
        self._next = time.monotonic() + EVERY_S

    def tick(self) -> None:
        """Do it where it is time."""
        if time.monotonic() >= self._next:
            give_back()
            self._next = time.monotonic() + EVERY_S
