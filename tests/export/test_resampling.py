"""Maps by constant matrices against torch's own interpolation and a convolution with a Gaussian."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from diffad_export.resampling import Resample, bilinear_matrix, gaussian_matrix


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("inside", "outside"), [(16, 64), (4, 16), (6, 24), (8, 16), (32, 16), (5, 5)])
def test_resizing_is_bilinear_with_half_pixel_centres(inside: int, outside: int) -> None:
    maps = draw(2, 3, inside, inside)
    expected = F.interpolate(maps, size=(outside, outside), mode="bilinear", align_corners=False)
    torch.testing.assert_close(Resample(inside, outside)(maps), expected, rtol=1e-4, atol=1e-5)


def test_a_ramp_enlarged_by_hand() -> None:
    ramp = torch.arange(8.0).expand(8, 8)[None]
    centres = (torch.arange(32) + 0.5) / 4 - 0.5
    torch.testing.assert_close(Resample(8, 32)(ramp)[0, 5], centres.clamp(0, 7))


@pytest.mark.parametrize("sigma", [0.2, 1.0, 2.5])
def test_smoothing_is_a_convolution_with_a_gaussian_edges_replicated(sigma: float) -> None:
    radius = max(1, math.ceil(3 * sigma))
    line = torch.tensor([math.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)])
    kernel = torch.outer(line, line) / line.sum() ** 2
    maps = draw(2, 16, 16)
    expected = F.conv2d(F.pad(maps[:, None], (radius,) * 4, mode="replicate"), kernel[None, None])[:, 0]
    torch.testing.assert_close(Resample(16, 16, sigma)(maps), expected, rtol=1e-4, atol=1e-5)


def test_smoothing_comes_before_resizing() -> None:
    maps = draw(2, 16, 16)
    torch.testing.assert_close(Resample(16, 64, 1.5)(maps), Resample(16, 64)(Resample(16, 16, 1.5)(maps)))


@pytest.mark.parametrize("sigma", [0.0, 0.7, 3.0])
def test_weights_sum_to_one_so_a_constant_stays(sigma: float) -> None:
    for matrix in (bilinear_matrix(8, 32), gaussian_matrix(8, sigma)):
        torch.testing.assert_close(matrix.sum(1), torch.ones(len(matrix), dtype=torch.float64))
        assert (matrix >= 0).all()
    constant = torch.full((2, 8, 8), 3.7)
    torch.testing.assert_close(Resample(8, 32, sigma)(constant), torch.full((2, 32, 32), 3.7))


def test_no_smoothing_at_sigma_zero() -> None:
    maps = draw(2, 9, 9)
    assert torch.equal(Resample(9, 9)(maps), maps)


def test_resampling_is_linear() -> None:
    a, b, resample = draw(2, 8, 8, seed=1), draw(2, 8, 8, seed=2), Resample(8, 32, 1.0)
    torch.testing.assert_close(resample(0.3 * a + 0.7 * b), 0.3 * resample(a) + 0.7 * resample(b))
