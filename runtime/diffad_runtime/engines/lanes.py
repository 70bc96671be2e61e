"""Which of two ways to run a frame: wide, with all threads for it, or narrow, beside other frames.

Knows how frames have overlapped. Does not know what runs them.

Two frames on one thread each are done sooner than one after the other on two: a graph is never cut into equal halves.
But a frame that is alone would take longer. So a frame is run wide while the ones before it met no other.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

_Way = TypeVar("_Way")
_ALONE_IN_ROW = 3  # one meeting says that frames are waiting; a stream at its limit now and then has one alone


class Lanes(Generic[_Way]):
    """Hands out one of two ways. Any thread.

    Args:
        wide: for a frame that is alone.
        narrow: for several at once; None: wide for all.
    """

    def __init__(self, wide: _Way, narrow: _Way | None) -> None:
        self._wide, self._narrow = wide, narrow
        self._lock = threading.Lock()
        self._inside = 0
        self._alone_in_row = _ALONE_IN_ROW

    @contextmanager
    def take(self) -> Iterator[_Way]:
        """The way for one frame, while the block lasts."""
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                self._alone_in_row = -1  # whoever is inside now is not alone
            narrow = self._narrow if self._alone_in_row < _ALONE_IN_ROW else None
        try:
            yield self._wide if narrow is None else narrow
        finally:
            with self._lock:
                self._inside -= 1
                self._alone_in_row = min(self._alone_in_row + 1, _ALONE_IN_ROW)
