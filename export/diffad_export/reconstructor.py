"""The reconstructor: a denoiser at fixed levels with fixed noise, and the score made of what it says.

Worn by teacher and student alike, and exported as it is: parity of torch and graph is parity of this one module.
Same image, same map, bit for bit: the noise is a constant tensor.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffad_export.denoiser import BLOCK, Denoiser, ToBlocks
from diffad_export.diffusion.posterior import Level, level_at
from diffad_export.diffusion.schedule import linear_schedule, respace
from diffad_export.resampling import Resample
from diffad_export.score import (
    FeatureScore,
    NormalStatistics,
    feature_score,
    fuse,
    pixel_score,
)

CHAIN = 250  # the paper's respaced chain


@dataclass(frozen=True, slots=True)
class FeatureNorm:
    """Mean and standard deviation of each feature channel over the training images, (C,) float32."""

    mean: Tensor
    std: Tensor


def levels_of(chain_steps: tuple[int, ...]) -> tuple[Level, ...]:
    """Steps of the 250-step chain -> levels, each mapped to its t of the 1000-step chain."""
    chain = respace(linear_schedule(), CHAIN)
    return tuple(level_at(chain, step) for step in chain_steps)


def fixed_noise(levels: int, size: int, seed: int) -> Tensor:
    """(levels, 3, size, size) standard normal, from its own generator."""
    return torch.randn(levels, 3, size, size, generator=torch.Generator().manual_seed(seed))


class Reconstructor(nn.Module):
    """x, f -> fused map, pixel score, feature score.

    Args:
        denoiser: teacher or student.
        norm: standardisation of the features.
        levels: noise levels to visit; one network evaluation each.
        noise: (K, 3, S, S), one draw per level.
        kind: which feature score.
        alpha: weight of the pixel score.
        sigma: Gaussian smoothing in input pixels; 0 for none.
        statistics: frozen normal statistics; neutral until measured.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        norm: FeatureNorm,
        levels: tuple[Level, ...],
        noise: Tensor,
        *,
        kind: FeatureScore = "likelihood",
        alpha: float = 0.5,
        sigma: float = 0.0,
        statistics: NormalStatistics | None = None,
    ) -> None:
        super().__init__()
        self.denoiser, self.levels, self.kind, self.alpha = denoiser, levels, kind, alpha
        self.statistics = statistics or NormalStatistics.neutral(len(levels))
        self.register_buffer("noise", noise)
        self.register_buffer("mean", norm.mean)
        self.register_buffer("variance", norm.std.square())
        self.blocks = ToBlocks()
        size = noise.shape[-1]
        self.to_map = Resample(size // BLOCK, size, sigma / BLOCK)
        self.noise: Tensor
        self.mean: Tensor
        self.variance: Tensor

    def raw_scores(self, x: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        """Scores before standardisation: x (B, 3, S, S), f (B, C, G, G) -> two of (B, K, G, G)."""
        blocks = self.blocks(x)
        standard = F.batch_norm(f, self.mean, self.variance, eps=0.0)  # one pass over f where two would do
        pixels, features = [], []
        for k, level in enumerate(self.levels):
            x_t = level.signal * x + (level.noise * self.noise[k])[None]
            t = torch.full((x.shape[0],), level.timestep, dtype=torch.int64, device=x.device)
            denoised = self.denoiser(x_t, t)
            pixels.append(pixel_score(level, blocks, denoised))
            features.append(feature_score(self.kind, standard, denoised))
        return torch.stack(pixels, 1), torch.stack(features, 1)

    def forward(self, x: Tensor, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, 3, S, S) in [-1, 1], f (B, C, G, G) -> anomaly (B, S, S), pixel (B, G, G), feature (B, G, G)."""
        pixels, features = self.raw_scores(x, f)
        s = self.statistics
        pixel = _standardise(pixels, s.pixel_mean, s.pixel_std)
        feature = _standardise(features, s.feature_mean, s.feature_std)
        fused = fuse(pixel, feature, self.alpha)
        return self.to_map(fused), pixel, feature


def _standardise(scores: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(B, K, G, G) -> (B, G, G): each level by its own statistics, then the mean over the levels."""
    out = (scores[:, 0] - mean[0]) / std[0]
    for k in range(1, len(mean)):
        out = out + (scores[:, k] - mean[k]) / std[k]
    return out / len(mean)
