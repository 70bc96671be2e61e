"""Scores against torch's own Gaussians, whitening against a multivariate one, means against means, and the fusion."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from diffad_export.denoiser import Denoised
from diffad_export.diffusion.posterior import level_at, reverse_step_kl
from diffad_export.diffusion.schedule import linear_schedule, respace
from diffad_export.score import (
    TERMS,
    FittedScore,
    feature_terms,
    fuse,
    mahalanobis,
    pixel_score,
    weighted_channels,
)

C = 5
EQUAL = torch.full((C,), 1 / C)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def denoised() -> Denoised:
    return Denoised(
        draw(2, 48, 4, 4, seed=1), draw(2, 48, 4, 4, seed=2).tanh(), draw(2, C, 4, 4, seed=3), draw(2, C, 4, 4, seed=4)
    )


def test_likelihood_is_twice_the_gaussian_nll_without_its_constant() -> None:
    f, out = draw(2, C, 4, 4), denoised()
    nll = -Normal(out.f, (0.5 * out.f_log_var).exp()).log_prob(f).mean(1)  # type: ignore[no-untyped-call]
    (found,) = feature_terms("likelihood", f, out, EQUAL, None)
    torch.testing.assert_close(found, 2 * nll - math.log(2 * math.pi))


def test_a_floor_is_added_to_every_variance() -> None:
    f, out = draw(2, C, 4, 4), denoised()
    deviation = (out.f_log_var.exp() + 0.3).sqrt()
    nll = -Normal(out.f, deviation).log_prob(f).mean(1)  # type: ignore[no-untyped-call]
    (found,) = feature_terms("likelihood", f, out, EQUAL, None, floor=0.3)
    torch.testing.assert_close(found, 2 * nll - math.log(2 * math.pi))


def test_whitened_is_the_mahalanobis_distance_of_the_standardised_residual() -> None:
    f, out = draw(2, C, 4, 4), denoised()
    root = draw(C, C, seed=9)
    covariance = root @ root.T + torch.eye(C)
    whitening = torch.linalg.inv(torch.linalg.cholesky(covariance))
    z = ((f - out.f) * (-0.5 * out.f_log_var).exp()).permute(0, 2, 3, 1)
    normal = MultivariateNormal(torch.zeros(C), covariance)  # type: ignore[no-untyped-call]
    constant = C * math.log(2 * math.pi) + torch.logdet(covariance)
    expected = (-2 * normal.log_prob(z) - constant) / C  # type: ignore[no-untyped-call]
    (found,) = feature_terms("whitened", f, out, EQUAL, whitening)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_combined_is_both_terms() -> None:
    f, out, whitening = draw(2, C, 4, 4), denoised(), draw(C, C, seed=5)
    both = feature_terms("combined", f, out, EQUAL, whitening)
    assert len(both) == len(TERMS["combined"]) == 2
    torch.testing.assert_close(both[0], feature_terms("likelihood", f, out, EQUAL, None)[0])
    torch.testing.assert_close(both[1], feature_terms("whitened", f, out, EQUAL, whitening)[0])


def test_whitening_cannot_be_forgotten() -> None:
    with pytest.raises(ValueError, match="whitening"):
        feature_terms("whitened", draw(2, C, 4, 4), denoised(), EQUAL, None)


def test_the_residual_is_the_squared_error_alone() -> None:
    f, out = draw(2, C, 4, 4), denoised()
    (found,) = feature_terms("residual", f, out, EQUAL, None)
    torch.testing.assert_close(found, ((f - out.f) ** 2).mean(1))


def test_pixel_score_is_the_kl_averaged_over_a_block() -> None:
    level, x0, out = level_at(respace(linear_schedule(), 250), 50), draw(2, 48, 4, 4), denoised()
    torch.testing.assert_close(pixel_score(level, x0, out), reverse_step_kl(level, x0, out.x0, out.v).mean(1))


def test_weighted_channels_is_a_weighted_sum() -> None:
    values, weight = draw(3, 192, 5, 7), torch.rand(192, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(weighted_channels(values, weight), (values * weight[:, None, None]).sum(1))


def test_mahalanobis_of_the_identity_is_the_mean_square() -> None:
    z = draw(3, C, 6, 6)
    torch.testing.assert_close(mahalanobis(z, torch.eye(C)), z.square().mean(1))


def test_fusing_is_a_weighted_sum() -> None:
    a, b = draw(2, 8, 8, seed=1), draw(2, 8, 8, seed=2)
    assert torch.equal(fuse(a, b, 1.0), a)
    assert torch.equal(fuse(a, b, 0.0), b)
    torch.testing.assert_close(fuse(a, b, 0.3), 0.3 * a + 0.7 * b)


@pytest.mark.parametrize("kind", list(TERMS))
def test_a_neutral_score_weighs_all_alike(kind: str) -> None:
    neutral = FittedScore.neutral(kind, 3, C)  # type: ignore[arg-type]
    terms = len(TERMS[kind])  # type: ignore[index]
    assert neutral.feature_weight.shape == (terms, 3)
    for weight in (neutral.feature_weight, neutral.pixel_weight, neutral.channel_weight):
        assert float(weight.sum()) == pytest.approx(1)
        assert float(weight.std()) == pytest.approx(0, abs=1e-6)
    assert (neutral.whitening is not None) == ("whitened" in TERMS[kind])  # type: ignore[index]
