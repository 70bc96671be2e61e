"""Distillation: at a few fixed levels a small network learns what the teacher answers, and what is true.

The student regresses the teacher's noise-averaged answer together with the features and pixels of the clean image. Part
of the images are shown with a pasted defect, and must be answered as if it were not there: so a small network does not
learn to copy what it sees. Log-variances are trained on the student's own errors against the truth. In training every
step draws fresh noise: were the deployed fixed noise used, the student could learn to subtract it, and would see
defects through.

Over several processes BatchNorm must see the global batch. torch has that on GPUs alone, so several CPU processes are
refused.
"""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from diffad_export.backbone.extractor import normalise
from diffad_export.config import DistilConfig
from diffad_export.denoiser import Denoised, to_blocks
from diffad_export.device import autocast, bf16_is_native
from diffad_export.diffusion.posterior import Level
from diffad_export.diffusion.schedule import Schedule, linear_schedule, respace
from diffad_export.distributed import WHOLE, Share, World
from diffad_export.feature_cache import FeatureCache
from diffad_export.grids import FromOneGrid, GridLayout, Grids
from diffad_export.networks.student import Student
from diffad_export.reconstructor import CHAIN
from diffad_export.training.lessons import Lessons
from diffad_export.training.loop import Outcome, Trainer
from diffad_export.training.objectives import gaussian_nll, variational_bound
from diffad_export.training.teacher import draw_rows
from diffad_runtime.errors import InputError
from diffad_runtime.result import Image
from diffad_runtime.synthetic.pasted import paste_defect


