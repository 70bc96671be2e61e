"""Split-conformal image threshold and pixel quantile: ranks by hand, the promise by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_calibration.thresholds import image_threshold, pixel_threshold, set_thresholds
from diffad_runtime.errors import DataError


@pytest.mark.parametrize(
    ("count", "rate", "threshold", "guaranteed"),
    [
        (99, 0.01, 99, 0.01),  # 100 * 0.99: exactly the largest of 99
        (98, 0.01, 98, 1 / 99),  # one too few: the largest, and it can only promise 1/99
        (19, 0.05, 19, 0.05),
        (9, 0.3, 7, 0.3),
        (200, 0.01, 199, 2 / 201),
        (999, 0.059, 941, 0.059),  # 1000 * 0.941 is above 941 in binary
        (1, 0.01, 1, 0.5),
    ],
)
def test_rank_by_hand(count: int, rate: float, threshold: int, guaranteed: float) -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1, count + 1)).astype(float)
    assert image_threshold(scores, rate) == (threshold, pytest.approx(guaranteed))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=40), st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.5]))
def test_leaving_each_out_in_turn_never_exceeds_the_promise(values: list[int], rate: float) -> None:
    # Exchangeability in full: each of n + 1 scores is the new part once. Holds for ties, too.
    scores = np.array(values, float)
    rejected, promises = 0, set()
    for index in range(len(values)):
        threshold, guaranteed = image_threshold(np.delete(scores, index), rate)
        rejected += scores[index] > threshold
        promises.add(guaranteed)
    assert len(promises) == 1
    assert rejected / len(values) <= promises.pop() + 1e-12


def test_promise_is_met_and_not_wasted() -> None:
    rng = np.random.default_rng(7)
    draws = rng.lognormal(size=(4000, 61))
    rates = [scores[-1] > image_threshold(scores[:-1], 0.1)[0] for scores in draws]
    _, guaranteed = image_threshold(draws[0, :-1], 0.1)
    noise = 4 * math.sqrt(guaranteed / len(draws))
    assert guaranteed <= 0.1
    assert np.mean(rates) == pytest.approx(guaranteed, abs=noise)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 400), st.sampled_from([0.001, 0.01, 0.02, 0.05, 0.1]))
def test_warning_names_the_smallest_number_that_is_enough(count: int, rate: float) -> None:
    flat = [np.zeros((2, 2), np.float32)]
    thresholds, warning = set_thresholds(np.arange(float(count)), flat, false_reject_rate=rate)
    needed = math.ceil(1 / rate - 1e-9) - 1
    assert (warning is not None) == (count < needed)
    assert warning is None or warning.endswith(f"hold back at least {needed}")
    assert (thresholds.good_images, thresholds.false_reject_rate, thresholds.pixel_rate) == (count, rate, 0.001)
    assert thresholds.guaranteed_rate <= max(rate + 1e-9, 1 / (count + 1))


def test_pixel_threshold_leaves_the_rate_above_it() -> None:
    maps = np.random.default_rng(1).permutation(2000).astype(np.float32).reshape(5, 20, 20)
    assert pixel_threshold(iter(maps), 0.001) == 1997  # 1998 and 1999 lie above: 2 of 2000
    assert pixel_threshold(maps, 0.0001) == 1999  # less than one pixel: none above
    assert pixel_threshold(np.ones((1, 4, 4), np.float32)) == 1.0


@pytest.mark.parametrize(
    ("scores", "rate", "message"),
    [([], 0.1, "no good images"), ([1.0, math.nan], 0.1, "NaN"), ([1.0], 0.0, "rate is 0"), ([1.0], 1.0, "rate is 1")],
)
def test_bad_scores_are_refused(scores: list[float], rate: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        image_threshold(scores, rate)


def test_bad_maps_are_refused() -> None:
    with pytest.raises(DataError, match="no maps"):
        pixel_threshold([])
    with pytest.raises(DataError, match="NaN"):
        pixel_threshold([np.full((2, 2), np.nan, np.float32)])
    with pytest.raises(DataError, match="pixel rate"):
        pixel_threshold([np.zeros((2, 2), np.float32)], 1.5)
