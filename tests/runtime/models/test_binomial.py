"""Tails of the binomial distribution against sums of exact fractions."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.models.binomial import at_least, at_most


def _exact(k: int, n: int, p: Fraction) -> Fraction:
    return sum((comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(max(k, 0), n + 1)), Fraction(0))


@given(st.integers(0, 60), st.integers(-1, 61), st.integers(0, 64))
def test_as_fractions_say(n: int, k: int, sixty_fourths: int) -> None:
    p = Fraction(sixty_fourths, 64)  # exact as a float too
    assert at_least(k, n, float(p)) == pytest.approx(float(_exact(k, n, p)), rel=1e-9, abs=1e-300)
    assert at_most(k, n, float(p)) == pytest.approx(float(1 - _exact(k + 1, n, p)), rel=1e-9, abs=1e-300)


def test_far_out_and_large() -> None:
    assert at_least(100, 100, 0.02) == pytest.approx(1.2676506e-170, rel=1e-6)  # 0.02^100 = 2^100 / 1e200
    p = Fraction(1, 64)
    assert at_least(40, 500, float(p)) == pytest.approx(float(_exact(40, 500, p)), rel=1e-9)
    assert at_least(20_000, 1_000_000, 0.02) == pytest.approx(0.5, abs=0.005)
    assert at_least(300_000, 1_000_000, 0.02) == 0.0
