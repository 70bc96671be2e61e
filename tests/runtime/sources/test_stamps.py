"""Capture times from a stream's clock: closed forms, and what must hold for any stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.sources.stamps import CaptureClock


def test_jitter_is_taken_off() -> None:
    clock = CaptureClock()
    delays = [0.0, 0.03, 0.01, 0.2, 0.0, 0.05]
    for index, delay in enumerate(delays):
        assert clock.capture(7000 + index / 25, 50 + index / 25 + delay) == pytest.approx(50 + index / 25)


def test_a_shorter_delay_is_believed_and_forgotten_after_the_window() -> None:
    clock = CaptureClock(window_s=10)
    assert clock.capture(0.0, 100.3) == 100.3
    assert clock.capture(1.0, 101.0) == 101.0  # 0.3 s less
    assert clock.capture(2.0, 102.3) == pytest.approx(102.0)
    for second in range(3, 14):
        last = clock.capture(float(second), 100.3 + second)
    assert last == pytest.approx(113.3)


def test_pictures_that_were_held_up_are_known_as_old() -> None:
    clock = CaptureClock()
    clock.capture(0.0, 100.0)
    assert clock.capture(0.04, 103.0) == pytest.approx(100.04)
    assert clock.capture(3.0, 103.01) == pytest.approx(103.0)


@pytest.mark.parametrize("jump", [-3600.0, -0.5, 6.0, 3600.0])
def test_a_jump_of_the_cameras_clock_does_not_make_its_pictures_old(jump: float) -> None:
    clock = CaptureClock()
    for index in range(50):
        clock.capture(index / 25, 100 + index / 25)
    for index in range(50, 100):
        assert clock.capture(index / 25 + jump, 100 + index / 25) == pytest.approx(100 + index / 25)


def test_without_stamps_it_is_the_arrival() -> None:
    clock = CaptureClock()
    assert [clock.capture(None, arrival) for arrival in (1.0, 2.0, 2.0)] == [1.0, 2.0, 2.0]


@given(st.lists(st.tuples(st.none() | st.floats(-1e6, 1e6), st.floats(0, 100)), max_size=60))
def test_never_in_the_future_never_back(stream: list[tuple[float | None, float]]) -> None:
    clock = CaptureClock()
    arrival, last = 1000.0, 0.0
    for pts, wait in stream:
        arrival += wait
        captured = clock.capture(pts, arrival)
        assert last <= captured <= arrival
        last = captured
