"""Boxes around masks, held against the places of their pixels."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diffad_runtime.extent import extent

MASKS = st.tuples(st.integers(0, 12), st.integers(0, 40)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2, 128, 255]))
)


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_around_every_pixel_and_no_more(mask: npt.NDArray[np.uint8]) -> None:
    places = np.argwhere(mask)
    expected = (0, 0, 0, 0)
    if len(places):
        (top, left), (bottom, right) = places.min(axis=0).tolist(), places.max(axis=0).tolist()
        expected = (left, top, right - left + 1, bottom - top + 1)
    assert extent(mask) == extent(mask != 0) == extent(np.asfortranarray(mask)) == expected


@pytest.mark.parametrize("width", [2, 3, 5, 7, 49, 1919])
def test_no_pixel_is_missed_at_any_width(width: int) -> None:
    """What cv2.boundingRect of OpenCV 4.9 goes wrong at."""
    for place in range(0, 3 * width, max(1, width // 40)):
        mask = np.zeros((3, width), np.uint8)
        mask[place // width, place % width] = 255
        assert extent(mask) == (place % width, place // width, 1, 1)
