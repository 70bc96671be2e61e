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
    FITTED_TENSORS,
    TERMS,
    FeatureScore,
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


def answer() -> tuple[Tensor, Tensor]:
    """Mean and log-variance of the features."""
    return draw(2, C, 4, 4, seed=3), draw(2, C, 4, 4, seed=4)


def test_likelihood_is_twice_the_gaussian_nll_without_its_constant() -> None:
    f, (mean, log_var) = draw(2, C, 4, 4), answer()
    nll = -Normal(mean, (0.5 * log_var).exp()).log_prob(f).mean(1)  # type: ignore[no-untyped-call]
    (found,) = feature_terms("likelihood", f, mean, log_var, EQUAL, None)
    torch.testing.assert_close(found, 2 * nll - math.log(2 * math.pi))


def test_a_floor_is_added_to_every_variance() -> None:
    f, (mean, log_var) = draw(2, C, 4, 4), answer()
    deviation = (log_var.exp() + 0.3).sqrt()
    nll = -Normal(mean, deviation).log_prob(f).mean(1)  # type: ignore[no-untyped-call]
    (found,) = feature_terms("likelihood", f, mean, log_var, EQUAL, None, floor=0.3)
    torch.testing.assert_close(found, 2 * nll - math.log(2 * math.pi))


def test_whitened_is_the_mahalanobis_distance_of_the_standardised_residual() -> None:
    f, (mean, log_var) = draw(2, C, 4, 4), answer()
    root = draw(C, C, seed=9)
    covariance = root @ root.T + torch.eye(C)
    whitening = torch.linalg.inv(torch.linalg.cholesky(covariance))
    z = ((f - mean) * (-0.5 * log_var).exp()).permute(0, 2, 3, 1)
    normal = MultivariateNormal(torch.zeros(C), covariance)
    constant = C * math.log(2 * math.pi) + torch.logdet(covariance)
    expected = (-2 * normal.log_prob(z) - constant) / C  # type: ignore[no-untyped-call]
    (found,) = feature_terms("whitened", f, mean, log_var, EQUAL, whitening)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_combined_is_both_terms() -> None:
    f, (mean, log_var), whitening = draw(2, C, 4, 4), answer(), draw(C, C, seed=5)
    both = feature_terms("combined", f, mean, log_var, EQUAL, whitening)
    assert len(both) == len(TERMS["combined"]) == 2
    torch.testing.assert_close(both[0], feature_terms("likelihood", f, mean, log_var, EQUAL, None)[0])
    torch.testing.assert_close(both[1], feature_terms("whitened", f, mean, log_var, EQUAL, whitening)[0])


def test_whitening_cannot_be_forgotten() -> None:
    with pytest.raises(ValueError, match="whitening"):
        feature_terms("whitened", draw(2, C, 4, 4), *answer(), EQUAL, None)


def test_the_residual_is_the_squared_error_alone() -> None:
    f, (mean, log_var) = draw(2, C, 4, 4), answer()
    (found,) = feature_terms("residual", f, mean, log_var, EQUAL, None)
    torch.testing.assert_close(found, ((f - mean) ** 2).mean(1))


@pytest.mark.parametrize("kind", list(TERMS))
def test_the_terms_of_the_parts_sum_to_the_term_of_the_whole(kind: FeatureScore) -> None:
    """Channels may lie on several grids; those of different grids are then taken as uncorrelated."""
    f, (mean, log_var) = draw(2, C, 4, 4), answer()
    weight = torch.tensor([0.1, 0.3, 0.2, 0.15, 0.25])
    whitening = torch.zeros(C, C)
    whitening[:2, :2], whitening[2:, 2:] = draw(2, 2, seed=6), draw(3, 3, seed=7)
    whole = feature_terms(kind, f, mean, log_var, weight, whitening, 0.1)
    parts = [
        feature_terms(
            kind, f[:, own], mean[:, own], log_var[:, own], weight[own], whitening[own, own], 0.1, share=count / C
        )
        for own, count in ((slice(0, 2), 2), (slice(2, 5), 3))
    ]
    for all_of_it, first, second in zip(whole, *parts, strict=True):
        torch.testing.assert_close(first + second, all_of_it)


def test_pixel_score_is_the_kl_averaged_over_a_block() -> None:
    level, x0 = level_at(respace(linear_schedule(), 250), 50), draw(2, 48, 4, 4)
    out = Denoised(draw(2, 48, 4, 4, seed=1), draw(2, 48, 4, 4, seed=2).tanh(), (), ())
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


def test_the_tensors_of_a_fitted_score_are_all_named() -> None:
    neutral = FittedScore.neutral("combined", 2, C)
    own = [name for name in FittedScore.__slots__ if isinstance(getattr(neutral, name), Tensor)]
    assert sorted(FITTED_TENSORS) == sorted(own)


@pytest.mark.parametrize("kind", list(TERMS))
def test_a_neutral_score_weighs_all_alike(kind: str) -> None:
    neutral = FittedScore.neutral(kind, 3, C)  # type: ignore[arg-type]
    terms = len(TERMS[kind])  # type: ignore[index]
    assert neutral.feature_weight.shape == (terms, 3)
    for weight in (neutral.feature_weight, neutral.pixel_weight, neutral.channel_weight):
        assert float(weight.sum()) == pytest.approx(1)
        assert float(weight.std()) == pytest.approx(0, abs=1e-6)
    assert (neutral.whitening is not None) == ("whitened" in TERMS[kind])  # type: ignore[index]
