"""Ranges against slow references: numpy's quantiles, brute force on the raw values, Kullback-Leibler by loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diffad_calibration.precision.ranges import ESTIMATORS, Histogram, estimate, estimators
from diffad_runtime.errors import DataError

COUNT = 4000


def counted(values: np.ndarray) -> Histogram:
    histogram = Histogram()
    histogram.add(np.asarray(values, np.float32))
    return histogram


def drawn(shape: str, count: int = COUNT) -> np.ndarray:
    rng = np.random.default_rng(0)
    normal = rng.normal(size=count)
    made = {
        "normal": normal,
        "shifted": normal * 0.5 + 3,
        "negative": normal * 0.5 - 3,
        "relu": np.maximum(normal, 0),
        "silu": 3 * normal / (1 + np.exp(-3 * normal)),
        "heavy": rng.laplace(size=count),
        "outlier": np.append(normal[1:], 40.0),
        "uniform": rng.uniform(-1, 2, count),
    }
    return np.asarray(made[shape], np.float32)


SHAPES = ["normal", "shifted", "negative", "relu", "silu", "heavy", "outlier", "uniform"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.9, 0.99, 0.999, 1.0])
def test_percentile_is_numpys(shape: str, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimators, "PERCENTILE", share)
    values = np.sort(drawn(shape))
    histogram = counted(values)
    low, high = estimate("percentile", histogram, symmetric=False)
    # numpy's with values on each side cut off, rounded down; a bin is not cut.
    lowest, highest = np.quantile(values, [1 - share + 1e-9, share - 1e-9], method="inverted_cdf")
    assert min(lowest, 0) - histogram.width <= low <= min(lowest, 0)
    assert max(highest, 0) <= high <= max(highest, 0) + histogram.width


def test_percentile_loses_its_share_on_each_side_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimators, "PERCENTILE", 0.99999)
    values = np.concatenate([np.linspace(-1, 1, 299_994), [-9, -8, -7, 7, 8, 9]])
    low, high = estimate("percentile", counted(values), symmetric=False)
    assert (low, high) == pytest.approx((-1, 1), abs=0.01)
    low, high = estimate("percentile", counted(np.append(values, [-6, 6])), symmetric=False)
    assert (low, high) == pytest.approx((-6, 6), abs=0.01)


def rounding_error(values: np.ndarray, low: float, high: float, *, symmetric: bool) -> float:
    """Mean squared error of a real quantiser: int8 of 255 levels around 0, or uint8 with a whole zero point."""
    if symmetric:
        step, zero, ends = max(-low, high) / 127, 0, (-127, 127)
    else:
        step, ends = (high - low) / 255, (0, 255)
        zero = round(-low / step)
    steps = np.clip(np.rint(values / step) + zero, *ends) - zero
    return float(np.square(steps * step - values).mean())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("symmetric", [True, False])
def test_mse_is_as_good_as_the_best_of_many_ends(shape: str, symmetric: bool) -> None:
    values = drawn(shape)
    found = rounding_error(values, *estimate("mse", counted(values), symmetric=symmetric), symmetric=symmetric)
    smallest, largest, shares = min(values.min(), 0.0), max(values.max(), 0.0), np.linspace(0.2, 1, 41)
    if symmetric:
        ends = [(-share * max(-smallest, largest), share * max(-smallest, largest)) for share in shares]
    else:
        lows = shares * smallest if smallest < 0 else [0.0]
        ends = [(low, high) for low in lows for high in (shares * largest if largest > 0 else [0.0])]
    errors = [rounding_error(values, low, high, symmetric=symmetric) for low, high in ends]
    widest = rounding_error(values, smallest, largest, symmetric=symmetric)
    assert found <= 1.05 * min(errors), f"{found}, best {min(errors)}, of the whole range {widest}"


def divergence(counted: list[float], bins: int, levels: int) -> float:
    """Of magnitudes in the first `bins`, those beyond put into the last, from the same merged into `levels`."""
    kept, beyond = counted[:bins], sum(counted[bins:])
    spread = [0.0] * bins
    groups: list[list[int]] = [[] for _ in range(levels)]
    for place in range(bins):
        groups[place * levels // bins].append(place)
    for group in groups:
        filled = [place for place in group if kept[place]]
        for place in filled:
            spread[place] = sum(kept[one] for one in filled) / len(filled)
    actual = [*kept[:-1], kept[-1] + beyond]
    of, to = sum(actual), sum(spread)
    return sum(p / of * math.log((p / of) / max(q / to, 1e-9)) for p, q in zip(actual, spread, strict=True) if p)


@pytest.mark.parametrize(
    ("shape", "symmetric", "levels"),
    [("normal", True, 128), ("outlier", True, 128), ("heavy", True, 128), ("relu", False, 256), ("relu", True, 128)],
)
def test_entropy_has_the_least_divergence(shape: str, symmetric: bool, levels: int) -> None:
    values = drawn(shape, 100_000)
    histogram = counted(values)
    magnitudes = np.abs(values.astype(np.float64))
    used = math.floor(magnitudes.max() / histogram.width) + 1
    counts = np.histogram(magnitudes, used, (0, used * histogram.width))[0].astype(float).tolist()
    counts[0] = counts[1]  # zeros do not count

    found = max(np.abs(estimate("entropy", histogram, symmetric=symmetric)))
    bins = min(math.ceil(found / histogram.width), used)
    tried = {one: divergence(counts, one, levels) for one in {*range(levels, used, 16), bins, used}}
    assert tried[bins] <= 1.02 * min(tried.values()), f"{bins}, best {min(tried, key=tried.__getitem__)}"
    if (shape, symmetric) == ("relu", False):  # 256 levels on one side, not 128
        assert found != max(np.abs(estimate("entropy", histogram, symmetric=True)))


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_one_outlier_in_a_million_is_clipped_by_all_but_minmax(kind: str, symmetric: bool) -> None:
    values = np.append(np.random.default_rng(0).normal(size=999_999).astype(np.float32), 30.0)
    low, high = estimate(kind, counted(values), symmetric=symmetric)
    assert high == 30 if kind == "minmax" else 3.5 < high < 12
    assert values.min() <= low < -3.5


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_of_a_uniform_spread_nothing_is_clipped(kind: str, symmetric: bool) -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 200_000)
    low, high = estimate(kind, counted(values), symmetric=symmetric)
    assert (low, high) == pytest.approx((-1, 1), abs=1e-3)


_ARRAYS = hnp.arrays(
    np.float32,
    st.integers(1, 60),
    elements=st.one_of(st.floats(-100, 100, width=32, allow_subnormal=False), st.sampled_from([0.0, 1e-9, -1e-9])),
)


@given(_ARRAYS, st.sampled_from(["", "relu", "negative"]))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_ranges_hold_0_and_lie_within_what_was_seen(kind: str, symmetric: bool, values: np.ndarray, side: str) -> None:
    values = {"": values, "relu": np.maximum(values, 0), "negative": -np.abs(values)}[side]
    low, high = estimate(kind, counted(values), symmetric=symmetric)
    assert min(values.min(), 0) <= low <= 0 <= high <= max(values.max(), 0)
    if kind == "minmax":
        assert (low, high) == (min(values.min(), 0), max(values.max(), 0))


def test_symmetric_ranges_are_chosen_for_both_sides_at_once() -> None:
    # The right side alone has outliers; spread over [-m, m] or over [low, high], another clip is best.
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.uniform(-4, 0, 50_000), rng.laplace(0, 0.2, 50_000).clip(0)])
    for kind in ("entropy", "mse"):
        both, apart = (estimate(kind, counted(values), symmetric=symmetric) for symmetric in (True, False))
        assert both[0] == pytest.approx(-4, abs=0.15), kind
        assert both[1] <= -both[0] + 1e-6
        assert apart[0] == pytest.approx(-4, abs=0.15), kind
    assert apart[1] < both[1] or apart[1] < values.max()  # mse cuts the sparse side on its own


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("value", [0.0, 1e-12, -1e-12])
def test_a_tensor_that_is_always_the_same(kind: str, value: float) -> None:
    for symmetric in (True, False):
        low, high = estimate(kind, counted(np.full(50, value)), symmetric=symmetric)
        assert (low, high) == pytest.approx((min(value, 0), max(value, 0)), abs=1e-18)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(DataError, match=r"unknown range estimator 'median'.*minmax, percentile, entropy, mse"):
        estimate("median", counted(np.ones(3)), symmetric=True)
    with pytest.raises(DataError, match="never seen while calibrating"):
        estimate("minmax", Histogram(), symmetric=True)
