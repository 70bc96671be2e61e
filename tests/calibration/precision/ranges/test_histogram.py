"""Counts: the same whatever the order and the batches, numpy's on the final grid, and exact where the grid doubles."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diffad_calibration.precision.ranges.histogram import BINS, Histogram
from diffad_runtime.errors import DataError

# Where bins begin and end on many grids, and the numbers beside: a sum with the limit would round these.
_EDGES = [sign * 2.0**power for sign in (1, -1) for power in (-40, -24, -13, -1, 0, 11, 12, 29)]
_BESIDE = [float(np.nextafter(np.float32(edge), np.float32(to))) for edge in _EDGES for to in (-np.inf, np.inf)]
_NUMBERS = st.one_of(
    st.floats(-(2.0**30), 2.0**30, width=32, allow_subnormal=False),
    st.floats(-1.5, 1.5, width=32, allow_subnormal=False),
    st.sampled_from([0.0, -0.0, *_EDGES, *_BESIDE]),
)
VALUES = hnp.arrays(np.float32, st.integers(1, 40), elements=_NUMBERS)


def counted(*batches: np.ndarray) -> Histogram:
    histogram = Histogram()
    for batch in batches:
        histogram.add(batch)
    return histogram


def edges(histogram: Histogram) -> np.ndarray:
    return np.linspace(-histogram.limit, histogram.limit, BINS + 1)


@given(VALUES)
@settings(deadline=None)
def test_counts_are_numpys_on_the_final_grid(values: np.ndarray) -> None:
    found = counted(values)
    expected, _ = np.histogram(values.astype(np.float64), edges(found))
    np.testing.assert_array_equal(found.counts, expected)
    assert found.total == values.size
    np.testing.assert_array_equal(found.centres, (edges(found)[1:] + edges(found)[:-1]) / 2)
    assert found.width == edges(found)[1] - edges(found)[0]


@given(VALUES, st.randoms(use_true_random=False), st.lists(st.integers(0, 40), max_size=4))
@settings(deadline=None)
def test_order_and_batches_change_nothing(values: np.ndarray, random: object, cuts: list[int]) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    once = counted(values)
    split = counted(*np.split(np.array(shuffled, np.float32), sorted(cut % values.size for cut in cuts)))
    np.testing.assert_array_equal(split.counts, once.counts)
    assert (split.limit, split.low, split.high) == (once.limit, once.low, once.high)


@given(VALUES)
@settings(deadline=None)
def test_ends_are_exact_and_the_limit_is_the_next_power_of_two(values: np.ndarray) -> None:
    found = counted(values)
    assert (found.low, found.high) == (values.min(), values.max())
    largest = float(np.abs(values).max())
    power = -24 if largest < 2.0**-24 else math.frexp(largest)[1]
    assert found.limit == 2.0**power
    assert largest < found.limit


@given(VALUES, st.integers(1, 8))
@settings(deadline=None)
def test_doubling_merges_neighbours(values: np.ndarray, times: int) -> None:
    small = counted(values)
    large = counted(values, np.array([small.limit * 2.0 ** (times - 1)], np.float32))
    assert large.limit == small.limit * 2**times
    merged = small.counts.reshape(-1, 2**times).sum(1)
    middle = slice(BINS // 2 - merged.size // 2, BINS // 2 + merged.size // 2)
    np.testing.assert_array_equal(large.counts[middle], merged)
    assert large.counts.sum() - merged.sum() == 1  # the value that made it double


@given(VALUES, st.sampled_from([np.nan, np.inf, -np.inf]), st.integers(0, 40))
@settings(max_examples=20, deadline=None)
def test_what_is_not_finite_is_refused_and_leaves_no_trace(values: np.ndarray, wrong: float, place: int) -> None:
    found = counted(values)
    before = found.counts.copy(), found.limit, found.low, found.high
    with pytest.raises(DataError, match="NaN or infinity"):
        found.add(np.insert(values, place % values.size, wrong))
    np.testing.assert_array_equal(found.counts, before[0])
    assert (found.limit, found.low, found.high) == before[1:]


def test_memory_stays_the_same_and_the_largest_numbers_fit() -> None:
    rng = np.random.default_rng(0)
    found = Histogram()
    before = found.counts.nbytes
    for power in range(0, 38, 4):
        found.add(rng.normal(size=(3, 50_000)) * 10.0**power)
    largest = float(np.finfo(np.float32).max)
    found.add(np.array([largest, -largest], np.float32))
    assert (found.counts.nbytes, found.counts.dtype) == (before, np.int64)
    assert not hasattr(found, "__dict__")  # nothing but its four slots
    assert (found.total, found.low, found.high) == (10 * 150_000 + 2, -largest, largest)
    assert (found.counts[0], found.counts[-1]) == (1, 1)


def test_any_shape_and_none_at_all() -> None:
    values = np.arange(-4, 4, dtype=np.float32).reshape(1, 2, 2, 2)
    found = counted(values, np.zeros((0, 3), np.float32), values.astype(np.float16))
    assert found.limit == 8
    np.testing.assert_array_equal(np.flatnonzero(found.counts), BINS // 2 + np.arange(-4, 4) * BINS // 16)
    assert set(found.counts[found.counts > 0]) == {2}
    assert (Histogram().total, Histogram().low, Histogram().high) == (0, np.inf, -np.inf)
