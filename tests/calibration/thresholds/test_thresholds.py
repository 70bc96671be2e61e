"""Split-conformal image threshold and pixel quantile: ranks by hand, the promise by simulation."""

import math
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_calibration.thresholds.setting import image_threshold, pixel_threshold, set_thresholds
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
    flat = np.zeros((count, 2, 2), np.float32)
    thresholds, warning = set_thresholds(np.arange(float(count)), flat, false_reject_rate=rate, pixel_rate=0.9)
    needed = math.ceil(1 / rate - 1e-9) - 1
    few = "false reject rate" in (warning or "")
    assert few == (count < needed)
    assert not few or f"asked for; that takes at least {needed}" in str(warning)
    assert (thresholds.good_images, thresholds.false_reject_rate, thresholds.pixel_rate) == (count, rate, 0.9)
    assert thresholds.guaranteed_rate <= max(rate + 1e-9, 1 / (count + 1))


def test_what_40_images_promise_by_default() -> None:
    scores, maps = np.arange(40.0), np.zeros((40, 10, 10), np.float32)
    thresholds, warning = set_thresholds(scores, iter(maps))
    assert thresholds.false_reject_rate == thresholds.pixel_rate == 0.001
    assert thresholds.guaranteed_rate == pytest.approx(1 / 41)
    assert thresholds.confident_rate == pytest.approx(1 - 0.05 ** (1 / 40))
    assert thresholds.pixel_guaranteed_rate == pytest.approx((0.04 + 1) / 41)
    assert (thresholds.kind, thresholds.shared, thresholds.labelled) == ("conformal", True, None)
    assert warning == (
        "40 good images can promise a false reject rate of 2.44%, not the 0.10% asked for; that takes at least 999. "
        "40 good images can promise 2.54% of a good part's pixels above the pixel threshold, not the 0.10% asked for; "
        "that takes at least 1999"
    )
    assert not set_thresholds(scores, maps, shared=False)[0].shared


def test_enough_images_are_not_warned_about() -> None:
    scores, maps = np.arange(39.0), np.random.default_rng(0).random((39, 10, 10), np.float32)
    thresholds, warning = set_thresholds(scores, maps, false_reject_rate=0.05, pixel_rate=0.05)
    assert warning is None
    assert thresholds.guaranteed_rate == pytest.approx(0.05)
    assert thresholds.pixel_guaranteed_rate == pytest.approx(0.05)
    assert (maps > thresholds.pixel).sum() == 100  # (40 x 0.05 - 1) maps


def test_pixel_threshold_leaves_the_rate_above_it() -> None:
    maps = np.random.default_rng(1).permutation(2000).astype(np.float32).reshape(5, 20, 20)
    for given_maps, count in ((iter(maps), None), (iter(maps), 5), (list(maps), None)):
        # 1998 and 1999 lie above: 2 of 2000. They are 0.005 maps; one image may be bad all over, so (0.005 + 1) / 6.
        assert pixel_threshold(given_maps, 0.001, count=count) == (1997, pytest.approx(1.005 / 6))
    assert pixel_threshold(maps, 0.0001) == (1999, pytest.approx(1 / 6))  # less than one pixel: none above
    assert pixel_threshold(np.ones((1, 4, 4), np.float32))[0] == 1.0


def test_maps_are_held_one_at_a_time() -> None:
    given_out: list[weakref.ref[Any]] = []

    def maps(count: int) -> Iterator[Any]:
        for _ in range(count):
            assert sum(ref() is not None for ref in given_out) <= 1
            one = np.zeros((4, 4), np.float32)
            given_out.append(weakref.ref(one))
            yield one
            del one

    set_thresholds(np.arange(50.0), maps(50))
    assert len(given_out) == 50


def test_another_number_of_maps_than_said_is_refused() -> None:
    maps = np.zeros((3, 2, 2), np.float32)
    with pytest.raises(DataError, match="3 maps of good images came, expected 4"):
        set_thresholds(np.arange(4.0), maps)
    with pytest.raises(DataError, match="at most 2 maps"):
        pixel_threshold(iter(maps), 0.1, count=2)


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
