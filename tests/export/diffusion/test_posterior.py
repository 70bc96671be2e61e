"""The posterior against brute-force conditioning on a grid, and the KL against an integral and torch's own."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from diffad_export.diffusion.posterior import (
    Level,
    learned_log_variance,
    level_at,
    normal_kl,
    posterior_mean,
    reverse_step_kl,
)
from diffad_export.diffusion.schedule import linear_schedule, respace

CHAIN = respace(linear_schedule(), 250)
STEPS = (1, 5, 50, 100, 249)
F64 = torch.float64


def density(x: Tensor, mean: float, variance: float) -> Tensor:
    return torch.exp(-0.5 * (x - mean) ** 2 / variance) / math.sqrt(2 * math.pi * variance)


@pytest.mark.parametrize("step", STEPS)
def test_posterior_is_the_product_of_prior_and_likelihood(step: int) -> None:
    level, x0 = level_at(CHAIN, step), 0.7
    x_t = level.signal * x0 - 1.2 * level.noise
    beta, before = CHAIN.beta[step].item(), CHAIN.abar_prev[step].item()
    # q(x_{t-1} | x_t, x0) ~ q(x_{t-1} | x0) q(x_t | x_{t-1}), multiplied point by point
    middle = posterior_mean(level, torch.tensor(x0, dtype=F64), torch.tensor(x_t, dtype=F64)).item()
    grid = torch.linspace(middle - 3, middle + 3, 400_001, dtype=F64)
    product = density(grid, math.sqrt(before) * x0, 1 - before) * density(x_t - math.sqrt(1 - beta) * grid, 0, beta)
    product = product / product.sum()
    mean = float((product * grid).sum())
    variance = float((product * (grid - mean) ** 2).sum())
    assert middle == pytest.approx(mean, abs=1e-6)
    assert math.exp(level.log_variance) == pytest.approx(variance, rel=1e-5)


def test_a_level_knows_its_place_in_the_training_chain() -> None:
    level = level_at(CHAIN, 50)
    assert level.timestep == 201
    assert level.abar == linear_schedule().abar[201].item()
    assert level.signal**2 + level.noise**2 == pytest.approx(1)
    assert level.signal**2 == pytest.approx(level.abar)
    # With x0 = 0 the variance of x_t shrinks step by step; with no noise the mean runs along sqrt(abar).
    carried = level.c0 + level.ct * math.sqrt(level.abar)
    assert carried == pytest.approx(math.sqrt(CHAIN.abar_prev[50].item()))


def test_kl_closed_form_against_integration_and_torch() -> None:
    for m1, s1, m2, s2 in ((0.0, 1.0, 0.0, 1.0), (0.3, 0.5, -0.2, 0.9), (1.0, 2.0, 1.5, 0.7)):
        x = torch.linspace(-30, 30, 600_001, dtype=F64)
        p, q = Normal(m1, s1), Normal(m2, s2)
        log_p, log_q = p.log_prob(x), q.log_prob(x)  # type: ignore[no-untyped-call]
        integral = float(torch.trapezoid(log_p.exp() * (log_p - log_q), x))
        arguments = [torch.tensor(v, dtype=F64) for v in (m1, 2 * math.log(s1), m2, 2 * math.log(s2))]
        found = normal_kl(*arguments).item()
        assert found == pytest.approx(integral, abs=1e-6)
        assert found == pytest.approx(kl_divergence(p, q).item(), abs=1e-6)


def test_learned_variance_runs_from_the_posterior_to_beta() -> None:
    v = torch.tensor([-1.0, 0.0, 1.0])
    torch.testing.assert_close(learned_log_variance(v, -6.0, -2.0), torch.tensor([-6.0, -4.0, -2.0]))


def draw(seed: int) -> Tensor:
    return torch.randn(2, 48, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=F64)


def full_kl(level: Level, x0: Tensor, x0_hat: Tensor, x_t: Tensor, v: Tensor) -> Tensor:
    """In bits, with both means written out and x_t in them."""
    true = Normal(posterior_mean(level, x0, x_t), math.exp(0.5 * level.log_variance))
    log_var = (1 - v) / 2 * level.log_variance + (1 + v) / 2 * level.log_beta
    return kl_divergence(true, Normal(posterior_mean(level, x0_hat, x_t), (0.5 * log_var).exp())) / math.log(2)


@pytest.mark.parametrize("step", STEPS)
def test_a_perfect_reconstruction_costs_nothing_and_any_other_costs(step: int) -> None:
    level, x0 = level_at(CHAIN, step), draw(0)
    perfect = torch.full_like(x0, -1)
    torch.testing.assert_close(reverse_step_kl(level, x0, x0, perfect), torch.zeros_like(x0))
    assert (reverse_step_kl(level, x0, x0 + 0.1, perfect) > 0).all()
    assert (reverse_step_kl(level, x0, x0, perfect + 0.5) > 0).all()


@pytest.mark.parametrize("step", STEPS)
def test_x_t_cancels_out_of_the_kl(step: int) -> None:
    level, x0, x0_hat, v = level_at(CHAIN, step), draw(0), draw(1), draw(2).tanh()
    found = reverse_step_kl(level, x0, x0_hat, v)
    for seed in (3, 4):
        torch.testing.assert_close(found, full_kl(level, x0, x0_hat, 5 * draw(seed), v), rtol=1e-6, atol=1e-9)
