"""Percentiles of durations over a run of any length, in a fixed amount of memory.

Knows a histogram with logarithmic bins. Does not know what the durations are of.
"""

import math

import numpy as np

_SMALLEST_MS = 1e-3
_BINS_PER_E = 400  # bins are 0.25 % wide: a percentile is off by at most half of that
_BINS = 1 + math.ceil(_BINS_PER_E * math.log(1e7 / _SMALLEST_MS))  # up to 10,000 s; 72 KiB

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


class LatencyRecorder:
    """Counts durations of one kind."""

    def __init__(self) -> None:
        self._bins = np.zeros(_BINS, np.int64)
        self.count = 0
        self.total_ms = 0.0

    def add(self, milliseconds: float) -> None:
        """Count one duration; those below a microsecond count as one, those above 10,000 s as that."""
        position = math.log(max(milliseconds, _SMALLEST_MS) / _SMALLEST_MS) * _BINS_PER_E
        self._bins[min(int(position), _BINS - 1)] += 1
        self.count += 1
        self.total_ms += milliseconds

    def quantile(self, share: float) -> float:
        """The duration (ms) that this share of all is at or below, nearest rank; NaN while nothing was counted."""
        if self.count == 0:
            return math.nan
        rank = max(1, math.ceil(share * self.count - 1e-9))
        index = int(np.searchsorted(np.cumsum(self._bins), rank))
        return _SMALLEST_MS * math.exp((index + 0.5) / _BINS_PER_E)

    def summary(self) -> dict[str, float]:
        """{"p50", "p95", "p99"}, ms."""
        return {name: self.quantile(share) for name, share in QUANTILES.items()}


class StageRecorders:
    """One recorder per stage name, made when the stage is first seen."""

    def __init__(self) -> None:
        self._stages: dict[str, LatencyRecorder] = {}

    def add(self, latency_ms: dict[str, float]) -> None:
        """Count each stage of one frame."""
        for name, milliseconds in latency_ms.items():
            self._stages.setdefault(name, LatencyRecorder()).add(milliseconds)

    def __getitem__(self, stage: str) -> LatencyRecorder:
        return self._stages.setdefault(stage, LatencyRecorder())

    def summary(self) -> dict[str, dict[str, float]]:
        """{stage: {"p50", "p95", "p99"}}, ms, in the order first seen."""
        return {name: recorder.summary() for name, recorder in self._stages.items()}
