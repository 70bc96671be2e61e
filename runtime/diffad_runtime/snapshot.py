"""Everything that a run knows of itself at one moment: what metrics, the watchdog and the status line are made of.

Knows the fields. Does not know who shows them, nor how they are counted (monitor.py).
"""

from dataclasses import dataclass

from diffad_runtime.line.job import AdapterStatus
from diffad_runtime.sinks.status import SinkStatus
from diffad_runtime.sources.base import SourceStatus

BUCKETS_MS = (1.0, 2.0, 5.0, 10.0, 20.0, 33.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)
"""Upper edges of the histograms' buckets, milliseconds."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations of one stage.

    Attributes:
        counts: one for each of BUCKETS_MS (at or below that edge and above the one before), and one beyond them all.
        total_ms: their sum.
    """

    counts: tuple[int, ...]
    total_ms: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one moment. Counts are since its start; times are seconds on the monotonic clock.

    Attributes:
        started, now: when the run began, and when this was taken.
        verdicts: {"OK": n, "NG": n, "ERROR": n}, of frames, or of parts where triggers ask for them.
        dropped: frames of a live source that were never judged.
        late: parts whose judgement came after their deadline (they are among ERROR).
        pending: triggers without a verdict yet.
        queues: {"capture": n, ...}: things waiting, by queue.
        last_verdict: when the last verdict was reached, None before the first.
        stages: {"resize": Histogram, ..., "total": Histogram}; triggered runs also have "trigger", trigger to verdict.
        source: of the camera.
        sinks: in their order.
        setup_faults: what is wrong with camera or line, apart from any part, one line each ("" never).
        recipe: in force, "" without one.
        bundle_digest, variant, backend: what judges.
        triggered: verdicts are reached by triggers, so that silence is no fault while none is pending.
        line: of each kind of line signal.
    """

    started: float
    now: float
    verdicts: dict[str, int]
    dropped: int
    late: int
    pending: int
    queues: dict[str, int]
    last_verdict: float | None
    stages: dict[str, Histogram]
    source: SourceStatus
    sinks: tuple[SinkStatus, ...]
    setup_faults: tuple[str, ...]
    recipe: str
    bundle_digest: str
    variant: str
    backend: str
    triggered: bool = False
    line: tuple[AdapterStatus, ...] = ()
