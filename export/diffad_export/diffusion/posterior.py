"""The reverse step: true posterior, learned step, and the KL divergence between the two.

Pure functions of tensors and of the scalars of one noise level. No network, no random numbers.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from diffad_export.diffusion.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Level:
    """The scalars of one step of a chain, as floats, ready to be baked into a graph.

    Attributes:
        timestep: index in the 1000-step training chain; what the network is told.
        abar: cumulative product at this step.
        c0, ct: weights of x0 and x_t in the posterior mean (DDPM equation 7).
        log_variance: log beta~, clipped at the first step.
        log_beta: log of the chain's beta.
    """

    timestep: int
    abar: float
    c0: float
    ct: float
    log_variance: float
    log_beta: float

    @property
    def signal(self) -> float:
        """sqrt(abar): weight of the image in x_t."""
        return math.sqrt(self.abar)

    @property
    def noise(self) -> float:
        """sqrt(1 - abar): standard deviation of the noise in x_t."""
        return math.sqrt(1 - self.abar)


def level_at(schedule: Schedule, step: int) -> Level:
    """Read the scalars of `step` (0 .. T - 1) of a chain."""
    beta = schedule.beta[step].item()
    abar, abar_prev = schedule.abar[step].item(), schedule.abar_prev[step].item()
    return Level(
        timestep=int(schedule.timestep[step]),
        abar=abar,
        c0=math.sqrt(abar_prev) * beta / (1 - abar),
        ct=math.sqrt(1 - beta) * (1 - abar_prev) / (1 - abar),
        log_variance=schedule.posterior_log_variance[step].item(),
        log_beta=math.log(beta),
    )


def posterior_mean(level: Level, x0: Tensor, x_t: Tensor) -> Tensor:
    """mu~ of q(x_{t-1} | x_t, x0); DDPM equation 7. Any shape."""
    return level.c0 * x0 + level.ct * x_t


def learned_log_variance(v: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Interpolate between log beta~ (v = -1) and log beta (v = 1); improved DDPM equation 15, v in [-1, 1] as there."""
    return low + (v + 1) / 2 * (high - low)


def normal_kl(mean1: Tensor, log_var1: Tensor | float, mean2: Tensor, log_var2: Tensor) -> Tensor:
    """KL(N(mean1, e^log_var1) || N(mean2, e^log_var2)) elementwise, in nats."""
    difference = log_var1 - log_var2
    return 0.5 * (-1 - difference + difference.exp() + (mean1 - mean2) ** 2 * (-log_var2).exp())


def reverse_step_kl(level: Level, x0: Tensor, x0_hat: Tensor, v: Tensor) -> Tensor:
    """KL of the true posterior against the learned reverse step, per element, in bits.

    The x_t terms of the two means cancel, so that only c0 (x0 - x0_hat) is left of their difference.

    Args:
        level: the noise level, of the chain that scores.
        x0, x0_hat, v: same shape; the clean image, its reconstruction, the variance interpolation.
    """
    log_var = learned_log_variance(v, level.log_variance, level.log_beta)
    return normal_kl(level.c0 * x0, level.log_variance, level.c0 * x0_hat, log_var) / math.log(2)
