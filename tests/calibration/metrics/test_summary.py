"""The record of one class: keys, undefined figures, and that each figure is measured on the right pool."""

import json

import numpy as np
import pytest

from diffad_calibration.metrics import ClassMetrics, aupro, evaluate_maps, macro_average, pool_pixels
from diffad_runtime.errors import DataError

KEYS = ["aupro_30", "aupro_05", "pixel_auroc", "pixel_ap", "image_auroc", "image_ap", "f1_max", "images"]
MASK = np.zeros((8, 8), np.uint8)
MASK[2:4, 2:5] = 255
FLAT = np.zeros((8, 8), np.float32)


def test_all_figures_of_a_small_class() -> None:
    rng = np.random.default_rng(1)
    maps = [rng.random((8, 8)).astype(np.float32) + (MASK > 0), rng.random((8, 8)).astype(np.float32)]
    maps[0][2, 2] = -1
    metrics = evaluate_maps(iter(maps), [MASK, None], [0.2, 0.9], [1, 0])
    pool = pool_pixels(maps, [MASK, None])
    assert metrics.aupro_30 == aupro(pool, 0.3)
    assert metrics.aupro_05 == aupro(pool, 0.05)
    assert metrics.pixel_auroc == pytest.approx(5 / 6)  # five defect pixels above all 122 others, one below all
    assert metrics.pixel_ap == pytest.approx(5 / 6 + (1 / 6) * (6 / 128))
    assert (metrics.image_auroc, metrics.image_ap, metrics.images) == (0.0, 0.5, 2)
    assert metrics.f1_max == pytest.approx(2 / 3)
    assert list(metrics.to_dict()) == KEYS
    assert json.loads(json.dumps(metrics.to_dict())) == metrics.to_dict()


def test_only_good_images_leave_everything_undefined() -> None:
    metrics = evaluate_maps([FLAT, FLAT], [None, np.zeros((8, 8), np.uint8)], [0.1, 0.2], [0, 0])
    assert metrics == ClassMetrics(None, None, None, None, None, None, None, 2)


def test_only_defective_images_keep_the_pixel_figures() -> None:
    metrics = evaluate_maps([(MASK > 0).astype(np.float32)], [MASK], [1.0], [1])
    assert metrics.aupro_30 == pytest.approx(1.0)
    assert metrics.pixel_auroc == metrics.pixel_ap == 1.0
    assert metrics.image_auroc is metrics.image_ap is metrics.f1_max is None


def test_no_images_at_all() -> None:
    assert evaluate_maps([], [], [], []).images == 0


def test_a_defect_lost_in_resizing_still_counts_as_an_image() -> None:
    metrics = evaluate_maps([FLAT, FLAT], [None, np.zeros((8, 8), np.uint8)], [0.1, 0.2], [0, 1])
    assert metrics.image_auroc == 1.0
    assert metrics.aupro_30 is None


def test_macro_average_leaves_undefined_figures_out() -> None:
    one = ClassMetrics(0.8, 0.4, 0.9, 0.5, None, None, None, 3)
    two = ClassMetrics(0.6, None, 0.7, 0.3, 1.0, 0.5, None, 4)
    mean = macro_average({"one": one, "two": two})
    assert mean.aupro_30 == pytest.approx(0.7)
    assert (mean.aupro_05, mean.image_auroc, mean.f1_max, mean.images) == (0.4, 1.0, None, 7)


@pytest.mark.parametrize(
    ("masks", "scores", "labels", "message"),
    [
        ([MASK], [0.1], [0], "image 0 is labelled good"),
        ([None, None], [0.1], [0], "more masks than the 1 labels"),
        ([None], [0.1, 0.2], [0, 0], "differ in number, one ends after 1|1 masks for 2 labels"),
        ([None], [0.1], [0, 1], "one score and one label"),
        ([None], [0.1], [2], "label of 0 or 1"),
    ],
)
def test_bad_input_is_named(masks, scores, labels, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        evaluate_maps([FLAT] * len(scores), masks, scores, labels)
