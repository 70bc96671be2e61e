"""The streamed pixel threshold against a sort of all pixels, and its promise by simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_calibration.thresholds.conformal import pixel_bound, pixels_above
from diffad_calibration.thresholds.pixeltail import PixelTail
from diffad_calibration.thresholds.setting import pixel_threshold
from diffad_runtime.errors import DataError


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 6),
    st.sampled_from([0.001, 0.01, 0.05, 0.2, 0.6]),
    st.integers(0, 10),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_streamed_is_exact(count: int, side: int, rate: float, more: int, seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, 9, (count, side, side)) if ties else rng.normal(size=(count, side, side))
    tail = PixelTail(rate, count + more)
    for one in maps.astype(np.float32):
        tail.add(one)
    above = pixels_above(count, side * side, rate)
    ordered = np.sort(maps.astype(np.float32), axis=None)[::-1]
    threshold, bound = tail.threshold()
    assert threshold == ordered[above]
    assert (maps.astype(np.float32) > threshold).sum() <= above
    assert bound == pixel_bound(count, side * side, above)


def test_memory_is_that_of_the_tail() -> None:
    tail, rng = PixelTail(0.01, 400), np.random.default_rng(0)
    for _ in range(400):
        tail.add(rng.random((50, 50), np.float32))
        assert sum(part.size for part in tail._parts) <= 2 * 0.01 * 400 * 2500 + 2500 + 10


@pytest.mark.parametrize(("count", "rate"), [(10, 0.05), (40, 0.05), (60, 0.05)])
def test_the_promise_holds_for_the_next_image_and_is_not_empty(count: int, rate: float) -> None:
    # The hardest kind: the pixels of an image go together, one image in ten is bad all over.
    rng = np.random.default_rng(11)
    shares, bounds = [], set()
    for _ in range(1500):
        levels = rng.normal(size=(count + 1, 1)) + 4 * (rng.random((count + 1, 1)) < 0.1)
        maps = (levels + 0.3 * rng.normal(size=(count + 1, 20))).astype(np.float32)
        threshold, bound = pixel_threshold(maps[:-1], rate)
        shares.append(float((maps[-1] > threshold).mean()))
        bounds.add(bound)
    assert len(bounds) == 1  # a function of counts, not of what was seen
    noise = 4 * np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) <= bounds.pop() + noise
    assert np.mean(shares) > rate / 4


def test_the_pooled_share_itself_is_no_promise() -> None:
    """Why a bound above the rate is stated: with 3 images a new one has more than the rate above the threshold."""
    rng = np.random.default_rng(2)
    shares = []
    for _ in range(2000):
        maps = (rng.normal(size=(4, 1)) + 0.01 * rng.normal(size=(4, 50))).astype(np.float32)
        shares.append(float((maps[-1] > pixel_threshold(maps[:-1], 0.02)[0]).mean()))
    assert np.mean(shares) > 5 * 0.02
    assert np.mean(shares) < pixel_threshold(np.zeros((3, 1, 50), np.float32), 0.02)[1]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="the pixel rate is 0"):
        PixelTail(0, 3)
    tail = PixelTail(0.1, 2)
    with pytest.raises(DataError, match="no maps"):
        tail.threshold()
    tail.add(np.zeros((2, 2), np.float32))
    with pytest.raises(DataError, match="has 9 pixels, expected at most 2 maps of 4"):
        tail.add(np.zeros((3, 3), np.float32))
    with pytest.raises(DataError, match="NaN or infinity"):
        tail.add(np.full((2, 2), np.inf, np.float32))
    tail.add(np.zeros((2, 2), np.float32))
    with pytest.raises(DataError, match="at most 2 maps"):
        tail.add(np.zeros((2, 2), np.float32))
