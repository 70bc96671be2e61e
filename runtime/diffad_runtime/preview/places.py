"""How many viewers there are, and when a place is free again.

Knows names that pages give themselves, and time. Does not know HTTP. Lives on one event loop; time comes as an argument
or from an injected clock.
"""

import time
from collections.abc import Callable

GONE_S = 5.0
"""Whoever has not asked for so long has gone."""


class Places:
    """A bounded number of viewers.

    Args:
        most: at a time.
        clock: seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._clock = clock
        self._seen: dict[str, float] = {}

    def take(self, viewer: str) -> bool:
        """Whether this viewer has a place: its own, or a free one."""
        self._forget()
        if viewer not in self._seen and len(self._seen) >= self.most:
            return False
        self._seen[viewer] = self._clock()
        return True

    def leave(self, viewer: str) -> None:
        """Its place is free."""
        self._seen.pop(viewer, None)

    @property
    def free(self) -> int:
        """Places that nobody has."""
        self._forget()
        return self.most - len(self._seen)

    def _forget(self) -> None:
        past = self._clock() - GONE_S
        self._seen = {viewer: seen for viewer, seen in self._seen.items() if seen > past}
