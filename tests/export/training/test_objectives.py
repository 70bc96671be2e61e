"""What is minimised: closed forms, minima, and which output each term trains."""

import math

import pytest
import torch
from torch import Tensor

from diffad_export.denoiser import Denoised
from diffad_export.diffusion.posterior import level_at, reverse_step_kl
from diffad_export.diffusion.schedule import linear_schedule, respace
from diffad_export.training.objectives import gaussian_nll, pixel_error, soft_limit, variational_bound


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def answer(*, grad: bool = False) -> Denoised:
    parts = [draw(3, 48, 2, 2, seed=1), draw(3, 48, 2, 2, seed=2).tanh(), draw(3, 4, 2, 2), draw(3, 4, 2, 2)]
    x0, v, f, f_log_var = (part.requires_grad_(grad) for part in parts)
    return Denoised(x0, v, (f,), (f_log_var,))


@pytest.mark.parametrize("schedule", [linear_schedule(), respace(linear_schedule(), 250)], ids=["1000", "250"])
def test_the_bound_is_the_kl_of_each_images_own_step(schedule) -> None:  # type: ignore[no-untyped-def]
    x0, out, steps = draw(3, 48, 2, 2), answer(), [1, 50, 249]
    found = variational_bound(schedule, x0, out, torch.tensor(steps))
    for row, step in enumerate(steps):
        one = slice(row, row + 1)
        expected = reverse_step_kl(level_at(schedule, step), x0[one], out.x0[one], out.v[one]).mean()
        assert found[row].item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_bound_trains_the_variance_only() -> None:
    out = answer(grad=True)
    variational_bound(linear_schedule(), draw(3, 48, 2, 2), out, torch.tensor([0, 50, 400])).sum().backward()  # type: ignore[no-untyped-call]
    assert out.x0.grad is None
    assert out.v.grad is not None
    assert (out.v.grad != 0).any(dim=(1, 2, 3)).all()


def test_the_likelihood_is_least_at_the_log_of_the_squared_error() -> None:
    error = torch.tensor([0.3])
    grid = torch.linspace(-6, 2, 8001)
    losses = torch.stack([gaussian_nll(error, g[None]) for g in grid])
    assert grid[losses.argmin()].item() == pytest.approx(math.log(0.09), abs=2e-3)
    assert losses.min().item() == pytest.approx(0.5 * (1 + math.log(0.09)), abs=1e-5)


def test_the_likelihood_trains_the_variance_only() -> None:
    error, log_var = draw(5).requires_grad_(), draw(5, seed=1).requires_grad_()
    gaussian_nll(error, log_var).backward()  # type: ignore[no-untyped-call]
    assert error.grad is None
    assert log_var.grad is not None


def test_the_likelihood_and_its_gradient_are_those_of_the_formula() -> None:
    error = draw(400).double()
    log_var = (8 * draw(400, seed=1).double()).requires_grad_()  # some beyond either limit
    assert log_var.min() < -7.5
    assert log_var.max() > 5.5
    limited = soft_limit(log_var)
    plain = 0.5 * (error.square() / limited.exp() + limited).mean()
    (expected,) = torch.autograd.grad(3 * plain, log_var)
    (found,) = torch.autograd.grad(3 * gaussian_nll(error, log_var), log_var)
    torch.testing.assert_close(gaussian_nll(error, log_var), plain)
    torch.testing.assert_close(found, expected)


def test_log_variances_are_held_within_limits_with_a_way_back() -> None:
    log_var = torch.tensor([-20.0, -7.0, 0.0, 5.0, 30.0], requires_grad=True)
    limited = soft_limit(log_var)
    torch.testing.assert_close(limited, torch.tensor([-7.13, -7.0, 0.0, 5.0, 5.25]))
    limited.sum().backward()  # type: ignore[no-untyped-call]
    assert log_var.grad is not None
    assert (log_var.grad > 0).all()
    assert log_var.grad[2] == 1


def test_eps_error_is_the_error_of_the_noise() -> None:
    x0, noise, wrong = draw(3, 48, 2, 2), draw(3, 48, 2, 2, seed=1), draw(3, 48, 2, 2, seed=2)
    abar = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    a = abar.float().view(-1, 1, 1, 1)
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * noise
    x0_hat = (x_t - (1 - a).sqrt() * wrong) / a.sqrt()
    out = Denoised(x0_hat, x0, (), ())
    torch.testing.assert_close(pixel_error("eps", x0, out, abar), (noise - wrong).square().mean((1, 2, 3)))
    torch.testing.assert_close(pixel_error("x0", x0, out, abar), (x0 - x0_hat).square().mean((1, 2, 3)))
