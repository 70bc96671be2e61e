"""PaDiM against the textbook formula, place by place in float64."""

import numpy as np
import pytest

from diffad_calibration.references import PaDiM
from diffad_calibration.references.upsampling import upsample
from diffad_runtime.errors import DataError


def test_equals_the_mahalanobis_distance_of_every_place() -> None:
    rng = np.random.default_rng(0)
    good = (rng.normal(size=(30, 6, 3, 3)) * 2 + 40).astype(np.float32)  # far from zero: sums of squares would cancel
    new = (rng.normal(size=(2, 6, 3, 3)) * 3 + 40).astype(np.float32)
    model = PaDiM.fit([good[:7], good[7:20], good[20:]], input_size=12, dims=4, seed=3)
    assert len(set(model.dims.tolist())) == 4

    expected = np.empty((2, 3, 3), np.float32)
    for y in range(3):
        for x in range(3):
            samples = good[:, model.dims, y, x].astype(np.float64)
            inverse = np.linalg.inv(np.cov(samples.T) + 0.01 * np.eye(4))
            for n in range(2):
                d = new[n, model.dims, y, x] - samples.mean(axis=0)
                expected[n, y, x] = np.sqrt(d @ inverse @ d)
    np.testing.assert_allclose(model.maps(new), upsample(expected, 12), rtol=2e-4)


def test_all_channels_where_there_are_few_and_the_seed_draws() -> None:
    good = np.random.default_rng(1).normal(size=(5, 8, 2, 2)).astype(np.float32)
    assert PaDiM.fit([good], input_size=8).dims.tolist() == list(range(8))
    draws = {tuple(PaDiM.fit([good], input_size=8, dims=3, seed=seed).dims.tolist()) for seed in range(8)}
    assert len(draws) > 1


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(DataError, match="at least 2 good images, got 1"):
        PaDiM.fit([np.zeros((1, 3, 2, 2), np.float32)], input_size=8)


def test_upsampling_is_centred_and_keeps_a_constant() -> None:
    assert upsample(np.full((1, 4, 4), 2.5, np.float32), 64) == pytest.approx(2.5)
    peak = np.zeros((1, 5, 5), np.float32)
    peak[0, 2, 2] = 1
    spread = upsample(peak, 40)[0]
    np.testing.assert_allclose(spread, spread[::-1, ::-1], atol=1e-7)
    assert np.unravel_index(spread.argmax(), spread.shape)[0] in (19, 20)


def test_smoothing_is_a_gaussian_of_a_64th_of_the_side() -> None:
    peak = np.zeros((1, 128, 128), np.float32)  # no enlargement: the smoothing alone
    peak[0, 64, 64] = 1
    profile = upsample(peak, 128)[0].sum(axis=0)
    assert np.average((np.arange(128) - 64.0) ** 2, weights=profile) == pytest.approx(2.0**2, rel=0.02)
