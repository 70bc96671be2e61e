"""Estimates from two timings: exact on a line, and who is then not timed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_export.search.candidates import Candidate, SearchOptions, Shape
from diffad_export.search.estimate import FAR, anchors, estimates, line_through

CANDIDATES = SearchOptions(10.0).candidates()
GMACS = {one: one.shape.steps * one.shape.width**2 / 1000 for one in CANDIDATES}


def candidate(steps: int, width: int, precision: str) -> Candidate:
    return Candidate(Shape(steps, width), precision)


def test_anchors_are_the_cheapest_and_the_widest_of_as_few_steps() -> None:
    expected = [candidate(1, width, name) for name in ("fp32", "int8") for width in (8, 64)]
    assert anchors(CANDIDATES, GMACS) == expected
    one_width = [one for one in CANDIDATES if one.shape.width == 16 and one.precision == "int8"]
    assert anchors(one_width, GMACS) == [candidate(1, 16, "int8"), candidate(2, 16, "int8")]
    assert anchors(one_width[:1], GMACS) == one_width[:1]


@given(st.floats(0.1, 50), st.floats(0, 20))
def test_a_machine_that_is_linear_is_known_from_two_timings(fixed: float, slope: float) -> None:
    timed = {one: fixed + slope * GMACS[one] for one in anchors(CANDIDATES, GMACS)}
    found = estimates(CANDIDATES, GMACS, timed)
    assert found == {one: pytest.approx(fixed + slope * GMACS[one], abs=1e-6) for one in CANDIDATES}


def test_what_is_far_beyond_the_budget_is_told_apart() -> None:
    timings = {"fp32": (6.0, 60.0), "int8": (4.0, 12.0)}
    timed = dict(zip(anchors(CANDIDATES, GMACS), (*timings["fp32"], *timings["int8"]), strict=True))
    near = {one for one, ms in estimates(CANDIDATES, GMACS, timed).items() if ms <= FAR * 10}
    # fp32: 5.14 + 13.4 a GMAC, int8: 3.87 + 1.98 a GMAC, by hand; 20 ms are 1.1 and 8.1 GMACs
    assert near == {one for one in CANDIDATES if GMACS[one] <= (1.1 if one.precision == "fp32" else 8.1)}
    assert candidate(4, 64, "int8") not in near
    assert candidate(1, 32, "fp32") in near


def test_noise_does_not_make_the_larger_one_faster() -> None:
    line = line_through((5.0, 3.0), (1.0, 4.0))
    assert line.at(100) == line.at(1) == 4.0


def test_one_timing_says_nothing() -> None:
    assert estimates(CANDIDATES, GMACS, {CANDIDATES[0]: 5.0}) == {}
