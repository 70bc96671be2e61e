"""What a run comes to: counts, durations, what failed.

Knows results. Does not know whether frames came one after the other or parts by triggers.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock

from diffad_runtime.delivery import SinkFault
from diffad_runtime.latency import StageRecorders
from diffad_runtime.result import Result, Verdict


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did.

    Attributes:
        frames: judged, ERROR among them.
        ng, errors: verdicts NG and ERROR.
        dropped: frames of a live source that were never judged, newer ones having come.
        seconds, frames_per_second: from the first frame asked for to the last result.
        latency_ms: {"p50", "p95", "p99"} of the total per frame.
        stages: the same for each stage.
        sink_faults: sinks that failed, how often, and what they said first.
        problems: what the source could not read, and what did not end as it should.
        interrupted: ended by Ctrl-C.
        stopped: ended by `stop`.
    """

    frames: int
    ng: int
    errors: int
    dropped: int
    seconds: float
    frames_per_second: float
    latency_ms: dict[str, float]
    stages: dict[str, dict[str, float]]
    sink_faults: list[SinkFault]
    problems: list[str]
    interrupted: bool
    stopped: bool = False


class Tally:
    """Takes results as they are reached, from any thread.

    Args:
        on_result: called with each, one at a time; what it raises goes to whoever added the result.
    """

    def __init__(self, on_result: Callable[[Result], None] | None = None) -> None:
        self._on_result = on_result
        self._stages = StageRecorders()
        self._counts = dict.fromkeys(Verdict, 0)
        self._start = self._end = time.perf_counter()
        self._lock = Lock()

    @property
    def count(self) -> int:
        """Results so far."""
        return sum(self._counts.values())

    def add(self, result: Result) -> None:
        """Count one."""
        with self._lock:
            self._end = time.perf_counter()
            self._counts[result.verdict] += 1
            self._stages.add(result.latency_ms)
            if self._on_result is not None:
                self._on_result(result)

    def summary(
        self,
        dropped: int,
        sink_faults: list[SinkFault],
        problems: Iterable[str],
        *,
        interrupted: bool,
        stopped: bool,
    ) -> RunSummary:
        """All of it."""
        seconds = self._end - self._start
        return RunSummary(
            frames=self.count,
            ng=self._counts[Verdict.NG],
            errors=self._counts[Verdict.ERROR],
            dropped=dropped,
            seconds=seconds,
            frames_per_second=self.count / seconds if seconds > 0 else 0.0,
            latency_ms=self._stages["total"].summary(),
            stages=self._stages.summary(),
            sink_faults=sink_faults,
            problems=list(problems),
            interrupted=interrupted,
            stopped=stopped,
        )
