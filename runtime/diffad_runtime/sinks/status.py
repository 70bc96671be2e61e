"""How one sink is doing, in numbers that a metrics page or a status line shows.

Knows the numbers. Does not know what the sink writes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """Counts are since the run began.

    Attributes:
        name: of the sink.
        written: results that it took.
        faults: results that it failed on, or that came while it was left alone after a failure.
        dropped: results that it never saw, its queue being full (live runs only).
        waiting: results in its queue now.
        first_error, last_error: what it said, "" where nothing failed.
        healthy: False while its last result failed, or it hangs.
    """

    name: str
    written: int
    faults: int
    dropped: int
    waiting: int
    first_error: str
    last_error: str
    healthy: bool
