"""The teacher's training: the paper's objective over random noise levels, features predicted from the noised image.

Loss = MSE(eps or x0) + L_vlb (variance only) + MSE(features) + Gaussian likelihood (feature log-variance only).
Features are never noised.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from diffad_export.config import TeacherConfig, TrainConfig
from diffad_export.denoiser import Denoiser, to_blocks
from diffad_export.device import autocast, bf16_is_native
from diffad_export.diffusion.schedule import add_noise, linear_schedule
from diffad_export.distributed import WHOLE, Share, World
from diffad_export.feature_cache import FeatureCache
from diffad_export.networks import make_teacher
from diffad_export.training.loop import Outcome, Trainer
from diffad_export.training.objectives import gaussian_nll, pixel_error, variational_bound


def draw_rows(count: int, batch: int, generator: torch.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Rows of one batch, with replacement, as an int64 array (B,)."""
    return torch.randint(0, count, (batch,), generator=generator).numpy()


class TeacherObjective:
    """Loss of one step on a batch drawn from the cache."""

    def __init__(self, cache: FeatureCache, config: TeacherConfig, batch: int, device: torch.device) -> None:
        self.cache, self.config, self.batch, self.device = cache, config, batch, device
        self.schedule = linear_schedule()
        self.bf16 = config.bf16 == "on" or (config.bf16 == "auto" and bf16_is_native(device))

    def __call__(
        self, network: nn.Module, generator: torch.Generator, share: Share = WHOLE
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Draw rows, levels and noise of the global batch; return the loss over this process's share, and its parts."""
        rows = share.of(draw_rows(len(self.cache), self.batch, generator))
        x, f = self.cache.batch(rows, self.device)
        # Stratified levels: every batch covers the whole range, which steadies the loss.
        strata = (torch.arange(self.batch) + torch.rand(self.batch, generator=generator)) / self.batch
        levels = (strata * self.config.max_timestep).long().clamp_max(self.config.max_timestep - 1)
        t = share.of(levels).to(self.device)
        noise = share.of(torch.randn((self.batch, *x.shape[1:]), generator=generator)).to(self.device)
        # Drawn with or without categories, so that the other random numbers are the same.
        silent = share.of(torch.rand(self.batch, generator=generator)) < self.config.drop_label
        label = torch.from_numpy(self.cache.labels[rows]).masked_fill(silent, -1).to(self.device)
        abar = self.schedule.abar.to(self.device)[t]
        x_t = add_noise(x, noise, abar)
        with autocast(self.device, enabled=self.bf16):
            denoised = network(x_t, t, label)
        blocks = to_blocks(x)
        parts = {
            "pixels": pixel_error(self.config.prediction, blocks, denoised, abar).mean(),
            "bound": variational_bound(self.schedule, blocks, denoised, t).mean(),
            "features": mse_loss(denoised.f[0], f),
            "likelihood": gaussian_nll(f - denoised.f[0].detach(), denoised.f_log_var[0]),
        }
        return torch.stack(list(parts.values())).sum(), {k: v.detach() for k, v in parts.items()}


def fit_teacher(
    config: TrainConfig,
    cache: FeatureCache,
    folder: Path | None,
    world: World,
    teacher: Denoiser | None = None,
    *,
    resume: bool = False,
) -> tuple[Denoiser, Outcome]:
    """Train; gives the averaged (EMA) teacher in eval mode on the CPU, and how the run went.

    Args:
        teacher: to start from; a new one where not given.
    """
    teacher = teacher or make_teacher(config, cache.features.shape[1], int(cache.labels.max()) + 1)
    teacher = teacher.to(world.device)
    objective = TeacherObjective(cache, config.teacher, config.optimiser.batch, world.device)
    trainer = Trainer(teacher, objective, config.optimiser, folder, config.seed, "teacher", world)
    outcome = trainer.run(resume=resume)
    teacher.load_state_dict(trainer.ema)
    return teacher.cpu().eval(), outcome
