"""PatchCore against the distance to every good patch, one pair at a time."""

import numpy as np
import pytest

from diffad_calibration.references import PatchCore
from diffad_calibration.references.upsampling import upsample
from diffad_runtime.errors import DataError

BACKBONE = {"strides": [2, 8, 16], "channels": [2, 3, 1]}


def slow_patches(features: np.ndarray) -> dict[tuple[int, int, int], np.ndarray]:
    """Channels of strides 8 and 16, averaged over the 3 x 3 cells around; beyond the border the nearest cell counts."""
    found = {}
    count, _, height, width = features.shape
    for n in range(count):
        for y in range(height):
            for x in range(width):
                cells = [
                    features[n, 2:, min(max(y + v, 0), height - 1), min(max(x + u, 0), width - 1)]
                    for v in (-1, 0, 1)
                    for u in (-1, 0, 1)
                ]
                found[n, y, x] = np.mean(np.array(cells, np.float64), axis=0)
    return found


def test_equals_the_distance_to_the_nearest_of_all_patches() -> None:
    rng = np.random.default_rng(0)
    good = rng.normal(size=(3, 6, 4, 5)).astype(np.float32)[:, :, :, :4]
    new = rng.normal(size=(2, 6, 4, 4)).astype(np.float32)
    model = PatchCore.fit([good[:1], good[1:]], input_size=8, **BACKBONE)
    memory = list(slow_patches(good).values())
    assert model.memory.shape == (len(memory), 4)
    expected = np.zeros((2, 4, 4), np.float32)
    for place, patch in slow_patches(new).items():
        expected[place] = min(np.linalg.norm(patch - known) for known in memory)
    np.testing.assert_allclose(model.maps(new), upsample(expected, 8), rtol=1e-4)


def test_a_known_image_has_distance_zero() -> None:
    good = np.random.default_rng(2).normal(size=(2, 6, 4, 4)).astype(np.float32)
    model = PatchCore.fit([good], input_size=8, **BACKBONE)
    np.testing.assert_allclose(model.maps(good), 0, atol=2e-3)


def test_memory_is_a_uniform_sample_of_fixed_size() -> None:
    # 8 images whose patches all carry the image's number: each must be drawn about equally often.
    good = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None, None, None], (8, 6, 10, 10))
    drawn = np.concatenate(
        [
            PatchCore.fit([good[:1], good[1:5], good[5:]], input_size=8, patches=40, seed=seed, **BACKBONE).memory[:, 0]
            for seed in range(40)
        ]
    )
    assert drawn.size == 1600
    counts = np.bincount(drawn.round().astype(int), minlength=8)
    assert (abs(counts - 200) < 70).all(), counts


def test_missing_strides_and_images_are_refused() -> None:
    with pytest.raises(DataError, match="no features of strides"):
        PatchCore.fit([], input_size=8, strides=[2, 4], channels=[3, 3])
    with pytest.raises(DataError, match="needs good images"):
        PatchCore.fit([], input_size=8, **BACKBONE)
