"""What is minimised. Pure functions of tensors: no data, no loop, no global random state."""

from typing import Any

import torch
from torch import Tensor

from diffad_export.denoiser import Denoised
from diffad_export.diffusion.posterior import learned_log_variance, normal_kl
from diffad_export.diffusion.schedule import Schedule

LOG_VAR_LIMITS = (-7.0, 5.0)
LEAK = 0.01  # slope of a log-variance beyond its limits


def variational_bound(schedule: Schedule, x0: Tensor, denoised: Denoised, t: Tensor) -> Tensor:
    """L_vlb of the reverse step in bits per dimension, with the mean detached: it trains the variance only.

    Improved DDPM section 3.1; for t > 0 the KL of equation 14. At t = 0 the posterior's clipped variance is used, where
    guided diffusion takes a discretised likelihood: level 0 is never scored here.

    Args:
        x0, denoised: blocks (B, 48, G, G).
        t: (B,), indices in `schedule`.

    Returns:
        (B,).
    """

    def at(table: Tensor) -> Tensor:
        return table.to(x0.device)[t].float().view(-1, 1, 1, 1)

    c0 = at(schedule.abar_prev.sqrt() * schedule.beta / (1 - schedule.abar))
    low, high = at(schedule.posterior_log_variance), at(schedule.beta.log())
    log_var = learned_log_variance(denoised.v, low, high)
    kl = normal_kl(c0 * x0, low, c0 * denoised.x0.detach(), log_var)
    return kl.mean((1, 2, 3)) / torch.log(torch.tensor(2.0))


def gaussian_nll(error: Tensor, log_var: Tensor, floor: float = 0.0) -> Tensor:
    """0.5 (error^2 / var + log var), mean over all; nothing flows back to the error: it trains the variance only.

    Args:
        floor: variance of noise that the truth is taken to be seen with: the loss expected over it. The variance that
            is learned then holds it, and never falls below it.
    """
    loss: Tensor = _GaussianNll.apply(error, log_var, floor)  # type: ignore[no-untyped-call]
    return loss


def soft_limit(log_var: Tensor) -> Tensor:
    """Keep log-variances within limits in training, with a gradient that leads back from beyond them."""
    low, high = LOG_VAR_LIMITS
    return torch.lerp(log_var, log_var.clamp(low, high), 1 - LEAK)


class _GaussianNll(torch.autograd.Function):
    """The gradient is known in closed form: half the time of autograd's, which was a tenth of a training step."""

    @staticmethod
    def forward(ctx: Any, error: Tensor, log_var: Tensor, floor: float) -> Tensor:
        limited = soft_limit(log_var)
        ratio = error.square().add_(floor).mul_((-limited).exp_())
        loss = 0.5 * (ratio.mean() + limited.mean())
        slope = ratio.neg_().add_(1)
        ctx.save_for_backward(torch.where(limited == log_var, slope, LEAK * slope))
        return loss

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[None, Tensor, None]:
        (slope,) = ctx.saved_tensors
        return None, slope * (0.5 / slope.numel() * outer), None


def pixel_error(prediction: str, x0: Tensor, denoised: Denoised, abar: Tensor) -> Tensor:
    """Mean squared error of what the pixel head predicts, (B,).

    "x0": of the clean image. "eps": of the noise, which is the x0 error times abar / (1 - abar); DDPM equation 14.

    Args:
        abar: (B,) of each image's level.
    """
    error = (x0 - denoised.x0).square().mean((1, 2, 3))
    return error if prediction == "x0" else error * (abar / (1 - abar)).to(error.dtype)
