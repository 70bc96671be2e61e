"""Ranking metrics against all pairs and all thresholds, counted one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_calibration.metrics import auroc, average_precision, f1_max, roc_curve
from diffad_runtime.errors import DataError

levels = st.integers(0, 6).map(float)  # few levels: ties within and across the pools
pools = st.tuples(st.lists(levels, min_size=1, max_size=25), st.lists(levels, min_size=1, max_size=25))


def slow_auroc(positive: list[float], negative: list[float]) -> float:
    won = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p in positive for n in negative)
    return won / (len(positive) * len(negative))


def slow_sweep(positive: list[float], negative: list[float]) -> tuple[float, float]:
    """Average precision and largest F1."""
    precision_sum, recall_before, best = 0.0, 0.0, 0.0
    for threshold in sorted(set(positive + negative), reverse=True):
        true = sum(p >= threshold for p in positive)
        false = sum(n >= threshold for n in negative)
        precision, recall = true / (true + false), true / len(positive)
        precision_sum += precision * (recall - recall_before)
        recall_before = recall
        if true:
            best = max(best, 2 * precision * recall / (precision + recall))
    return precision_sum, best


@settings(max_examples=200, deadline=None)
@given(pools)
def test_equal_the_slow_reference(pair: tuple[list[float], list[float]]) -> None:
    positive, negative = np.array(pair[0]), np.array(pair[1])
    precision, best = slow_sweep(*pair)
    assert auroc(positive, negative) == pytest.approx(slow_auroc(*pair), abs=1e-12)
    assert average_precision(positive, negative) == pytest.approx(precision, abs=1e-12)
    assert f1_max(positive, negative) == pytest.approx(best, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(pools)
def test_algebra(pair: tuple[list[float], list[float]]) -> None:
    positive, negative = np.array(pair[0]), np.array(pair[1])
    assert auroc(positive, negative) == pytest.approx(1 - auroc(negative, positive), abs=1e-12)
    assert auroc(np.exp(positive), np.exp(negative)) == auroc(positive, negative)
    assert average_precision(3 * positive - 1, 3 * negative - 1) == average_precision(positive, negative)
    fpr, tpr = roc_curve(positive, negative)
    area = float((np.diff(fpr) * (tpr[1:] + tpr[:-1])).sum() / 2)
    assert area == pytest.approx(auroc(positive, negative), abs=1e-12)


def test_hand_computed() -> None:
    # Descending: 4 bad, 3 good, 2 bad, 1 good. Of four pairs three are in order.
    positive, negative = np.array([4.0, 2.0]), np.array([3.0, 1.0])
    assert auroc(positive, negative) == 0.75
    assert average_precision(positive, negative) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert f1_max(positive, negative) == pytest.approx(0.8)


def test_constant_scores() -> None:
    same = np.full(6, 2.0)
    assert auroc(same[:2], same) == 0.5
    assert average_precision(same[:2], same) == 0.25
    assert f1_max(same[:2], same) == pytest.approx(0.4)


def test_counts_beyond_32_bits_stay_exact() -> None:
    # 70,000 x 70,000 pairs; one positive lies below everything.
    positive = np.concatenate([[-1.0], np.ones(69_999)]).astype(np.float32)
    assert auroc(positive, np.zeros(70_000, np.float32)) == 69_999 / 70_000


@pytest.mark.parametrize("metric", [auroc, average_precision, f1_max, roc_curve])
def test_bad_pools_are_refused(metric) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="one of them is empty"):
        metric(np.ones(3), np.empty(0))
    with pytest.raises(DataError, match="NaN"):
        metric(np.array([1.0, np.nan]), np.ones(2))
