"""Counted figures against exact ones, resamples against sets written out, intervals against what they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_calibration.metrics import FIGURES, Bootstrap, ClassMeter, evaluate_maps
from diffad_calibration.metrics.areas import area_under_roc
from diffad_calibration.metrics.bootstrap import difference, figures, interval, intervals, macro
from diffad_calibration.metrics.cells import count_scores
from diffad_runtime.errors import InputError


def drawn(count: int, side: int, levels: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Maps of few levels (ties) or many, masks of which every third is empty, image scores."""
    rng = np.random.default_rng(seed)
    masks = [(rng.random((side, side)) < 0.2).astype(np.uint8) * (number % 3 > 0) for number in range(count)]
    masks[1][0, 0], masks[2][0, 0] = 1, 1
    maps = [(rng.integers(0, levels, (side, side)) + levels // 3 * m.astype(int)).astype(np.float32) for m in masks]
    return maps, masks, rng.integers(0, 5, count).astype(np.float64)


def meter_of(maps: list[np.ndarray], masks: list[np.ndarray], scores: np.ndarray) -> ClassMeter:
    meter = ClassMeter()
    for number, (one, mask) in enumerate(zip(maps, masks, strict=True)):
        meter.add(one, mask, scores[number], int(number % 3 > 0))
    return meter


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 7), st.sampled_from([1, 2, 5, 1000]), st.integers(0, 2**32 - 1))
def test_small_sets_are_counted_exactly(count: int, levels: int, seed: int) -> None:
    maps, masks, scores = drawn(count, 6, levels, seed)
    meter = meter_of(maps, masks, scores)
    counted = figures(meter.pixels, meter.scores, meter.labels, np.ones((1, count)))
    exact = evaluate_maps(maps, masks, scores, meter.labels).to_dict()
    assert {name: counted[name][0] for name in FIGURES} == pytest.approx({n: exact[n] for n in FIGURES}, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([2, 5, 1000]), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_a_weighted_image_counts_as_often_as_it_is_there(levels: int, seed: int, weights: list[int]) -> None:
    maps, masks, scores = drawn(6, 6, levels, seed)
    weights[0], weights[1] = max(weights[0], 1), max(weights[1], 1)  # a good and a defective one at least
    meter = meter_of(maps, masks, scores)
    counted = figures(meter.pixels, meter.scores, meter.labels, np.array([weights], np.float64))
    rows = np.repeat(np.arange(6), weights)
    exact = evaluate_maps([maps[r] for r in rows], [masks[r] for r in rows], scores[rows], meter.labels[rows]).to_dict()
    assert {name: counted[name][0] for name in FIGURES} == pytest.approx({n: exact[n] for n in FIGURES}, abs=1e-9)


def test_large_sets_are_counted_closely() -> None:
    rng = np.random.default_rng(0)
    masks = [np.zeros((128, 128), np.uint8) for _ in range(30)]
    for mask in masks[10:]:
        y, x, h, w = rng.integers((0, 0, 1, 1), (100, 100, 28, 28))
        mask[y : y + h, x : x + w] = 255
    maps = [np.exp(rng.normal(size=m.shape) + 1.5 * (m > 0)).astype(np.float32) for m in masks]
    labels = [int(mask.any()) for mask in masks]
    exact = evaluate_maps(maps, masks, np.arange(30.0), labels)
    meter = ClassMeter()
    for number, (one, mask) in enumerate(zip(maps, masks, strict=True)):
        meter.add(one, mask, float(number), labels[number])
    counted = figures(meter.pixels, meter.scores, meter.labels, np.ones((1, 30)))
    assert {name: counted[name][0] for name in FIGURES} == pytest.approx(
        {name: exact.to_dict()[name] for name in FIGURES}, abs=1.5e-4
    )


def test_draws_keep_the_number_of_good_and_defective_images_and_follow_the_seed() -> None:
    labels = np.array([0] * 7 + [1] * 12)
    weights = Bootstrap(resamples=200).weights(labels, 3)
    assert weights.shape == (200, 19)
    assert (weights[:, :7].sum(1) == 7).all()
    assert (weights[:, 7:].sum(1) == 12).all()
    # Each image is drawn once on average, with the variance of a binomial.
    assert weights.mean(0) == pytest.approx(np.ones(19), abs=0.3)
    assert weights[:, 7:].var() == pytest.approx(1 - 1 / 12, rel=0.1)
    np.testing.assert_array_equal(weights, Bootstrap(resamples=200).weights(labels, 3))
    for other in (Bootstrap(resamples=200, seed=1).weights(labels, 3), Bootstrap(resamples=200).weights(labels, 4)):
        assert (other != weights).any()


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    # Scores of two normals one apart: the true AUROC is Phi(1 / sqrt 2).
    truth, rng, held, how = 0.76025, np.random.default_rng(5), 0, Bootstrap(resamples=200, level=0.9)
    labels = np.repeat([0, 1], [40, 60])
    for trial in range(150):
        scores = rng.normal(size=100) + labels
        cells = count_scores(scores, labels, how.weights(labels, trial))
        low, high = interval(area_under_roc(cells), how.level) or (1.0, 0.0)
        held += low <= truth <= high
    assert 0.83 <= held / 150 <= 0.96


def test_models_on_the_same_draws_differ_less_than_their_intervals_say() -> None:
    maps, masks, scores = drawn(24, 24, 1000, 1)
    rng = np.random.default_rng(2)
    worse = [m + rng.normal(0, 60, m.shape).astype(np.float32) for m in maps]
    how = Bootstrap(resamples=300)
    one, other = meter_of(maps, masks, scores), meter_of(worse, masks, scores)
    a, b = one.replicates(how, 0), other.replicates(how, 0)
    apart = intervals(difference(a, b), how.level)["aupro_30"]
    exact = (one.figures()["aupro_30"] or 0) - (other.figures()["aupro_30"] or 0)
    assert apart[0] < exact < apart[1]
    strange = intervals(difference(a, other.replicates(how, 1)), how.level)["aupro_30"]
    assert apart[1] - apart[0] < 0.7 * (strange[1] - strange[0])
    assert intervals(difference(a, a), how.level)["image_auroc"] == (0.0, 0.0)


def test_macro_replicates_are_means_over_the_classes_where_defined() -> None:
    nan = float("nan")
    one = {"f1_max": np.array([0.2, 0.4, nan]), "image_ap": np.array([nan, nan, nan])}
    two = {"f1_max": np.array([0.4, nan, nan]), "image_ap": np.array([nan, nan, nan])}
    means = macro([one, two])
    np.testing.assert_allclose(means["f1_max"], [0.3, 0.4, nan])
    assert "image_ap" not in intervals(means, 0.95)
    assert interval(np.full(3, nan), 0.95) is None


def test_undefined_figures_have_no_interval() -> None:
    meter = ClassMeter()
    for number in range(3):
        meter.add(np.random.default_rng(number).random((8, 8), np.float32), None, float(number), 0)
    assert set(meter.figures().values()) == {None}
    replicates = meter.replicates(Bootstrap(resamples=5))
    assert set(replicates) == set(FIGURES)
    assert intervals(replicates, 0.95) == {}


def test_interval_is_the_middle_of_the_replicates() -> None:
    values = np.arange(1001.0) / 1000
    assert interval(values, 0.9) == pytest.approx((0.05, 0.95))


def test_nonsense_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1 resample"):
        Bootstrap(resamples=0)
    with pytest.raises(InputError, match="level between 0 and 1, got 500 and 95"):
        Bootstrap(level=95)


def test_curves_are_for_drawing_and_end_where_they_should() -> None:
    maps, masks, scores = drawn(12, 32, 1000, 4)
    curves = meter_of(maps, masks, scores).curves(points=60)
    for line, limit in ((curves.image_roc, 1.0), (curves.pixel_roc, 1.0), (curves.pro, 0.3)):
        assert line is not None
        x, y = line
        assert (x[0], y[0]) == (0, 0)
        assert x[-1] == pytest.approx(limit)
        assert (np.diff(x) >= 0).all()
        assert (np.diff(y) >= 0).all()
        assert 3 < x.size < 80
    assert curves.pro is not None
    area = float((np.diff(curves.pro[0]) * (curves.pro[1][1:] + curves.pro[1][:-1])).sum() / 2) / 0.3
    assert area == pytest.approx(meter_of(maps, masks, scores).figures()["aupro_30"], abs=2e-3)
