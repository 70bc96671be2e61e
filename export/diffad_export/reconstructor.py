"""The reconstructor: a denoiser at fixed levels with fixed noise, and the score made of what it says.

Worn by teacher and student alike, and exported as it is: parity of torch and graph is parity of this one module.
Same image, same map, bit for bit: the noise is a constant tensor.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffad_export.denoiser import BLOCK, Denoised, Denoiser, ToBlocks
from diffad_export.diffusion.posterior import Level, level_at
from diffad_export.diffusion.schedule import linear_schedule, respace
from diffad_export.grids import GridLayout, Grids
from diffad_export.resampling import Resample
from diffad_export.score import FITTED_TENSORS, FittedScore, feature_terms, fuse, pixel_score

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


def fixed_noise(levels: int, size: int, seed: int, draws: int = 1) -> Tensor:
    """(levels, draws, 3, size, size) standard normal, from its own generator; every second draw mirrors the one before.

    Antithetic pairs: what is odd in the noise cancels in their mean.
    """
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(levels, (draws + 1) // 2, 3, size, size, generator=generator)
    return torch.stack([own, -own], 2).flatten(1, 2)[:, :draws].contiguous()


class Reconstructor(nn.Module):
    """x, f -> fused map, pixel score, feature score.

    Args:
        denoiser: teacher or student.
        norm: standardisation of the features.
        levels: noise levels to visit; one network evaluation each and for each draw.
        noise: (K, 3, S, S), one draw per level, or (K, D, 3, S, S).
        fitted: what was set on normal images.
        sigma: Gaussian smoothing of the fused map in input pixels; 0 for none.
        label: number of the category that the denoiser is told; None: it is not told.
        layout: of the features; one grid of S / 4 where not given.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        norm: FeatureNorm,
        levels: tuple[Level, ...],
        noise: Tensor,
        fitted: FittedScore,
        *,
        sigma: float = 0.0,
        label: int | None = None,
        layout: GridLayout | None = None,
    ) -> None:
        super().__init__()
        self.denoiser, self.levels, self.label, self.kind = denoiser, levels, label, fitted.kind
        self.register_buffer("noise", noise if noise.ndim == 5 else noise[:, None])
        self.register_buffer("mean", norm.mean)
        self.register_buffer("variance", norm.std.square())
        self.blocks = ToBlocks()
        size = int(noise.shape[-1])
        grid = size // BLOCK
        self.to_map = Resample(grid, size, sigma / BLOCK)
        self.layout = layout or GridLayout((BLOCK,), (len(norm.mean),))
        self.to_grid = nn.ModuleList(
            Resample(size // stride, grid) if stride != BLOCK else nn.Identity() for stride in self.layout.strides
        )
        for name in FITTED_TENSORS:
            self.register_buffer(name, getattr(fitted, name))
        self.alpha, self.floor = fitted.alpha, fitted.floor
        self.noise: Tensor
        self.mean: Tensor
        self.variance: Tensor
        self.channel_weight: Tensor
        self.whitening: Tensor | None

    @property
    def fitted(self) -> FittedScore:
        """What was set on normal images."""
        own = {name: getattr(self, name) for name in FITTED_TENSORS}
        return FittedScore(kind=self.kind, alpha=self.alpha, floor=self.floor, **own)

    def refit(self, fitted: FittedScore) -> "Reconstructor":
        """Take other statistics and weights, in place; gives itself."""
        self.kind, self.alpha, self.floor = fitted.kind, fitted.alpha, fitted.floor
        for name in FITTED_TENSORS:
            value = getattr(fitted, name)
            setattr(self, name, value if value is None else value.to(self.mean.device))
        return self

    def standardised(self, f: Grids) -> Grids:
        """f (B, C_i, g_i, g_i) of the extractor -> zero mean, unit variance per channel."""
        parts = zip(f, self.layout.split(self.mean), self.layout.split(self.variance), strict=True)
        # One pass over f where two would do.
        return tuple(F.batch_norm(own, mean, variance, eps=0.0) for own, mean, variance in parts)

    def on_blocks(self, maps: Grids) -> Tensor:
        """Maps (B, T, g_i, g_i) of each feature grid, brought to (B, T, G, G) and summed."""
        total = self.to_grid[0](maps[0])
        for resize, own in zip(self.to_grid[1:], maps[1:], strict=True):
            total = total + resize(own)
        out: Tensor = total
        return out

    def denoised(self, x: Tensor, k: int, draw: int = 0) -> Denoised:
        """The denoiser's answer at level k to x (B, 3, S, S) with the fixed noise of that level and draw."""
        level = self.levels[k]
        x_t = level.signal * x + (level.noise * self.noise[k, draw])[None]
        t = torch.full((x.shape[0],), level.timestep, dtype=torch.int64, device=x.device)
        return self.denoiser.at_level(k, x_t, t, None if self.label is None else torch.full_like(t, self.label))

    def raw_scores(self, x: Tensor, f: Grids) -> tuple[Tensor, Tensor]:
        """Not standardised: x (B, 3, S, S), f (B, C_i, g_i, g_i) -> pixel (B, K, G, G), features (B, T, K, G, G)."""
        blocks, standard, draws = self.blocks(x), self.standardised(f), int(self.noise.shape[1])
        pixels: list[Tensor] = []
        features: list[Tensor] = []
        for k, level in enumerate(self.levels):
            answers = []
            for draw in range(draws):
                denoised = self.denoised(x, k, draw)
                answers.append((pixel_score(level, blocks, denoised), self._feature_terms(standard, denoised, k)))
            pixel, feature = answers[0]
            for other in answers[1:]:
                pixel, feature = pixel + other[0], feature + other[1]
            if draws > 1:
                pixel, feature = pixel / draws, feature / draws
            pixels.append(pixel)
            features.append(feature)
        return torch.stack(pixels, 1), torch.stack(features, 2)

    def _feature_terms(self, standard: Grids, denoised: Denoised, k: int) -> Tensor:
        """(B, T, G, G): each term, summed over the feature grids."""
        layout, maps = self.layout, list[Tensor]()
        for i, (own, weight) in enumerate(zip(layout.slices(), layout.split(self.channel_weight), strict=True)):
            whitening = None if self.whitening is None else self.whitening[k][own, own]
            f, mean, log_var = standard[i], denoised.f[i], denoised.f_log_var[i]
            share = layout.channels[i] / layout.total
            terms = feature_terms(self.kind, f, mean, log_var, weight, whitening, self.floor, share=share)
            maps.append(torch.stack(terms, 1))
        return self.on_blocks(tuple(maps))

    def forward(self, x: Tensor, f: Grids) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, 3, S, S) in [-1, 1], f (B, C_i, g_i, g_i) -> anomaly (B, S, S), pixel (B, G, G), feature (B, G, G)."""
        return self.fuse(*self.raw_scores(x, f))

    def fuse(self, pixels: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`raw_scores` -> what `forward` gives."""
        s = self.fitted
        pixel = _weighted((pixels - s.pixel_mean) / s.pixel_std, s.pixel_weight)
        feature = _weighted(((features - s.feature_mean) / s.feature_std).flatten(1, 2), s.feature_weight.flatten())
        return self.to_map(fuse(pixel, feature, s.alpha)), pixel, feature


def _weighted(maps: Tensor, weight: Tensor) -> Tensor:
    """(B, N, G, G), (N,) -> (B, G, G)."""
    out = weight[0] * maps[:, 0]
    for n in range(1, maps.shape[1]):
        out = out + weight[n] * maps[:, n]
    return out
