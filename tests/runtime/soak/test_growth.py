import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.soak.growth import rise, slope


@given(st.floats(-5, 5), st.floats(-100, 100), st.integers(3, 900))
def test_slope_of_a_line(per_second: float, start: float, count: int) -> None:
    times = np.arange(count) * 0.5
    assert slope(times, start + per_second * times) == pytest.approx(per_second, abs=1e-9)


def test_jumps_do_not_move_it() -> None:
    """An allocator that takes a block once, and samples that were off: no growth."""
    times = np.arange(300.0)
    values = np.full(300, 100.0)
    values[::37] += 50
    values[290:] += 8
    assert slope(times, values) == 0.0
    assert slope(times, np.where(times > 150, 104.0, 100.0)) < 4 / 150
    assert slope([1.0], [5.0]) == slope([2.0, 2.0], [5.0, 9.0]) == 0.0


def test_rise() -> None:
    assert rise([5, 9, 5, 6, 6, 6]) == -3
    assert rise([5, 5, 7, 7, 9, 9]) == 4
    assert rise([1, 2]) == 0
