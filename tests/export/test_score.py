"""Scores against torch's own Gaussian likelihood, and the algebra of smoothing, fusing and enlarging."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from diffad_export.denoiser import Denoised
from diffad_export.diffusion.posterior import level_at, reverse_step_kl
from diffad_export.diffusion.schedule import linear_schedule, respace
from diffad_export.score import (
    NormalStatistics,
    Smooth,
    channel_mean,
    feature_score,
    fuse,
    gaussian_kernel,
    pixel_score,
    upsample,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def denoised() -> Denoised:
    return Denoised(
        draw(2, 48, 4, 4, seed=1), draw(2, 48, 4, 4, seed=2).tanh(), draw(2, 5, 4, 4, seed=3), draw(2, 5, 4, 4, seed=4)
    )


def test_likelihood_score_is_twice_the_gaussian_nll_without_its_constant() -> None:
    f, out = draw(2, 5, 4, 4), denoised()
    nll = -Normal(out.f, (0.5 * out.f_log_var).exp()).log_prob(f).mean(1)
    torch.testing.assert_close(feature_score("likelihood", f, out), 2 * nll - math.log(2 * math.pi))


def test_residual_score_is_the_squared_error_alone() -> None:
    f, out = draw(2, 5, 4, 4), denoised()
    torch.testing.assert_close(feature_score("residual", f, out), ((f - out.f) ** 2).mean(1))


def test_pixel_score_is_the_kl_averaged_over_a_block() -> None:
    level, x0, out = level_at(respace(linear_schedule(), 250), 50), draw(2, 48, 4, 4), denoised()
    torch.testing.assert_close(pixel_score(level, x0, out), reverse_step_kl(level, x0, out.x0, out.v).mean(1))


def test_channel_mean_is_the_mean() -> None:
    values = draw(3, 192, 5, 7)
    torch.testing.assert_close(channel_mean(values), values.mean(1))


@pytest.mark.parametrize("sigma", [0.2, 1.0, 2.5])
def test_smoothing_is_a_normalised_gaussian(sigma: float) -> None:
    kernel = gaussian_kernel(sigma)[0, 0]
    assert kernel.sum().item() == pytest.approx(1, abs=1e-6)
    middle = kernel.shape[0] // 2
    assert middle == max(1, math.ceil(3 * sigma))
    ratio = kernel[middle, middle + 1] / kernel[middle, middle]
    assert ratio.item() == pytest.approx(math.exp(-0.5 / sigma**2), rel=1e-5)
    smooth = Smooth(sigma)
    constant = torch.full((2, 9, 9), 3.7)
    torch.testing.assert_close(smooth(constant), constant)  # up to the edges
    spot = torch.zeros(1, 31, 31)
    spot[0, 15, 15] = 1
    assert smooth(spot).sum().item() == pytest.approx(1, abs=1e-5)


def test_no_smoothing_at_sigma_zero() -> None:
    grid = draw(2, 9, 9)
    assert torch.equal(Smooth(0)(grid), grid)


def test_fusing_smoothing_and_enlarging_are_linear() -> None:
    a, b, smooth = draw(2, 8, 8, seed=1), draw(2, 8, 8, seed=2), Smooth(1.0)
    assert torch.equal(fuse(a, b, 1.0), a)
    assert torch.equal(fuse(a, b, 0.0), b)
    fused = upsample(smooth(fuse(a, b, 0.3)), 32)
    apart = 0.3 * upsample(smooth(a), 32) + 0.7 * upsample(smooth(b), 32)
    torch.testing.assert_close(fused, apart)


def test_enlarging_is_bilinear_with_half_pixel_centres() -> None:
    ramp = torch.arange(8.0).expand(8, 8)[None]
    row = upsample(ramp, 32)[0, 5]
    centres = (torch.arange(32) + 0.5) / 4 - 0.5
    torch.testing.assert_close(row, centres.clamp(0, 7))


def test_neutral_statistics_change_nothing() -> None:
    neutral = NormalStatistics.neutral(2)
    assert neutral.pixel_mean == neutral.feature_mean == (0.0, 0.0)
    assert neutral.pixel_std == neutral.feature_std == (1.0, 1.0)
