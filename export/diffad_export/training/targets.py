"""What the student learns from: the teacher's answer at one level, averaged over noise draws, made once and cached.

Averaging removes the noise's part from the target, which one draw would hand on to the student.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffad_export.device import autocast, bf16_is_native
from diffad_export.diffusion.posterior import Level
from diffad_export.feature_cache import FeatureCache
from diffad_export.networks.teacher import Teacher
from diffad_export.progress import track

BATCH = 16


@dataclass(frozen=True, slots=True)
class TeacherTargets:
    """Averaged teacher answers for every row of a feature cache, float16.

    Attributes:
        x0: (N, 48, G, G).
        f: (N, C, G, G), standardised.
    """

    x0: npt.NDArray[np.float16]
    f: npt.NDArray[np.float16]

    def batch(self, rows: npt.NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        """Rows -> x0 (B, 48, G, G), f (B, C, G, G), float32."""
        return torch.from_numpy(self.x0[rows]).to(device).float(), torch.from_numpy(self.f[rows]).to(device).float()


def teacher_targets(
    folder: Path, teacher: Teacher, cache: FeatureCache, level: Level, *, draws: int, seed: int, device: torch.device
) -> TeacherTargets:
    """Open the targets of this teacher and cache, making them first where they are missing."""
    weights = hashlib.sha256()
    for name, tensor in sorted(teacher.state_dict().items()):
        weights.update(name.encode())
        weights.update(tensor.cpu().contiguous().numpy().tobytes())
    key = f"{weights.hexdigest()} {cache.digest} {level.timestep} {draws} {seed} 1"
    final = folder / f"targets-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if not final.exists():
        _write(final, teacher.to(device), cache, level, draws, seed, device)
        teacher.cpu()
    return TeacherTargets(np.load(final / "x0.npy", mmap_mode="r"), np.load(final / "f.npy", mmap_mode="r"))


@torch.no_grad()
def _write(
    final: Path, teacher: Teacher, cache: FeatureCache, level: Level, draws: int, seed: int, device: torch.device
) -> None:
    work = final.with_name(f"{final.name}.{os.getpid()}.part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    count, channels, grid = len(cache), cache.features.shape[1], cache.features.shape[2]
    x0 = np.lib.format.open_memmap(work / "x0.npy", "w+", np.float16, (count, 48, grid, grid))
    f = np.lib.format.open_memmap(work / "f.npy", "w+", np.float16, (count, channels, grid, grid))
    generator = torch.Generator().manual_seed(seed)
    for start in track(range(0, count, BATCH), "Teacher's answers, averaged over noise"):
        rows = np.arange(start, min(start + BATCH, count))
        x, _ = cache.batch(rows, device)
        t = torch.full((len(rows),), level.timestep, device=device)
        sums: list[Tensor] = []
        for _ in range(draws):
            noise = torch.randn(x.shape, generator=generator).to(device)
            with autocast(device, enabled=bf16_is_native(device)):
                denoised = teacher(level.signal * x + level.noise * noise, t)
            parts = [denoised.x0, denoised.f]
            sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
        x0[rows], f[rows] = ((s / draws).half().cpu().numpy() for s in sums)
    x0.flush()
    f.flush()
    del x0, f
    work.rename(final)
