"""Counts what a run does, from all its threads, and gives it out as one Snapshot.

Knows counters and where to ask for the rest. Does not know who shows them (health/).
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Callable

from diffad_runtime.inspector import Inspector
from diffad_runtime.line.job import AdapterStatus
from diffad_runtime.result import Result, Verdict
from diffad_runtime.sinks.status import SinkStatus
from diffad_runtime.snapshot import BUCKETS_MS, Histogram, Snapshot
from diffad_runtime.sources import Source


class Monitor:
    """One run's counters. Every method may be called from any thread.

    Args:
        inspector, source: of the run.
        triggered: as in Snapshot.

    Attributes:
        setup: asked for what is wrong with camera or line, each gives lines or none; whoever watches adds itself.
        queues: {name: how many wait}, asked at each snapshot.
        sinks: asked for the sinks' state.
        line: asked for the state of the line's signals.
    """

    def __init__(self, inspector: Inspector, source: Source, *, triggered: bool = False) -> None:
        self.setup: list[Callable[[], tuple[str, ...]]] = []
        self.queues: dict[str, Callable[[], int]] = {}
        self.sinks: Callable[[], tuple[SinkStatus, ...]] = tuple
        self.line: Callable[[], tuple[AdapterStatus, ...]] = tuple
        self._inspector = inspector
        self._source = source
        self._triggered = triggered
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._verdicts = {verdict.value: 0 for verdict in Verdict}
        self._counts: dict[str, list[int]] = {}
        self._totals: dict[str, float] = {}
        self._last_verdict: float | None = None
        self._dropped = self._late = self._pending = 0
        self._recipe = ""

    def count(self, result: Result, more_ms: dict[str, float] | None = None) -> None:
        """A verdict was reached; `more_ms` are durations beside the result's own."""
        with self._lock:
            self._verdicts[result.verdict.value] += 1
            self._last_verdict = time.monotonic()
            self._recipe = result.recipe
            for stage, milliseconds in {**result.latency_ms, **(more_ms or {})}.items():
                self._add(stage, milliseconds)

    def add(self, stage: str, milliseconds: float) -> None:
        """A duration beside the results' own."""
        with self._lock:
            self._add(stage, milliseconds)

    def _add(self, stage: str, milliseconds: float) -> None:
        counts = self._counts.setdefault(stage, [0] * (len(BUCKETS_MS) + 1))
        counts[bisect_left(BUCKETS_MS, milliseconds)] += 1
        self._totals[stage] = self._totals.get(stage, 0.0) + milliseconds

    def set(self, *, dropped: int | None = None, pending: int | None = None) -> None:
        """Counts that somebody else keeps."""
        with self._lock:
            self._dropped = self._dropped if dropped is None else dropped
            self._pending = self._pending if pending is None else pending

    def late(self) -> None:
        """A judgement came after its part's deadline."""
        with self._lock:
            self._late += 1

    def snapshot(self) -> Snapshot:
        """The run now."""
        source, sinks = self._source.status(), self.sinks()
        queues = {name: waiting() for name, waiting in self.queues.items()}
        setup = tuple(line for ask in list(self.setup) for line in ask())
        engine = self._inspector.engine
        with self._lock:
            return Snapshot(
                started=self._started,
                now=time.monotonic(),
                verdicts=dict(self._verdicts),
                dropped=self._dropped,
                late=self._late,
                pending=self._pending,
                queues=queues,
                last_verdict=self._last_verdict,
                stages={stage: Histogram(tuple(counts), self._totals[stage]) for stage, counts in self._counts.items()},
                source=source,
                sinks=sinks,
                setup_faults=setup,
                recipe=self._recipe,
                bundle_digest=self._inspector.bundle_digest,
                variant=engine.variant,
                backend=engine.backend,
                triggered=self._triggered,
                line=self.line(),
            )
