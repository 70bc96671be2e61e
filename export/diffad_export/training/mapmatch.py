"""Matching of the final map: on pasted defects the student's map should run as the teacher's does.

Good images alone give the map no gradient where it matters. The two maps differ in scale and offset by nature, so what
is matched is their correlation over a batch, of values squashed so that a few loud pixels do not decide.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from diffad_export.backbone.extractor import normalise
from diffad_export.diffusion.posterior import Level
from diffad_export.distributed import Share
from diffad_export.grids import GridLayout, Grids
from diffad_export.resampling import Resample
from diffad_export.score import feature_terms
from diffad_runtime.result import Image


@dataclass(frozen=True, slots=True)
class MapBank:
    """Images with pasted defects, and what the teacher sees in them.

    Attributes:
        images: uint8 (N, S, S, 3).
        features: float16 (N, C_i, g_i, g_i) each, standardised, of these images as they are.
        maps: float32 (N, G, G), the teacher's fused score before it is enlarged, standardised on good images.
    """

    images: Image
    features: tuple[npt.NDArray[np.float16], ...]
    maps: npt.NDArray[np.float32]


class MapMatching:
    """1 - correlation of student's and teacher's maps.

    Args:
        bank: what is matched on.
        layout: of the features.
        levels: of the student.
    """

    def __init__(self, bank: MapBank, layout: GridLayout, levels: tuple[Level, ...]) -> None:
        self.bank, self.layout, self.levels = bank, layout, levels
        size, grid = bank.images.shape[1], bank.maps.shape[-1]
        self.resize = [Resample(size // stride, grid) for stride in layout.strides]

    def mismatch(self, network: nn.Module, generator: torch.Generator, count: int, share: Share) -> Tensor:
        """Over `count` images of the bank, of which this process takes its share; noise is drawn anew."""
        device = next(network.parameters()).device
        rows = share.of(torch.randint(0, len(self.bank.images), (count,), generator=generator))
        picked = rows.numpy()
        x = normalise(torch.from_numpy(self.bank.images[picked]).to(device))
        features = tuple(torch.from_numpy(part[picked]).to(device).float() for part in self.bank.features)
        own: Tensor | None = None
        for k, level in enumerate(self.levels):
            noise = share.of(torch.randn((count, *x.shape[1:]), generator=generator)).to(device)
            index = torch.full((len(x),), k, device=device)
            denoised = network(level.signal * x + level.noise * noise, index)
            one = self._map(features, denoised.f, denoised.f_log_var)
            own = one if own is None else own + one
        if own is None:
            raise ValueError("a student without levels")
        return 1 - correlation(own / len(self.levels), torch.from_numpy(self.bank.maps[picked]).to(device))

    def _map(self, features: Grids, means: Grids, log_vars: Grids) -> Tensor:
        total: Tensor | None = None
        for i, resize in enumerate(self.resize):
            channels = self.layout.channels[i]
            weight = features[i].new_full((channels,), 1 / self.layout.total)
            (term,) = feature_terms("likelihood", features[i], means[i], log_vars[i], weight, None)
            one = resize.to(term.device)(term)
            total = one if total is None else total + one
        if total is None:
            raise ValueError("a layout without grids")
        return total


def correlation(own: Tensor, other: Tensor) -> Tensor:
    """Pearson's, over all values of both (B, G, G), each standardised and squashed by asinh first."""
    a, b = (torch.asinh((m - m.mean()) / m.var().clamp_min(1e-12).sqrt()) for m in (own.float(), other.float()))
    a, b = a - a.mean(), b - b.mean()
    return (a * b).mean() / (a.square().mean() * b.square().mean()).clamp_min(1e-12).sqrt()
