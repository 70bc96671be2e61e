"""Thinning: what it keeps exactly, how much memory it needs, and how far its figures are from exact ones."""

import tracemalloc
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from diffad_calibration.metrics import Bootstrap, ClassMeter, evaluate_maps
from diffad_calibration.metrics.pixels import PixelStore
from diffad_runtime.errors import DataError

PIXEL_FIGURES = ("aupro_30", "aupro_05", "pixel_auroc", "pixel_ap")


def images(count: int, side: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Smooth maps; two images of three have one to three defects that lie a little higher."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        scores = cv2.GaussianBlur(rng.normal(size=(side, side)).astype(np.float32), (0, 0), 2) * 6
        mask = None
        if number % 3:
            mask = np.zeros((side, side), np.uint8)
            for _ in range(rng.integers(1, 4)):
                y, x, h, w = rng.integers((0, 0, 1, 1), (side - 20, side - 20, 20, 20))
                mask[y : y + h, x : x + w] = 255
            scores += rng.random() * 2 * (mask > 0)
        yield scores + rng.normal() / 3, mask


def measured(count: int, side: int, limit: int | None) -> ClassMeter:
    meter = ClassMeter(exact_pixels=limit)
    for scores, mask in images(count, side):
        meter.add(scores, mask, float(scores.max()), int(mask is not None))
    return meter


def test_thinned_figures_are_close_to_exact_ones() -> None:
    count, side = 240, 96
    exact = measured(count, side, None)
    thinned = measured(count, side, count * side * side // 8)
    assert (exact.pixels.halvings, thinned.pixels.halvings) == (0, 4)
    assert sum(image.held for image in thinned.pixels.images) <= count * side * side // 8
    one, other = exact.figures(), thinned.figures()
    for name in PIXEL_FIGURES:
        assert other[name] == pytest.approx(one[name], abs=1e-3), name
    # Image figures do not know of it.
    assert [one[k] for k in one if k not in PIXEL_FIGURES] == [other[k] for k in one if k not in PIXEL_FIGURES]


def test_the_weight_of_images_and_components_is_kept_exactly() -> None:
    exact, thinned = measured(60, 64, None).pixels, measured(60, 64, 60 * 64 * 64 // 8).pixels
    assert thinned.halvings > 0
    assert thinned.negatives == exact.negatives
    assert thinned.positives == exact.positives
    assert thinned.components == exact.components
    for one, other in zip(exact.images, thinned.images, strict=True):
        assert other.negatives == one.negative.size
        assert set(other.negative.tolist()) <= set(one.negative.tolist())
        assert (np.diff(other.negative) >= 0).all()
        np.testing.assert_array_equal(other.sizes, one.kept())
        assert (other.kept() >= np.minimum(one.kept(), 128)).all()


def test_ranks_kept_begin_differently_so_that_errors_cancel() -> None:
    # The same map again and again: kept at the same ranks, all errors would add up.
    scores = np.arange(4096, dtype=np.float32).reshape(64, 64)
    store = PixelStore(limit=64 * 4096 // 8)
    for _ in range(64):
        store.add(scores, None)
    assert store.halvings == 3
    begins = {int(image.negative[0]) for image in store.images}
    assert begins == set(range(8))
    share = np.mean([np.mean(image.negative >= 4000) for image in store.images])
    assert share == pytest.approx(96 / 4096, rel=2e-3)


def test_memory_is_bounded_whatever_the_number_of_maps() -> None:
    # 3,000 maps of 64 x 64: 49 MB of scores, of which 4 MB may be kept. The rest of the bound: 1 KB an image for its
    # arrays' heads, and the counts between thresholds of a few dozen images.
    limit = 1 << 20
    tracemalloc.start()
    try:
        meter = ClassMeter(exact_pixels=limit)
        rng = np.random.default_rng(0)
        mask = np.zeros((64, 64), np.uint8)
        mask[10:30, 20:40] = 255
        for number in range(3000):
            bad = number % 2
            scores = rng.standard_normal((64, 64), np.float32) + np.float32(bad) * (mask > 0)
            meter.add(scores, mask if bad else None, float(scores.max()), bad)
        _, collecting = tracemalloc.get_traced_memory()
        figures = meter.figures()
        _, counting = tracemalloc.get_traced_memory()
        meter.replicates(Bootstrap(resamples=20))
        _, resampling = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert collecting < 4 * limit + 3000 * 1500 + 1e6
    assert counting < collecting + 40e6
    assert resampling < collecting + 40e6
    # One standard deviation apart, each region alike: the ROC of two normals.
    assert figures["pixel_auroc"] == pytest.approx(0.7602, abs=1e-3)


def test_a_limit_that_nothing_can_meet_ends() -> None:
    store = PixelStore(limit=10)
    for _ in range(5):
        store.add(np.zeros((8, 8), np.float32), None)
    assert sum(image.held for image in store.images) == 5 * 64


def test_evaluate_maps_takes_the_limit() -> None:
    pairs = list(images(30, 64))
    scores, labels = np.arange(30.0), [int(mask is not None) for _, mask in pairs]
    both = [
        evaluate_maps((m for m, _ in pairs), (g for _, g in pairs), scores, labels, exact_pixels=limit)
        for limit in (None, 30_000)
    ]
    assert both[0] != both[1]
    assert both[1].aupro_30 == pytest.approx(both[0].aupro_30, abs=5e-3)


@pytest.mark.parametrize(
    ("score", "label", "message"), [(float("nan"), 0, "score of image 0 is NaN"), (1.0, 2, "label of 0 or 1")]
)
def test_bad_images_are_named(score: float, label: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ClassMeter().add(np.zeros((4, 4), np.float32), None, score, label)
