"""Waits between attempts."""

import random

from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.sources.backoff import backoff


def test_without_jitter_it_doubles_up_to_the_cap() -> None:
    rng = random.Random(0)
    waits = [backoff(n, first_s=0.25, cap_s=3, jitter=0, rng=rng) for n in (0, 1, 2, 3, 4, 5, 6, 10**6)]
    assert waits == [0, 0.25, 0.5, 1, 2, 3, 3, 3]


@given(st.integers(1, 10**9), st.floats(1e-3, 10), st.floats(1e-3, 100), st.floats(0, 1), st.integers())
def test_chance_only_shortens_and_by_its_share_at_most(
    failures: int, first_s: float, cap_s: float, jitter: float, seed: int
) -> None:
    longest = backoff(failures, first_s=first_s, cap_s=cap_s, jitter=0, rng=random.Random(0))
    wait = backoff(failures, first_s=first_s, cap_s=cap_s, jitter=jitter, rng=random.Random(seed))
    assert longest * (1 - jitter) <= wait <= longest <= cap_s


def test_two_cameras_do_not_keep_step() -> None:
    one, two = random.Random(1), random.Random(2)
    same = [
        backoff(9, first_s=1, cap_s=2, jitter=0.5, rng=one) == backoff(9, first_s=1, cap_s=2, jitter=0.5, rng=two)
        for _ in range(20)
    ]
    assert not any(same)
