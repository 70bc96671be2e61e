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
from diffad_export.grids import FromOneGrid, GridLayout, Grids
from diffad_export.shards import Rows, ShardedArray, open_shards, write_shards
from diffad_export.training.loop import step_generator

FORMAT = 3


@dataclass(frozen=True, slots=True)
class TeacherTargets:
    """Averaged teacher answers at one level for every row of a feature cache, float16.

    Attributes:
        x0: (N, 48, G, G).
        f: (N, C_i, g_i, g_i) each, standardised.
    """

    x0: npt.NDArray[np.float16] | ShardedArray
    f: tuple[npt.NDArray[np.float16] | ShardedArray, ...]

    def batch(self, rows: npt.NDArray[np.int64], device: torch.device) -> tuple[Tensor, Grids]:
        """Rows -> x0 (B, 48, G, G), f (B, C_i, g_i, g_i) each, float32."""
        x0, *f = (torch.from_numpy(values[rows]).to(device).float() for values in (self.x0, *self.f))
        return x0, tuple(f)


def teacher_targets(
    folder: Path,
    teacher: Denoiser,
    cache: FeatureCache,
    level: Level,
    layout: GridLayout,
    *,
    draws: int,
    seed: int,
    world: World,
) -> TeacherTargets:
    """Open the targets of this teacher and cache, making first what of them is missing.

    To be called by all processes of `world`, each of which makes its share.

    Args:
        layout: of the student's features; the teacher's one grid is brought to it.
    """
    key = f"{weights_digest(teacher)} {cache.digest} {level.timestep} {layout} {draws} {seed} {FORMAT}"
    place = folder / f"targets-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    teacher.to(world.device)
    make = _maker(teacher, cache, level, layout, draws, seed, world.device)
    write_shards(place, len(cache), make, world, "Teacher's answers, averaged over noise")
    teacher.cpu()
    names = [f"f{stride}" for stride in layout.strides]
    arrays = open_shards(place, len(cache), ("x0", *names), world)
    return TeacherTargets(arrays["x0"], tuple(arrays[name] for name in names))


def _maker(
    teacher: Denoiser,
    cache: FeatureCache,
    level: Level,
    layout: GridLayout,
    draws: int,
    seed: int,
    device: torch.device,
) -> Callable[[Rows], dict[str, npt.NDArray[Any]]]:
    to_layout = FromOneGrid(layout, cache.images.shape[1], cache.grid_stride).to(device)

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
            parts = [denoised.x0, denoised.f[0]]
            sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
        x0, f = (s / draws for s in sums)
        grids = {f"f{stride}": part for stride, part in zip(layout.strides, to_layout(f), strict=True)}
        return {name: values.half().cpu().numpy() for name, values in {"x0": x0, **grids}.items()}

    return make
