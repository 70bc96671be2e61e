"""Distillation to one network evaluation: the simplest recipe that is honest.

At one fixed level the student regresses the teacher's noise-averaged answer together with the true features and pixels.
Its log-variances are trained on its own errors against the truth. In training every step draws fresh noise: were the
deployed fixed noise used, the student could learn to subtract it, and would see defects through.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from diffad_export.config import DistilConfig
from diffad_export.denoiser import to_blocks
from diffad_export.device import autocast, bf16_is_native
from diffad_export.diffusion.posterior import Level
from diffad_export.diffusion.schedule import linear_schedule, respace
from diffad_export.feature_cache import FeatureCache
from diffad_export.networks.student import Student
from diffad_export.reconstructor import CHAIN
from diffad_export.training.loop import Outcome, Trainer
from diffad_export.training.objectives import gaussian_nll, variational_bound
from diffad_export.training.targets import TeacherTargets
from diffad_export.training.teacher import draw_rows


class StudentObjective:
    """Loss of one distillation step. `targets` None trains the same network without a teacher (the control)."""

    def __init__(
        self,
        cache: FeatureCache,
        targets: TeacherTargets | None,
        config: DistilConfig,
        level: Level,
        device: torch.device,
    ) -> None:
        self.cache, self.targets, self.config, self.level, self.device = cache, targets, config, level, device
        self.schedule = respace(linear_schedule(), CHAIN)
        self.snr = level.abar / (1 - level.abar)

    def __call__(self, network: nn.Module, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Draw rows and noise; return the loss and its parts."""
        rows = draw_rows(len(self.cache), self.config.optimiser.batch, generator)
        x, f = self.cache.batch(rows, self.device)
        noise = torch.randn(x.shape, generator=generator).to(self.device)
        step = torch.full((len(rows),), self.config.chain_step, device=self.device)
        with autocast(self.device, enabled=bf16_is_native(self.device)):
            denoised = network(self.level.signal * x + self.level.noise * noise, step)
        blocks, error, truth = to_blocks(x), f - denoised.f, self.config.truth_weight
        parts = {
            "features": truth * error.square().mean(),
            "pixels": truth * self.snr * (blocks - denoised.x0).square().mean(),
            "likelihood": gaussian_nll(error, denoised.f_log_var),
            "bound": variational_bound(self.schedule, blocks, denoised, step).mean(),
        }
        if self.targets is not None and self.config.teacher_weight > 0:
            x0_teacher, f_teacher = self.targets.batch(rows, self.device)
            weight = self.config.teacher_weight
            parts["teacher_features"] = weight * (f_teacher - denoised.f).square().mean()
            parts["teacher_pixels"] = weight * self.snr * (x0_teacher - denoised.x0).square().mean()
        return torch.stack(list(parts.values())).sum(), {k: float(v.detach()) for k, v in parts.items()}


def fit_student(
    config: DistilConfig,
    cache: FeatureCache,
    targets: TeacherTargets | None,
    level: Level,
    folder: Path | None,
    device: torch.device,
    *,
    resume: bool = False,
) -> tuple[Student, Outcome]:
    """Distil; gives the averaged (EMA) student in eval mode on the CPU, not yet folded, and how the run went."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        student = Student(cache.features.shape[1], config.width)
    student = student.to(device)
    objective = StudentObjective(cache, targets, config, level, device)
    trainer = Trainer(student, objective, config.optimiser, folder, config.seed, "student")
    outcome = trainer.run(resume=resume)
    student.load_state_dict(trainer.ema)
    return student.cpu().eval(), outcome