class StudentObjective:
    """Loss of one distillation step.

    Args:
        cache: good images with features on one grid.
        layout: of the student's features.
        config: weights of the terms.
        levels: to learn, cleanest first.
        lessons: of the teacher; its targets may be missing for the control without a teacher.
    """

    def __init__(
        self,
        cache: FeatureCache,
        layout: GridLayout,
        config: DistilConfig,
        levels: tuple[Level, ...],
        lessons: Lessons,
        device: torch.device,
    ) -> None:
        self.cache, self.layout, self.config, self.levels, self.device = cache, layout, config, levels, device
        self.lessons = lessons
        self.to_layout = FromOneGrid(layout, cache.images.shape[1], cache.grid_stride).to(device)
        self.schedule: Schedule = respace(linear_schedule(), CHAIN)
        self.chain_steps = torch.tensor([self.schedule.timestep.tolist().index(level.timestep) for level in levels])
        # Never more than the teacher's own objective gives the pixels of a nearly clean image.
        self.snr = torch.tensor([min(level.abar / (1 - level.abar), MOST_SNR) for level in levels])

    def __call__(
        self, network: nn.Module, generator: torch.Generator, share: Share = WHOLE
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Draw rows, levels, defects, noise of the global batch; the loss over this process's share, and its parts."""
        batch, weights = self.config.optimiser.batch, self.config.losses
        rows = share.of(draw_rows(len(self.cache), batch, generator))
        # Levels take turns within a batch, so that each is seen equally often.
        turn = torch.randint(0, len(self.levels), (1,), generator=generator)
        level = share.of((torch.arange(batch) + turn) % len(self.levels))
        x, f = self.cache.batch(rows, self.device)
        truth, blocks = self.to_layout(f), to_blocks(x)
        shown = self._shown(rows, generator, share)
        noise = share.of(torch.randn((batch, *x.shape[1:]), generator=generator)).to(self.device)
        with autocast(self.device, enabled=bf16_is_native(self.device)):
            denoised = network(self._noised(shown, noise, level), level.to(self.device))
        snr = self.snr[level].to(self.device)
        parts = {
            "features": weights.truth * features_mse(denoised.f, truth),
            "pixels": weights.truth * pixels_mse(denoised.x0, blocks, snr),
            "likelihood": features_nll(denoised, truth, self.config.variance_floor),
            "bound": self._bound(denoised, blocks, level),
        }
        if (self.lessons.targets or self.lessons.chain) and weights.teacher > 0:
            if self.lessons.chain is not None:
                x0_teacher, f_teacher = self.lessons.chain(self._noised(x, noise, level), level)
            else:
                x0_teacher, f_teacher = self.lessons.answers(rows, level, self.device)
            parts["teacher_features"] = weights.teacher * features_mse(denoised.f, f_teacher)
            parts["teacher_pixels"] = weights.teacher * pixels_mse(denoised.x0, x0_teacher, snr)
        if weights.consistency > 0:
            parts["consistency"] = weights.consistency * self._consistency(network, shown, noise, level, denoised)
        if self.lessons.maps is not None and weights.map > 0:
            with autocast(self.device, enabled=bf16_is_native(self.device)):
                parts["map"] = weights.map * self.lessons.maps.mismatch(network, generator, max(2, batch // 2), share)
        return torch.stack(list(parts.values())).sum(), {k: v.detach() for k, v in parts.items()}

    def _shown(
        self, rows: np.ndarray[tuple[int], np.dtype[np.int64]], generator: torch.Generator, share: Share
    ) -> Tensor:
        """Images of `rows`, x (B, 3, S, S), some with a pasted defect."""
        batch = self.config.optimiser.batch
        spoil = share.of(torch.rand(batch, generator=generator)) < self.config.pasted
        seeds = share.of(torch.randint(0, 2**31, (batch,), generator=generator))
        images: Image = np.array(self.cache.images[rows])
        for i in torch.nonzero(spoil)[:, 0].tolist():
            images[i], _ = paste_defect(images[i], np.random.default_rng(int(seeds[i])))
        return normalise(torch.from_numpy(images).to(self.device))

    def _bound(self, denoised: Denoised, blocks: Tensor, level: Tensor) -> Tensor:
        """L_vlb, mean over the images; none at level 0, whose KL is no score: there it would drown all the rest."""
        step = self.chain_steps[level].to(self.device)
        bits = variational_bound(self.schedule, blocks, denoised, step)
        return torch.where(step > 0, bits, bits.new_zeros(())).mean()

    def _noised(self, x: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        signal = torch.tensor([one.signal for one in self.levels])[level].to(self.device).view(-1, 1, 1, 1)
        strength = torch.tensor([one.noise for one in self.levels])[level].to(self.device).view(-1, 1, 1, 1)
        return signal * x + strength * noise

    def _consistency(
        self, network: nn.Module, shown: Tensor, noise: Tensor, level: Tensor, denoised: Denoised
    ) -> Tensor:
        """Distance to the answer at the next cleaner level, to the same image and noise; that one is not moved.

        Mean over all images; those at the cleanest level have no cleaner one, and count as 0.
        """
        own = torch.nonzero(level > 0)[:, 0]
        if len(own) == 0:
            return denoised.x0.new_zeros(())
        cleaner = level[own] - 1
        network.eval()  # its BatchNorm must not count these images
        with torch.no_grad(), autocast(self.device, enabled=bf16_is_native(self.device)):
            target = network(self._noised(shown[own], noise[own], cleaner), cleaner.to(self.device))
        network.train()
        apart = features_mse(tuple(f[own] for f in denoised.f), target.f) + mse_loss(denoised.x0[own], target.x0)
        return len(own) / len(level) * apart


MOST_SNR = 5.0
"""Of the pixel loss, as in min-SNR weighting (Hang et al., ICCV 2023)."""


def features_mse(f: Grids, target: Grids) -> Tensor:
    """Mean squared error over images, places and channels; every channel counts alike, whatever its grid."""
    total = sum(part.shape[1] for part in f)
    parts = [part.shape[1] / total * mse_loss(part, own) for part, own in zip(f, target, strict=True)]
    return torch.stack(parts).sum()


def features_nll(denoised: Denoised, truth: Grids, floor: float = 0.0) -> Tensor:
    """Gaussian negative log-likelihood of the truth, trains the log-variances only; weighted as `features_mse`."""
    total = sum(part.shape[1] for part in truth)
    parts = [
        own.shape[1] / total * gaussian_nll(own - mean.detach(), log_var, floor)
        for own, mean, log_var in zip(truth, denoised.f, denoised.f_log_var, strict=True)
    ]
    return torch.stack(parts).sum()


def pixels_mse(x0: Tensor, target: Tensor, snr: Tensor) -> Tensor:
    """Mean over images of the squared error times the level's signal-to-noise ratio; snr (B,)."""
    return ((x0 - target).square().mean((1, 2, 3)) * snr).mean()


def fit_student(
    config: DistilConfig,
    cache: FeatureCache,
    layout: GridLayout,
    levels: tuple[Level, ...],
    lessons: Lessons,
    folder: Path | None,
    world: World,
    *,
    resume: bool = False,
    begin: Callable[[Student], None] | None = None,
    name: str = "student",
) -> tuple[Student, Outcome]:
    """Distil; gives the averaged (EMA) student in eval mode on the CPU, not yet folded, and how the run went.

    Args:
        begin: changes the new student before it is trained.
        name: of checkpoint and log.

    Raises:
        InputError: several processes on CPUs, a batch that they cannot share evenly, or consistency with one level.
    """
    refuse_cpu_processes(world)
    if config.losses.consistency > 0 and len(levels) == 1:
        raise InputError("consistency between levels needs more than one", mend="Add --steps 2, or leave it out")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        student = Student(layout, config.width, len(levels), shared=config.shared)
    if begin is not None:
        begin(student)
    network: nn.Module = student.to(world.device)
    if world.size > 1:  # of a copy: the layers are replaced in place, and SyncBatchNorm does not fold
        network = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(student))  # type: ignore[no-untyped-call]
    objective = StudentObjective(cache, layout, config, levels, lessons, world.device)
    trainer = Trainer(network, objective, config.optimiser, folder, config.seed, name, world)
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
