"""Pasted defects: the mask says what changed, on any picture."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.errors import ImageError
from diffad_runtime.synthetic import paste_defect
from diffad_runtime.synthetic.pasted import CHANGE_LEVELS, _settle, _Window

Array = npt.NDArray[Any]


def _picture(kind: str, height: int, width: int) -> Array:
    if kind == "noise":
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.5))
    return np.full((height, width, 3), {"black": 0, "grey": 128, "white": 255}[kind], np.uint8)


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(["noise", "black", "grey", "white"]),
    height=st.integers(16, 150),
    width=st.integers(16, 150),
    seed=st.integers(0, 2**32 - 1),
)
def test_mask_is_what_changed(kind: str, height: int, width: int, seed: int) -> None:
    image = _picture(kind, height, width)
    untouched = image.copy()
    picture, mask = paste_defect(image, np.random.default_rng(seed))
    np.testing.assert_array_equal(image, untouched)
    assert picture.shape == image.shape
    assert picture.dtype == np.uint8
    assert mask.shape == image.shape[:2]
    assert set(np.unique(mask)) == {0, 255}
    change = cv2.absdiff(picture, image).max(axis=2)
    assert change[mask == 0].max(initial=0) <= CHANGE_LEVELS
    # Inside, a pixel changed or touches one that did: gaps are at most two wide.
    changed = (change > CHANGE_LEVELS).astype(np.uint8)
    near = cv2.dilate(changed, np.ones((3, 3), np.uint8))
    assert near[mask > 0].min() == 1
    sizes = cv2.connectedComponentsWithStats(mask, connectivity=8)[2][1:, cv2.CC_STAT_AREA]
    assert sizes.min() >= 4
    again, mask_again = paste_defect(image, np.random.default_rng(seed))
    np.testing.assert_array_equal(again, picture)
    np.testing.assert_array_equal(mask_again, mask)


def test_settling_by_hand() -> None:
    image = np.full((20, 30, 3), 100, np.uint8)
    none = np.zeros((1, 1), np.float32)
    window = _Window(slice(5, 15), slice(10, 25), none, none)
    spoiled = np.full((10, 15, 3), 100, np.float32)
    spoiled[2:5, 3:7, 0] = 100 + CHANGE_LEVELS + 1
    spoiled[3, 5, 0] = 100 + CHANGE_LEVELS  # too faint, but a gap of one: closed
    spoiled[8, 12] = 300  # a speck: undone
    spoiled[6, 1] = 100 + CHANGE_LEVELS  # too faint: stays in the picture, not in the mask
    picture, mask = _settle(image, window, spoiled)
    expected = np.zeros((20, 30), np.uint8)
    expected[7:10, 13:17] = 255
    np.testing.assert_array_equal(mask, expected)
    assert (picture[13, 22] == 100).all()
    assert (picture[11, 11] == 100 + CHANGE_LEVELS).all()
    assert picture[7, 13].tolist() == [100 + CHANGE_LEVELS + 1, 100, 100]


def test_sizes_spread_over_two_decades() -> None:
    image = _picture("noise", 256, 256)
    rng = np.random.default_rng(1)
    shares = np.array([(paste_defect(image, rng)[1] > 0).mean() for _ in range(300)])
    assert shares.min() < 0.001
    assert shares.max() > 0.02
    assert shares.max() < 0.12
    assert 0.001 < np.median(shares) < 0.01


def test_what_is_no_picture_is_refused() -> None:
    wrongs: list[Array] = [np.zeros((32, 32), np.uint8), np.zeros((32, 32, 3)), np.zeros((15, 32, 3), np.uint8)]
    for wrong in wrongs:
        with pytest.raises(ImageError, match="expects uint8"):
            paste_defect(wrong, np.random.default_rng(0))
