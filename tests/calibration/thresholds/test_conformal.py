"""Ranks and bounds against closed forms, exact fractions and simulation."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_calibration.thresholds.conformal import (
    conditional_bound,
    image_rank,
    images_needed,
    marginal_bound,
    pixel_bound,
    pixel_images_needed,
    pixels_above,
    uniform_bound,
)


@pytest.mark.parametrize("count", [1, 2, 19, 40, 999, 20_000])
def test_conditional_bound_of_the_largest_and_the_smallest_score(count: int) -> None:
    assert conditional_bound(count, count) == pytest.approx(1 - 0.05 ** (1 / count), rel=1e-9)
    assert conditional_bound(count, 1) == pytest.approx(0.95 ** (1 / count), rel=1e-9)  # Beta(n, 1): x^n


@pytest.mark.parametrize("rank", [1, 5, 200])
def test_conditional_bound_of_the_middle_score_is_symmetric(rank: int) -> None:
    assert conditional_bound(2 * rank - 1, rank, confidence=0.5) == pytest.approx(0.5, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_conditional_bound_solves_the_binomial_sum_in_exact_fractions(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 60))
    rank = data.draw(st.integers(1, count))

    def tail(x: float) -> Fraction:
        """P(Bin(n, x) <= n - k) = P(Beta(n + 1 - k, k) > x)."""
        share = Fraction(x)
        hits = range(count - rank + 1)
        return sum((math.comb(count, i) * share**i * (1 - share) ** (count - i) for i in hits), Fraction(0))

    bound = conditional_bound(count, rank)
    assert tail(bound - 1e-9) >= Fraction(1, 20) >= tail(min(1.0, bound + 1e-9))


def test_conditional_bound_is_kept_by_19_of_20_sets_of_images() -> None:
    # Of uniform scores the share above a threshold t is 1 - t: no test images are needed.
    draws = np.sort(np.random.default_rng(3).random((20_000, 40)), axis=1)
    for rank in (37, 39, 40):
        kept = np.mean(1 - draws[:, rank - 1] <= conditional_bound(40, rank))
        assert kept == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / 20_000))
        assert np.mean(1 - draws[:, rank - 1]) == pytest.approx(marginal_bound(40, rank), abs=1e-3)


def test_uniform_bound_holds_for_the_worst_threshold_of_all() -> None:
    """The gap between the true share above and the seen one, at whichever threshold it is widest."""
    images, draws = 30, 4000
    scores = np.sort(np.random.default_rng(5).random((draws, images)), axis=1)
    # Just below the i-th smallest score n - i + 1 scores lie above, at it n - i: the worst is one of these.
    rejected = np.arange(images - 1, -1, -1)
    gap = (1 - scores) - rejected / images
    worst_gap = gap.max(axis=1)
    slack = uniform_bound(images, 0)
    assert slack == pytest.approx(math.sqrt(math.log(20) / 60))
    assert 0.93 < np.mean(worst_gap <= slack) <= 1.0
    assert np.mean(worst_gap <= slack) >= 0.95 - 4 * math.sqrt(0.05 * 0.95 / draws)
    assert uniform_bound(5, 5) == 1.0


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5000), st.sampled_from([0.001, 0.01, 0.02, 0.05, 0.1, 0.3]))
def test_the_needed_number_is_the_least_that_promises_the_rate(count: int, rate: float) -> None:
    promised = marginal_bound(count, image_rank(count, rate)) <= rate + 1e-12
    assert promised == (count >= images_needed(rate))


@pytest.mark.parametrize(("rate", "images", "pixels"), [(0.001, 999, 1999), (0.01, 99, 199), (0.05, 19, 39)])
def test_needed_numbers_by_hand(rate: float, images: int, pixels: int) -> None:
    assert (images_needed(rate), pixel_images_needed(rate)) == (images, pixels)


def test_pixels_by_hand() -> None:
    # 40 maps of 100 pixels at 5 %: promised from 39 on. (41 x 0.05 - 1) x 100 = 105 pixels, 2.05 / 41 = 5 %.
    assert pixels_above(40, 100, 0.05) == 105
    assert pixel_bound(40, 100, 105) == pytest.approx(0.05)
    # 38 are too few: the pooled 5 % of 3800 pixels, and (38 x 0.05 + 1) / 39.
    assert pixels_above(38, 100, 0.05) == 190
    assert pixel_bound(38, 100, 190) == pytest.approx(2.9 / 39)
    assert pixels_above(1999, 65536, 0.001) == 65536  # (2000 x 0.001 - 1) maps: exact in spite of binary fractions


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 5000), st.sampled_from([0.001, 0.01, 0.1, 0.5]))
def test_more_pixels_than_the_rate_are_never_allowed_and_the_promise_is_used_up(n: int, p: int, rate: float) -> None:
    above = pixels_above(n, p, rate)
    assert 0 <= above <= rate * n * p + 1e-6
    bound = pixel_bound(n, p, above)
    if n >= pixel_images_needed(rate):
        assert bound <= rate * (1 + 1e-9)
        assert pixel_bound(n, p, above + 1) > rate * (1 - 1e-9)  # not one pixel wasted
        assert above >= (rate * n * p) / 2 - p - 1
    else:
        assert bound <= (n * rate + 1) / (n + 1) * (1 + 1e-9)
