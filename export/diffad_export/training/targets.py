"""What the student learns from: the teacher's answer at one level, averaged over noise draws, made once and cached.

Averaging removes the noise's part from the target, which one draw would hand on to the student.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffad_export.denoiser import Denoiser
from diffad_export.device import autocast, bf16_is_native
from diffad_export.diffusion.posterior import Level
from diffad_export.distributed import World
from diffad_export.feature_cache import FeatureCache
from diffad_export.fingerprint import weights_digest
from diffad_export.shards import Rows, ShardedArray, open_shards, write_shards
from diffad_export.training.loop import step_generator

FORMAT = 2


@dataclass(frozen=True, slots=True)
class TeacherTargets:
    """Averaged teacher answers for every row of a feature cache, float16.

    Attributes:
        x0: (N, 48, G, G).
        f: (N, C, g, g), standardised.
    """

    x0: npt.NDArray[np.float16] | ShardedArray
    f: npt.NDArray[np.float16] | ShardedArray

    def batch(self, rows: npt.NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        """Rows -> x0 (B, 48, G, G), f (B, C, G, G), float32."""
        return torch.from_numpy(self.x0[rows]).to(device).float(), torch.from_numpy(self.f[rows]).to(device).float()


def teacher_targets(
    folder: Path, teacher: Denoiser, cache: FeatureCache, level: Level, *, draws: int, seed: int, world: World
) -> TeacherTargets:
    """Open the targets of this teacher and cache, making first what of them is missing.

    To be called by all processes of `world`, each of which makes its share.
    """
    key = f"{weights_digest(teacher)} {cache.digest} {level.timestep} {draws} {seed} {FORMAT}"
    place = folder / f"targets-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    teacher.to(world.device)
    make = _maker(teacher, cache, level, draws, seed, world.device)
    write_shards(place, len(cache), make, world, "Teacher's answers, averaged over noise")
    teacher.cpu()
    arrays = open_shards(place, len(cache), ("x0", "f"), world)
    return TeacherTargets(arrays["x0"], arrays["f"])


def _maker(
    teacher: Denoiser, cache: FeatureCache, level: Level, draws: int, seed: int, device: torch.device
) -> Callable[[Rows], dict[str, npt.NDArray[Any]]]:
    @torch.no_grad()
    def make(rows: Rows) -> dict[str, npt.NDArray[Any]]:
        x, _ = cache.batch(rows, device)
        t = torch.full((len(rows),), level.timestep, device=device)
        label = torch.from_numpy(cache.labels[rows]).to(device)
        # From the first row's number: the noise of a row does not depend on who draws it.
        generator = step_generator(seed, int(rows[0]))
        sums: list[Tensor] = []
        for _ in range(draws):
            noise = torch.randn(x.shape, generator=generator).to(device)
            with autocast(device, enabled=bf16_is_native(device)):
                denoised = teacher(level.signal * x + level.noise * noise, t, label)
            parts = [denoised.x0, denoised.f]
            sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
        x0, f = ((s / draws).half().cpu().numpy() for s in sums)
        return {"x0": x0, "f": f}

    return make
