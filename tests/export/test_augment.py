"""Augmented copies: copy 0 is the image, a copy can be made again, and rotation, brightness and mirrors do as named."""

import numpy as np
import pytest

from diffad_export.augment import augmented
from diffad_export.config import AugmentConfig
from diffad_runtime.result import Image

PLAIN = AugmentConfig(rotation_degrees=0)


@pytest.fixture(scope="module")
def picture() -> Image:
    return np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)


def test_copy_zero_is_the_image(picture: Image) -> None:
    config = AugmentConfig(rotation_degrees=30, brightness=0.5, flips=True)
    assert np.array_equal(augmented(picture, config, seed=1, index=2, copy=0), picture)


def test_a_copy_depends_on_seed_index_and_number_alone(picture: Image) -> None:
    config = AugmentConfig(rotation_degrees=10, brightness=0.2, flips=True)
    first = augmented(picture, config, seed=1, index=2, copy=3)
    assert first.shape == picture.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, augmented(picture, config, seed=1, index=2, copy=3))
    for change in ({"seed": 2}, {"index": 3}, {"copy": 4}):
        assert not np.array_equal(first, augmented(picture, config, **({"seed": 1, "index": 2, "copy": 3} | change)))


def test_rotation_turns_a_marker_about_the_centre_within_its_limit() -> None:
    marked = np.zeros((65, 65, 3), np.uint8)
    marked[31:34, 51:54] = 255  # 20 pixels to the right of the centre, which is (32, 32)
    angles = []
    for copy in range(1, 41):
        out = augmented(marked, AugmentConfig(rotation_degrees=25), seed=0, index=0, copy=copy)[..., 0].astype(float)
        rows, columns = np.indices(out.shape)
        y, x = (rows * out).sum() / out.sum() - 32, (columns * out).sum() / out.sum() - 32
        assert np.hypot(x, y) == pytest.approx(20, abs=0.4)
        angles.append(np.degrees(np.arctan2(y, x)))
    assert max(np.abs(angles)) < 25.5
    assert max(angles) > 15
    assert min(angles) < -15
    assert len(np.unique(np.round(angles, 2))) > 35


def test_edges_are_reflected_not_black() -> None:
    grey = np.full((48, 48, 3), 90, np.uint8)
    for copy in range(1, 6):
        assert augmented(grey, AugmentConfig(rotation_degrees=45), seed=0, index=0, copy=copy).min() == 90


def test_mirrors_only_when_asked(picture: Image) -> None:
    mirrors = [picture, picture[:, ::-1], picture[::-1], picture[::-1, ::-1]]
    seen = set()
    for copy in range(1, 41):
        assert np.array_equal(augmented(picture, PLAIN, seed=0, index=0, copy=copy), picture)
        flips = PLAIN.model_copy(update={"flips": True})
        out = augmented(picture, flips, seed=0, index=0, copy=copy)
        (kind,) = [k for k, mirror in enumerate(mirrors) if np.array_equal(out, mirror)]
        seen.add(kind)
    assert seen == {0, 1, 2, 3}


def test_brightness_is_a_gain_within_its_limit() -> None:
    grey = np.full((16, 16, 3), 100, np.uint8)
    config = PLAIN.model_copy(update={"brightness": 0.3})
    levels = [int(augmented(grey, config, seed=0, index=0, copy=c)[0, 0, 0]) for c in range(1, 60)]
    assert 70 <= min(levels) < 80
    assert 120 < max(levels) <= 130
    white = np.full((16, 16, 3), 250, np.uint8)
    brightest = max(int(augmented(white, config, seed=0, index=0, copy=c).max()) for c in range(1, 20))
    assert brightest == 255  # clipped, not wrapped
