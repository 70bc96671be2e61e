"""Percentiles against sorting, and memory that does not grow."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.latency import LatencyRecorder, StageRecorders


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.002, 1e6), min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_quantiles_equal_sorting(durations: list[float], share: float) -> None:
    recorder = LatencyRecorder()
    for duration in durations:
        recorder.add(duration)
    rank = max(1, math.ceil(share * len(durations) - 1e-9))
    assert recorder.quantile(share) == pytest.approx(sorted(durations)[rank - 1], rel=0.0015)


def test_extremes_and_nothing() -> None:
    recorder = LatencyRecorder()
    assert math.isnan(recorder.quantile(0.5))
    recorder.add(0.0)
    recorder.add(1e12)
    assert recorder.quantile(0.5) == pytest.approx(1e-3, rel=0.01)
    assert recorder.quantile(1.0) == pytest.approx(1e7, rel=0.01)
    assert (recorder.count, recorder.total_ms) == (2, 1e12)


def test_memory_is_bounded() -> None:
    recorder = LatencyRecorder()
    for duration in np.random.default_rng(0).lognormal(1, 1, 20_000):
        recorder.add(float(duration))
    assert recorder.quantile(0.5) == pytest.approx(math.e, rel=0.03)
    assert recorder._bins.nbytes < 100_000


def test_stages_keep_their_order() -> None:
    stages = StageRecorders()
    stages.add({"resize": 1.0, "total": 3.0})
    stages.add({"resize": 1.0, "total": 3.0})
    assert list(stages.summary()) == ["resize", "total"]
    assert stages["total"].count == 2
    assert stages.summary()["total"] == pytest.approx({"p50": 3.0, "p95": 3.0, "p99": 3.0}, rel=0.0015)
