"""The noise schedule, and the shorter chains that are cut from it.

Knows betas and their cumulative products. Does not know networks, images or scores.
Letters as in Ho et al. 2020 (DDPM) and Nichol & Dhariwal 2021 (improved DDPM): `abar` is the cumulative product of
`alpha = 1 - beta`. Time indices count from 0: t = 0 is the least noisy level.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Schedule:
    """A chain of noise levels. All tables are float64 of shape (T,).

    Attributes:
        beta: variance added by each step.
        abar: product of (1 - beta) up to and with each step.
        abar_prev: `abar` one step earlier; 1 for the first.
        timestep: the index in the 1000-step training chain that each step stands for.
    """

    beta: Tensor
    abar: Tensor
    abar_prev: Tensor
    timestep: Tensor

    @property
    def steps(self) -> int:
        """Length of the chain."""
        return int(self.beta.shape[0])

    @property
    def posterior_variance(self) -> Tensor:
        """beta~_t = beta_t (1 - abar_{t-1}) / (1 - abar_t), float64 (T,); DDPM equation 7. Zero for t = 0."""
        return self.beta * (1 - self.abar_prev) / (1 - self.abar)

    @property
    def posterior_log_variance(self) -> Tensor:
        """log beta~_t, float64 (T,); t = 0 takes the value of t = 1, since log 0 is no number."""
        variance = self.posterior_variance
        return torch.cat([variance[1:2], variance[1:]]).log()

    def step_of(self, timestep: int) -> int:
        """The step of this chain that stands nearest to `timestep` of the training chain."""
        return int((self.timestep - timestep).abs().argmin())


def _from_abar(abar: Tensor, timestep: Tensor) -> Schedule:
    abar_prev = torch.cat([abar.new_ones(1), abar[:-1]])
    return Schedule(beta=1 - abar / abar_prev, abar=abar, abar_prev=abar_prev, timestep=timestep)


def linear_schedule(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Schedule:
    """Linear betas from `first` to `last` (DDPM section 4)."""
    beta = torch.linspace(first, last, steps, dtype=torch.float64)
    return _from_abar(torch.cumprod(1 - beta, 0), torch.arange(steps))


def respace(schedule: Schedule, steps: int) -> Schedule:
    """Cut a chain of `steps` evenly spaced levels, first and last kept (improved DDPM section 4).

    The cut chain's betas are those that lead from one kept `abar` to the next.
    """
    if not 2 <= steps <= schedule.steps:
        raise ValueError(f"a chain of {schedule.steps} steps can be respaced to 2..{schedule.steps}, got {steps}")
    stride = (schedule.steps - 1) / (steps - 1)
    kept = torch.tensor([round(i * stride) for i in range(steps)])
    return _from_abar(schedule.abar[kept], schedule.timestep[kept])


def add_noise(x0: Tensor, noise: Tensor, abar_t: Tensor) -> Tensor:
    """x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise; DDPM equation 4.

    Args:
        x0, noise: (B, C, H, W).
        abar_t: (B,), one level per image.
    """
    a = abar_t.to(x0.dtype).view(-1, 1, 1, 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise
