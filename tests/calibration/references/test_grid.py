"""Features of several grids on one, against OpenCV and by hand."""

import cv2
import numpy as np
import pytest

from diffad_calibration.references.grid import bilinear_matrix, on_finest_grid


@pytest.mark.parametrize(("inside", "outside"), [(4, 8), (3, 12), (5, 7), (1, 4), (6, 6)])
def test_enlargement_is_bilinear_with_half_pixel_centres(inside: int, outside: int) -> None:
    maps = np.random.default_rng(0).normal(size=(2, 3, inside, inside)).astype(np.float32)
    finest = np.zeros((2, 1, outside, outside), np.float32)
    found = on_finest_grid([finest, maps])
    assert found.shape == (2, 4, outside, outside)
    assert found.dtype == np.float32
    for image in range(2):
        for channel in range(3):
            expected = cv2.resize(maps[image, channel], (outside, outside), interpolation=cv2.INTER_LINEAR)
            np.testing.assert_allclose(found[image, 1 + channel], expected, atol=1e-5)


def test_rows_by_hand() -> None:
    np.testing.assert_allclose(bilinear_matrix(2, 4), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])


def test_order_is_kept_and_one_grid_is_left_alone() -> None:
    coarse, fine = np.full((1, 2, 2, 2), 3, np.float32), np.random.default_rng(1).random((1, 1, 4, 4), np.float32)
    found = on_finest_grid([coarse, fine])
    np.testing.assert_array_equal(found[:, :2], np.full((1, 2, 4, 4), 3))
    np.testing.assert_array_equal(found[:, 2:], fine)
    np.testing.assert_array_equal(on_finest_grid([fine]), fine)
