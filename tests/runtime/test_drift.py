"""Drift: closed forms, a literal restatement over all scores, level and power by simulation, and its algebra."""

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.drift import drift
from diffad_runtime.errors import InputError
from diffad_runtime.manifest import NormalScores

Array = npt.NDArray[np.float64]


def normal(scores: Array) -> NormalScores:
    ordered = np.sort(scores)
    ranks = np.linspace(1, ordered.size, min(101, ordered.size)).round().astype(int)
    return NormalScores(count=ordered.size, ranks=ranks.tolist(), values=ordered[ranks - 1].tolist())


def cucconi(scores: Array, window: Array) -> float:
    """exp(-C) with every score at hand; tied ranks share the mean of their squares."""
    n, m = scores.size, window.size
    N = n + m
    both = np.concatenate([window, scores])
    squares, contrary = 0.0, 0.0
    for score in window:
        ranks = np.arange((both < score).sum() + 1, (both <= score).sum() + 1)
        squares += np.mean(ranks**2.0)
        contrary += np.mean((N + 1.0 - ranks) ** 2)
    scale = math.sqrt(m * n * (N + 1) * (2 * N + 1) * (8 * N + 11) / 5)
    U = (6 * squares - m * (N + 1) * (2 * N + 1)) / scale
    V = (6 * contrary - m * (N + 1) * (2 * N + 1)) / scale
    rho = 2 * (N**2 - 4) / ((2 * N + 1) * (8 * N + 11)) - 1
    return math.exp(-(U**2 + V**2 - 2 * rho * U * V) / (2 * (1 - rho**2)))


@pytest.mark.parametrize("size", [2, 17, 101])
@pytest.mark.parametrize("grid", [None, 4])
def test_agrees_with_the_full_scores_where_all_are_kept(size: int, grid: int | None) -> None:
    rng = np.random.default_rng(size)
    for moved in (0.0, 1.0, -3.0, 50.0):
        scores, window = rng.normal(size=size), rng.normal(size=30) + moved
        if grid:
            scores, window = np.round(scores * grid) / grid, np.round(window * grid) / grid
        assert drift(normal(scores), window).p_value == pytest.approx(cucconi(scores, window), rel=1e-9)


def test_thinned_scores_change_little() -> None:
    rng = np.random.default_rng(1)
    for size in (130, 999, 5000):
        for moved in (0.0, 0.3, -0.5):
            scores, window = rng.gamma(4, 1, size), rng.gamma(4, 1, 100) + moved
            kept, full = drift(normal(scores), window).p_value, cucconi(scores, window)
            assert math.log(kept) == pytest.approx(math.log(full), abs=0.25)


def test_by_hand() -> None:
    """Window 3 4 5 6 7 of normal scores 1 2: ranks 3 to 7 of 7, squared 135, from above 5 to 1, squared 55."""
    U, V = ((6 * s - 5 * 8 * 15) / math.sqrt(10 * 8 * 15 * 67 / 5) for s in (135, 55))
    rho = 2 * 45 / (15 * 67) - 1
    expected = math.exp(-(U * U + V * V - 2 * rho * U * V) / (2 * (1 - rho * rho)))
    found = drift(NormalScores(count=2, ranks=[1, 2], values=[1.0, 2.0]), [7, 3, 5, 4, 6])
    assert found.p_value == pytest.approx(expected)
    assert (found.window, found.shift) == (5, pytest.approx(3.5 / (0.5 / 1.349)))


@pytest.mark.parametrize(("size", "window"), [(40, 10), (200, 10), (200, 50), (40, 200), (400, 200)])
def test_false_alarms_are_as_rare_as_promised(size: int, window: int) -> None:
    rng = np.random.default_rng(size + window)
    p = np.array([drift(normal(rng.gamma(4, 1, size)), rng.gamma(4, 1, window)).p_value for _ in range(1500)])
    for level in (0.5, 0.1, 0.05, 0.01):
        assert np.mean(p < level) <= level + 4 * math.sqrt(level * (1 - level) / p.size), level
    assert np.mean(p < 0.5) > 0.42
    assert np.mean(p < 0.05) > 0.025


