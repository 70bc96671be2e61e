"""The teacher's training: the paper's objective over random noise levels, features predicted from the noised image.

Loss = MSE(eps or x0) + L_vlb (variance only) + MSE(features) + Gaussian likelihood (feature log-variance only).
Features are never noised.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from diffad_export.config import TeacherConfig, TrainConfig
from diffad_export.denoiser import to_blocks
from diffad_export.device import autocast, bf16_is_native
from diffad_export.diffusion.schedule import add_noise, linear_schedule
from diffad_export.feature_cache import FeatureCache
from diffad_export.networks.teacher import Teacher
from diffad_export.training.loop import Outcome, Trainer
from diffad_export.training.objectives import gaussian_nll, pixel_error, variational_bound


def make_teacher(config: TeacherConfig, channels: int, seed: int = 0) -> Teacher:
    """A teacher with seeded initial weights; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Teacher(channels, config.width, config.multipliers, config.blocks, config.prediction)


def draw_rows(count: int, batch: int, generator: torch.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Rows of one batch, with replacement, as an int64 array (B,)."""
    return torch.randint(0, count, (batch,), generator=generator).numpy()


class TeacherObjective:
    """Loss of one step on a batch drawn from the cache."""

    def __init__(self, cache: FeatureCache, config: TeacherConfig, batch: int, device: torch.device) -> None:
        self.cache, self.config, self.batch, self.device = cache, config, batch, device
        self.schedule = linear_schedule()
        self.bf16 = config.bf16 == "on" or (config.bf16 == "auto" and bf16_is_native(device))

    def __call__(self, network: nn.Module, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Draw rows, levels and noise; return the loss and its parts."""
        x, f = self.cache.batch(draw_rows(len(self.cache), self.batch, generator), self.device)
        # Stratified levels: every batch covers the whole range, which steadies the loss.
        share = (torch.arange(self.batch) + torch.rand(self.batch, generator=generator)) / self.batch
        t = (share * self.config.max_timestep).long().clamp_max(self.config.max_timestep - 1).to(self.device)
        noise = torch.randn(x.shape, generator=generator).to(self.device)
        abar = self.schedule.abar.to(self.device)[t]
        x_t = add_noise(x, noise, abar)
        with autocast(self.device, enabled=self.bf16):
            denoised = network(x_t, t)
        blocks = to_blocks(x)
        error = f - denoised.f
        parts = {
            "pixels": pixel_error(self.config.prediction, blocks, denoised, abar).mean(),
            "bound": variational_bound(self.schedule, blocks, denoised, t).mean(),
            "features": error.square().mean(),
            "likelihood": gaussian_nll(error, denoised.f_log_var),
        }
        return torch.stack(list(parts.values())).sum(), {k: float(v.detach()) for k, v in parts.items()}


def fit_teacher(
    config: TrainConfig, cache: FeatureCache, folder: Path | None, device: torch.device, *, resume: bool = False
) -> tuple[Teacher, Outcome]:
    """Train; gives the averaged (EMA) teacher in eval mode on the CPU, and how the run went."""
    teacher = make_teacher(config.teacher, cache.features.shape[1], config.seed).to(device)
    objective = TeacherObjective(cache, config.teacher, config.optimiser.batch, device)
    trainer = Trainer(teacher, objective, config.optimiser, folder, config.seed, "teacher")
    outcome = trainer.run(resume=resume)
    teacher.load_state_dict(trainer.ema)
    return teacher.cpu().eval(), outcome
