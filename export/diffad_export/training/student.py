"""Distillation to one network evaluation: the simplest recipe that is honest.

At one fixed level the student regresses the teacher's noise-averaged answer together with the true features and pixels.
Its log-variances are trained on its own errors against the truth. In training every step draws fresh noise: were the
deployed fixed noise used, the student could learn to subtract it, and would see defects through.

Over several processes BatchNorm must see the global batch. torch has that on GPUs alone, so several CPU processes are
refused.
"""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from diffad_export.config import DistilConfig
from diffad_export.denoiser import to_blocks
from diffad_export.device import autocast, bf16_is_native
from diffad_export.diffusion.posterior import Level
from diffad_export.diffusion.schedule import linear_schedule, respace
from diffad_export.distributed import WHOLE, Share, World
from diffad_export.feature_cache import FeatureCache
from diffad_export.networks.student import Student
from diffad_export.reconstructor import CHAIN
from diffad_export.training.loop import Outcome, Trainer
from diffad_export.training.objectives import gaussian_nll, variational_bound
from diffad_export.training.targets import TeacherTargets
from diffad_export.training.teacher import draw_rows
from diffad_runtime.errors import InputError


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

    def __call__(
        self, network: nn.Module, generator: torch.Generator, share: Share = WHOLE
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Draw rows and noise of the global batch; return the loss over this process's share, and its parts."""
        batch = self.config.optimiser.batch
        rows = share.of(draw_rows(len(self.cache), batch, generator))
        x, f = self.cache.batch(rows, self.device)
        noise = share.of(torch.randn((batch, *x.shape[1:]), generator=generator)).to(self.device)
        step = torch.full((len(rows),), self.config.chain_step, device=self.device)
        with autocast(self.device, enabled=bf16_is_native(self.device)):
            denoised = network(self.level.signal * x + self.level.noise * noise, step)
        blocks, truth = to_blocks(x), self.config.truth_weight
        parts = {
            "features": truth * mse_loss(denoised.f, f),
            "pixels": truth * self.snr * mse_loss(denoised.x0, blocks),
            "likelihood": gaussian_nll(f - denoised.f.detach(), denoised.f_log_var),
            "bound": variational_bound(self.schedule, blocks, denoised, step).mean(),
        }
        if self.targets is not None and self.config.teacher_weight > 0:
            x0_teacher, f_teacher = self.targets.batch(rows, self.device)
            weight = self.config.teacher_weight
            parts["teacher_features"] = weight * mse_loss(denoised.f, f_teacher)
            parts["teacher_pixels"] = weight * self.snr * mse_loss(denoised.x0, x0_teacher)
        return torch.stack(list(parts.values())).sum(), {k: v.detach() for k, v in parts.items()}


def fit_student(
    config: DistilConfig,
    cache: FeatureCache,
    targets: TeacherTargets | None,
    level: Level,
    folder: Path | None,
    world: World,
    *,
    resume: bool = False,
) -> tuple[Student, Outcome]:
    """Distil; gives the averaged (EMA) student in eval mode on the CPU, not yet folded, and how the run went.

    Raises:
        InputError: several processes on CPUs, or a batch that they cannot share evenly.
    """
    refuse_cpu_processes(world)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        student = Student(cache.features.shape[1], config.width, cache.grid_stride)
    network: nn.Module = student.to(world.device)
    if world.size > 1:  # of a copy: the layers are replaced in place, and SyncBatchNorm does not fold
        network = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(student))  # type: ignore[no-untyped-call]
    objective = StudentObjective(cache, targets, config, level, world.device)
    trainer = Trainer(network, objective, config.optimiser, folder, config.seed, "student", world)
    outcome = trainer.run(resume=resume)
    student.load_state_dict(trainer.ema)
    return student.cpu().eval(), outcome


def refuse_cpu_processes(world: World) -> None:
    """InputError where a student cannot be trained: over several processes without a GPU each."""
    if world.size > 1 and world.device.type == "cpu":
        raise InputError(
            f"distillation over {world.size} CPU processes is not possible: BatchNorm over processes needs GPUs",
            mend="Start 'diffad-edge export' without torchrun; training the teacher can keep it",
        )
