"""Reverse chains: from a noised image back to a clean one, step by step, by ancestral sampling or DDIM.

Knows the arithmetic of one reverse step and the walk down a chain. Does not know images on disk, scores or training.
Letters as in DDPM; `step` counts down, step 0 leads to the clean image. Randomness comes from the generator that is
passed in, and from nowhere else.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from diffad_export.denoiser import Denoised, Denoiser, from_blocks
from diffad_export.diffusion.posterior import learned_log_variance, level_at, posterior_mean
from diffad_export.diffusion.schedule import Schedule

Sampler = Literal["ancestral", "ddim"]
Step = Callable[[Denoised, Tensor, Schedule, int, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class ReverseStep:
    """One step of a chain.

    Attributes:
        timestep: index in the 1000-step training chain that the network was called at.
        x0: (B, 3, S, S), the estimate E[x0 | x_t] at that level.
        x: (B, 3, S, S), the next, less noisy image.
        reached: the timestep that x stands at, None when it is the clean image and the chain ends.
    """

    timestep: int
    x0: Tensor
    x: Tensor
    reached: int | None


def cut(schedule: Schedule, start: int, steps: int) -> Schedule:
    """The part of a chain from `start` down to the clean image, in `steps` steps spread evenly.

    The cut chain's betas are those that lead from one kept `abar` to the next, as in `respace`.

    Args:
        start: step of `schedule` that becomes the last, noisiest one.
        steps: length of the cut chain, 1 .. start + 1; start + 1 keeps every step.
    """
    if not 0 <= start < schedule.steps:
        raise ValueError(f"a chain of {schedule.steps} steps has no step {start}")
    if not 1 <= steps <= start + 1:
        raise ValueError(f"from step {start} a chain can have 1..{start + 1} steps, got {steps}")
    kept = torch.tensor([round((start + 1) * (i + 1) / steps) - 1 for i in range(steps)])
    abar = schedule.abar[kept]
    abar_prev = torch.cat([abar.new_ones(1), abar[:-1]])
    return Schedule(beta=1 - abar / abar_prev, abar=abar, abar_prev=abar_prev, timestep=schedule.timestep[kept])


def ddim_step(denoised: Denoised, x_t: Tensor, schedule: Schedule, step: int, eta: float, noise: Tensor) -> Tensor:
    """x_{t-1} by Song et al. 2021 (DDIM) equation 12, with sigma of equation 16.

    Args:
        denoised: what the network made of x_t.
        x_t: (B, 3, S, S).
        schedule, step: the chain and the step that x_t stands at; step 0 gives the estimate of x0.
        eta: 0 draws nothing, the map is deterministic; 1 is ancestral sampling with the posterior variance.
        noise: (B, 3, S, S), standard normal.
    """
    x0 = from_blocks(denoised.x0)
    abar, abar_prev = schedule.abar[step].item(), schedule.abar_prev[step].item()
    sigma = eta * math.sqrt(schedule.posterior_variance[step].item())
    eps = (x_t - math.sqrt(abar) * x0) / math.sqrt(1 - abar)
    # At step 0, or with eta 1, rounding can leave the direction's variance just below zero.
    direction = math.sqrt(max(1 - abar_prev - sigma**2, 0.0))
    return math.sqrt(abar_prev) * x0 + direction * eps + sigma * noise


def ancestral_step(denoised: Denoised, x_t: Tensor, schedule: Schedule, step: int, noise: Tensor) -> Tensor:
    """x_{t-1} ~ p(x_{t-1} | x_t): posterior mean (DDPM equation 7), learned variance (improved DDPM equation 15).

    Args:
        denoised: what the network made of x_t.
        x_t: (B, 3, S, S).
        schedule, step: the chain and the step that x_t stands at; step 0 gives the estimate of x0, without noise.
        noise: (B, 3, S, S), standard normal.
    """
    x0 = from_blocks(denoised.x0)
    if step == 0:
        return x0
    level = level_at(schedule, step)
    log_variance = learned_log_variance(from_blocks(denoised.v), level.log_variance, level.log_beta)
    return posterior_mean(level, x0, x_t) + (log_variance / 2).exp() * noise


def reverse_chain(
    denoiser: Denoiser,
    x_t: Tensor,
    chain: Schedule,
    generator: torch.Generator,
    *,
    label: Tensor | None = None,
    sampler: Sampler = "ancestral",
    eta: float = 0.0,
    limit: float | None = 1.0,
) -> Iterator[ReverseStep]:
    """Walk a whole chain down; one network call a step.

    Args:
        x_t: (B, 3, S, S), at the chain's last step.
        chain: as `cut` makes it.
        generator: draws the noise of every step, one tensor a step, used or not: ancestral and DDIM chains with the
            same seed draw the same noise.
        label: (B,) int64, the category, or None.
        eta: of DDIM; ancestral sampling takes no notice of it.
        limit: x0 is clipped to [-limit, limit] at each step, so that one bad estimate does not spoil the rest.

    Yields:
        From the noisiest step to step 0.
    """
    take: Step = ancestral_step if sampler == "ancestral" else partial(_ddim, eta)
    x = x_t
    for step in reversed(range(chain.steps)):
        timestep = int(chain.timestep[step])
        with torch.no_grad():
            denoised = denoiser(x, torch.full((len(x),), timestep, dtype=torch.int64, device=x.device), label)
        if limit is not None:
            denoised = replace(denoised, x0=denoised.x0.clamp(-limit, limit))
        noise = normal_like(x, generator)
        x = take(denoised, x, chain, step, noise)
        yield ReverseStep(timestep, from_blocks(denoised.x0), x, int(chain.timestep[step - 1]) if step else None)


def normal_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal of x's shape, drawn where the generator lives, so that a seed means the same on any device."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device).to(x.device)


def _ddim(eta: float, denoised: Denoised, x_t: Tensor, schedule: Schedule, step: int, noise: Tensor) -> Tensor:
    return ddim_step(denoised, x_t, schedule, step, eta, noise)
