"""Scores against torch's own Gaussian likelihood, means against means, and the fusion of the two."""

import math

import torch
from torch import Tensor
from torch.distributions import Normal

from diffad_export.denoiser import Denoised
from diffad_export.diffusion.posterior import level_at, reverse_step_kl
from diffad_export.diffusion.schedule import linear_schedule, respace
from diffad_export.score import (
    NormalStatistics,
    channel_mean,
    feature_score,
    fuse,
    pixel_score,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def denoised() -> Denoised:
    return Denoised(
        draw(2, 48, 4, 4, seed=1), draw(2, 48, 4, 4, seed=2).tanh(), draw(2, 5, 4, 4, seed=3), draw(2, 5, 4, 4, seed=4)
    )


def test_likelihood_score_is_twice_the_gaussian_nll_without_its_constant() -> None:
    f, out = draw(2, 5, 4, 4), denoised()
    nll = -Normal(out.f, (0.5 * out.f_log_var).exp()).log_prob(f).mean(1)  # type: ignore[no-untyped-call]
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


def test_fusing_is_a_weighted_sum() -> None:
    a, b = draw(2, 8, 8, seed=1), draw(2, 8, 8, seed=2)
    assert torch.equal(fuse(a, b, 1.0), a)
    assert torch.equal(fuse(a, b, 0.0), b)
    torch.testing.assert_close(fuse(a, b, 0.3), 0.3 * a + 0.7 * b)


def test_neutral_statistics_change_nothing() -> None:
    neutral = NormalStatistics.neutral(2)
    assert neutral.pixel_mean == neutral.feature_mean == (0.0, 0.0)
    assert neutral.pixel_std == neutral.feature_std == (1.0, 1.0)
