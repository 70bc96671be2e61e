"""Keeps the C library from giving threads heaps of their own.

Knows glibc's malloc. Does not know who allocates. For commands that own their process, before they start threads; an
application that embeds the runtime may set MALLOC_ARENA_MAX=1 in its environment instead.

glibc makes up to eight heaps a core, and what one thread freed another cannot use. With a camera, judges, sinks and a
reader that is started anew at each reconnect, a process grows for hours until each heap has seen its worst moment.
"""

import ctypes
import os

_M_ARENA_MAX = -8  # malloc.h
_ARENAS = 1


def few_heaps() -> bool:
    """Set it; whether that was done. An environment that sets MALLOC_ARENA_MAX itself is left alone."""
    if "MALLOC_ARENA_MAX" in os.environ:
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS))
    except (AttributeError, OSError):  # another C library
        return False
