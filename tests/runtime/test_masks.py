"""Thresholds, specks and frame coordinates of masks; the score of a map."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diffad_runtime.errors import InputError
from diffad_runtime.geometry import to_frame
from diffad_runtime.manifest import ImageScore
from diffad_runtime.masks import defect_mask, defect_pixels
from diffad_runtime.scoring import image_score


def _slow_blobs(hot: npt.NDArray[np.bool_], least: int) -> npt.NDArray[np.bool_]:
    """Flood fill, 8-connected, written without OpenCV."""
    kept = np.zeros_like(hot)
    left = {(int(y), int(x)) for y, x in np.argwhere(hot)}
    while left:
        stack, blob = [left.pop()], []
        while stack:
            y, x = stack.pop()
            blob.append((y, x))
            for near in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    stack.append(near)
        if len(blob) >= least:
            kept[tuple(np.transpose(blob))] = True
    return kept


@settings(max_examples=100, deadline=None)
@given(arrays(np.float32, (9, 11), elements=st.sampled_from(np.float32([0, 0.5, 0.75, 1.0]))), st.integers(1, 6))
def test_specks_are_dropped(anomaly: npt.NDArray[np.float32], least: int) -> None:
    np.testing.assert_array_equal(defect_pixels(anomaly, 0.5, least), _slow_blobs(anomaly > 0.5, least))


def test_all_hot_and_diagonals() -> None:
    assert defect_pixels(np.ones((4, 4), np.float32), 0.5, 16).all()
    assert not defect_pixels(np.ones((4, 4), np.float32), 0.5, 17).any()
    assert defect_pixels(np.eye(4, dtype=np.float32), 0.5, 4).sum() == 4


def _plain_mask(
    anomaly: npt.NDArray[np.float32], threshold: float, least: int, height: int, width: int
) -> npt.NDArray[np.uint8]:
    """The same in the order of its description, every step on the whole map."""
    limit, (side_y, side_x) = np.float32(threshold), anomaly.shape
    kept = _slow_blobs(anomaly > limit, least)
    cleaned = np.where(kept, anomaly, np.minimum(anomaly, limit))
    mask = (to_frame(cleaned, height, width) > limit).astype(np.uint8) * 255
    for y, x in np.argwhere(kept):
        mask[(2 * y + 1) * height // (2 * side_y), (2 * x + 1) * width // (2 * side_x)] = 255
    return mask


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 90), st.integers(1, 90), st.integers(1, 8), st.floats(0, 1))
def test_mask_equals_the_plain_way(seed: int, height: int, width: int, least: int, rank: float) -> None:
    generator = np.random.default_rng(seed)
    anomaly = generator.normal(size=(17, 23)).astype(np.float32)
    if seed % 2:
        anomaly = np.asarray(cv2.GaussianBlur(anomaly, (0, 0), 1.5), np.float32)
    if seed % 3 == 0:
        anomaly = np.round(4 * anomaly) / np.float32(4)  # many values at the threshold itself
    threshold = float(np.quantile(anomaly, rank))
    found = defect_mask(anomaly, threshold, least, height, width)
    np.testing.assert_array_equal(found, _plain_mask(anomaly, threshold, least, height, width))


def test_the_threshold_itself_is_good() -> None:
    anomaly = np.full((4, 4), 0.1, np.float32)  # float32(0.1) is above the double 0.1
    assert not defect_mask(anomaly, 0.1, 1, 8, 8).any()
    assert defect_mask(np.nextafter(anomaly, np.float32(1)), 0.1, 1, 8, 8).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(3, 90), st.integers(3, 90), st.integers(0, 15), st.integers(0, 15))
def test_a_kept_pixel_is_never_lost(height: int, width: int, y: int, x: int) -> None:
    anomaly = np.zeros((16, 16), np.float32)
    anomaly[y, x] = 1.0
    mask = defect_mask(anomaly, 0.999, 1, height, width)
    assert mask.shape == (height, width)
    assert set(np.unique(mask)) <= {0, 255}
    rows, columns = np.nonzero(mask)
    assert rows.size >= 1
    assert abs((rows.mean() + 0.5) * 16 / height - (y + 0.5)) <= max(1, 16 / height)
    assert abs((columns.mean() + 0.5) * 16 / width - (x + 0.5)) <= max(1, 16 / width)


def test_a_dropped_speck_does_not_come_back_and_leaves_its_neighbours() -> None:
    anomaly = np.zeros((16, 16), np.float32)
    anomaly[2, 2] = 9.0
    anomaly[8:12, 8:12] = 1.0
    with_speck = defect_mask(anomaly, 0.5, 4, 64, 48)
    anomaly[2, 2] = 0.0
    np.testing.assert_array_equal(with_speck, defect_mask(anomaly, 0.5, 4, 64, 48))
    assert cv2.connectedComponents(with_speck)[0] == 2


def test_mask_follows_the_interpolated_map() -> None:
    """A half plane: the edge lies where the line between two pixel centres crosses the threshold."""
    anomaly = np.zeros((10, 10), np.float32)
    anomaly[:, 5:] = 1.0
    mask = defect_mask(anomaly, 0.25, 1, 100, 100)
    # between the centres 4.5 and 5.5 the map crosses 0.25 at 4.75, so at frame pixel 47.5: 47 is centred on it
    assert mask[:, 48:].all()
    assert not mask[:, :47].any()


def test_untouched_inputs_and_fresh_outputs() -> None:
    anomaly = np.float32(np.random.default_rng(0).random((16, 16)))
    before = anomaly.copy()
    mask = defect_mask(anomaly, 0.5, 3, 16, 16)
    np.testing.assert_array_equal(anomaly, before)
    assert mask.flags.writeable
    assert not np.shares_memory(mask, anomaly)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, (7, 9), elements=st.floats(-100, 100, width=32)), st.integers(1, 63))
def test_score_is_the_mean_of_the_largest(anomaly: npt.NDArray[np.float32], pixels: int) -> None:
    expected = sorted(anomaly.ravel().astype(float).tolist())[-pixels:]
    assert image_score(anomaly, ImageScore(pixels=pixels)) == pytest.approx(sum(expected) / pixels, abs=1e-9)
    shuffled = np.random.default_rng(1).permutation(anomaly.ravel())
    assert image_score(shuffled, ImageScore(pixels=pixels)) == image_score(anomaly, ImageScore(pixels=pixels))


def test_score_does_not_depend_on_the_order_of_pixels() -> None:
    generator = np.random.default_rng(0)
    anomaly = np.float32(10.0 ** generator.uniform(-10, 10, (64, 64)))
    scores = {image_score(generator.permutation(anomaly.ravel()), ImageScore(pixels=3000)) for _ in range(20)}
    assert len(scores) == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 40), st.data())
def test_score_is_the_same_with_and_without_rows(seed: int, height: int, width: int, data: st.DataObject) -> None:
    anomaly = np.round(np.random.default_rng(seed).normal(size=(height, width)), seed % 3).astype(np.float32)
    how = ImageScore(pixels=data.draw(st.integers(1, height * width)))
    assert image_score(anomaly, how) == image_score(anomaly.ravel(), how)


def test_score_of_nan_is_nan() -> None:
    anomaly = np.zeros((16, 16), np.float32)
    anomaly[3, 4] = np.nan
    assert np.isnan(image_score(anomaly, ImageScore(pixels=2)))


def test_score_adds_in_float64() -> None:
    anomaly = np.full((2048, 2048), 1.0, np.float32)
    anomaly[0, 0] = 2.0**24
    assert image_score(anomaly, ImageScore(pixels=2048 * 2048)) == (2.0**24 + 2048 * 2048 - 1) / (2048 * 2048)


def test_score_of_too_few_pixels() -> None:
    with pytest.raises(InputError, match="wants 10 pixels, the map has 4"):
        image_score(np.zeros((2, 2), np.float32), ImageScore(pixels=10))