@pytest.mark.parametrize(
    ("change", "window", "least"),
    [
        (lambda s: s + 1, 50, 0.6),  # half a standard deviation
        (lambda s: s - 1, 50, 0.65),
        (lambda s: s + 2, 10, 0.4),
        (lambda s: s - 2, 10, 0.55),
        (lambda s: s + 2, 50, 0.99),
        (lambda s: s - 2, 50, 0.99),
        (lambda s: 4 + 2 * (s - 4), 50, 0.9),
        (lambda s: 4 + 0.5 * (s - 4), 50, 0.9),
    ],
)
def test_power(change: object, window: int, least: float) -> None:
    rng = np.random.default_rng(window)
    p = [drift(normal(rng.gamma(4, 1, 200)), change(rng.gamma(4, 1, window))).p_value for _ in range(200)]  # type: ignore[operator]
    assert np.mean(np.array(p) < 0.01) >= least


scores = st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=150).map(np.array)
windows = st.lists(st.floats(-1e6, 1e6, width=32), min_size=5, max_size=60).map(np.array)


@settings(max_examples=150, deadline=None)
@given(scores, windows, st.randoms())
def test_order_does_not_matter_and_p_is_a_probability(reference: Array, window: Array, random: object) -> None:
    kept, found = normal(reference), drift(normal(reference), window)
    assert 0 < found.p_value <= 1
    shuffled = window.tolist()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert drift(kept, shuffled) == found


@settings(max_examples=100, deadline=None)
@given(scores, windows)
def test_only_ranks_matter(reference: Array, window: Array) -> None:
    """A monotone change of units leaves p as it is: of kept scores exactly, and mirrored, too."""
    reference = reference[:101]

    def bent(values: Array) -> Array:
        return 3 * np.cbrt(values) + 7

    straight = drift(normal(reference), window).p_value
    assert drift(normal(bent(reference)), bent(window)).p_value == pytest.approx(straight, rel=1e-9)
    assert drift(normal(-reference), -window).p_value == pytest.approx(straight, rel=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.integers(20, 300), st.integers(5, 80), st.booleans())
def test_the_further_a_window_moves_the_less_likely_it_is(count: int, window: int, down: bool) -> None:
    """A window that begins in the place of the normal scores, quantile for quantile, in steps that ranks can feel."""
    reference, start = (np.arange(count) + 0.5) / count, (np.arange(window) + 0.5) / window
    moves = np.linspace(0, 1.2, 9) * (-1 if down else 1)
    found = [drift(normal(reference), start + move) for move in moves]
    p = [one.p_value for one in found]
    assert all(after <= before * (1 + 1e-9) for before, after in pairwise(p)), p
    assert np.sign(found[-1].shift) == (-1 if down else 1)
    assert [one.shift for one in found] == sorted((one.shift for one in found), reverse=down)


def test_scores_that_are_all_equal_are_no_change() -> None:
    frozen = NormalScores(count=50, ranks=[1, 50], values=[2.0, 2.0])
    assert drift(frozen, [2.0] * 20).p_value == pytest.approx(1.0)
    assert drift(frozen, [2.0] * 20).shift == 0
    assert drift(frozen, [3.0] * 20).shift == math.inf
    assert drift(frozen, [1.0] * 20).p_value < 1e-9


@pytest.mark.parametrize("window", [[], [1.0] * 4, [1.0, 2.0, 3.0, 4.0, float("nan")], [float("inf")] * 9])
def test_windows_that_cannot_be_judged(window: list[float]) -> None:
    with pytest.raises(InputError, match="at least 5 finite scores"):
        drift(NormalScores(count=2, ranks=[1, 2], values=[0.0, 1.0]), window)
