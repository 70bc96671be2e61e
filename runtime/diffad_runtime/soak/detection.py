"""Was every planted fault noticed, and how soon? And did parts get judged again after it?

Pure: times in, times out, all in seconds on one clock. Does not know cameras or threads.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffad_runtime.chaos import FaultKind, PlantedFault, Sign

KEPT_S = 120.0


class Times(deque[float]):
    """The moments of the last two minutes, ascending: a soak must not be what grows."""

    def note(self, now: float) -> None:
        """Add a moment."""
        self.append(now)
        while now - self[0] > KEPT_S:
            self.popleft()


Noticed = Mapping[Sign, Sequence[float]]
"""When each sign showed, ascending."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one planted fault.

    Attributes:
        kind: of it.
        after_s: from its start until the first of its signs; None: none showed, or it has none.
        allowed_s: how long that may take: the threshold of whoever notices it, and the grace. None: it has no signs.
        resumed_s: from its end until the next part was judged OK or NG; None: none was.
    """

    kind: FaultKind
    after_s: float | None
    allowed_s: float | None
    resumed_s: float | None

    @property
    def missed(self) -> bool:
        """It should have shown in time and did not."""
        return self.allowed_s is not None and (self.after_s is None or self.after_s > self.allowed_s)


def find(fault: PlantedFault, noticed: Noticed, good: Sequence[float], threshold_s: float, grace_s: float) -> Finding:
    """Look for a fault's signs.

    Args:
        fault: over.
        noticed: all signs, at least from its start on.
        good: when parts were judged OK or NG, ascending.
        threshold_s: how long it may go on before whoever notices it has to.
        grace_s: what noticing it may take beyond that.
    """
    signs = fault.about.signs
    times = [time for sign in signs for time in noticed.get(sign, ()) if time >= fault.started]
    resumed = None
    if fault.ended is not None:
        resumed = next((time - fault.ended for time in good if time >= fault.ended), None)
    return Finding(
        fault.kind,
        min(times) - fault.started if times else None,
        threshold_s + grace_s if signs else None,
        resumed,
    )
