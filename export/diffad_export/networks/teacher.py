"""The compact teacher: the paper's UNet at a size that two cores can train.

Pixel-unshuffle stem, residual blocks with GroupNorm and SiLU, scale-shift time embedding (Dhariwal & Nichol 2021),
self-attention on the coarsest grid, heads for pixels (x0 or eps, and the variance interpolation) and for features
(mean and log-variance). Knows nothing of data, losses or scores.
"""

import math
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffad_export.denoiser import BLOCK, PIXELS, Denoised, Denoiser, to_blocks, x0_from_eps
from diffad_export.diffusion.schedule import linear_schedule

GROUPS = 16
SINUSOIDS = 64
EMBEDDING = 256
HEAD_WIDTH = 128


def time_embedding(t: Tensor, width: int) -> Tensor:
    """Sinusoids of t: (B,) -> (B, width); Vaswani et al. 2017, as in DDPM."""
    half = width // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * rates[None]
    return torch.cat([angles.cos(), angles.sin()], 1)


def _zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ResidualBlock(nn.Module):
    """Two convolutions with scale-shift conditioning in between; identity at the start of training."""

    def __init__(self, inside: int, outside: int, embedding: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.condition = nn.Linear(embedding, 2 * outside)
        self.norm2 = nn.GroupNorm(GROUPS, outside)
        self.conv2 = _zeroed(nn.Conv2d(outside, outside, 3, padding=1))
        self.skip: nn.Module = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """h (B, inside, H, W), embedding (B, E) -> (B, outside, H, W)."""
        out = self.conv1(F.silu(self.norm1(h)))
        scale, shift = self.condition(embedding)[:, :, None, None].chunk(2, 1)
        out = self.conv2(F.silu(self.norm2(out) * (1 + scale) + shift))
        result: Tensor = self.skip(h) + out
        return result


class SelfAttention(nn.Module):
    """Multi-head self-attention over all places of a coarse grid, with a residual."""

    def __init__(self, width: int, head_width: int = 64) -> None:
        super().__init__()
        self.heads = max(1, width // head_width)
        self.norm = nn.GroupNorm(GROUPS, width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = _zeroed(nn.Conv2d(width, width, 1))

    def forward(self, h: Tensor) -> Tensor:
        """(B, width, H, W) -> the same shape."""
        b, c, height, wide = h.shape
        q, k, v = self.qkv(self.norm(h)).view(b, 3, self.heads, c // self.heads, -1).transpose(-1, -2).unbind(1)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, c, height, wide)
        result: Tensor = h + self.out(mixed)
        return result


class Teacher(Denoiser):
    """UNet on the grid of S / 4.

    Skips are added, not concatenated, and widths change at half the size: both keep the finest grid, where the time
    goes, cheap.

    Args:
        feature_channels: C.
        widths: channels per level, finest first; every level halves the grid.
        blocks: residual blocks per level and direction.
        prediction: what the pixel head gives: "x0", or "eps" as in the paper.
        grid_stride: features lie on a grid of S / grid_stride cells a side.
        classes: categories that the network can be told; 0 for none.
    """

    def __init__(
        self,
        feature_channels: int,
        widths: tuple[int, ...] = (48, 96, 192, 256),
        blocks: int = 1,
        prediction: str = "eps",
        grid_stride: int = BLOCK,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.prediction, self.pooling = prediction, grid_stride // BLOCK
        finest, coarsest = widths[0], widths[-1]
        self.embed = nn.Sequential(
            nn.Linear(SINUSOIDS, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING), nn.SiLU()
        )
        self.categories = nn.Embedding(classes + 1, EMBEDDING) if classes else None
        self.stem = nn.Conv2d(PIXELS, finest, 1)
        self.down = nn.ModuleList(_stage(width, blocks) for width in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.attention = SelfAttention(coarsest)
        self.middle = ResidualBlock(coarsest, coarsest, EMBEDDING)
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(_stage(width, blocks) for width in widths[:-1])
        self.norm = nn.GroupNorm(GROUPS, finest)
        self.pixel_head = _zeroed(nn.Conv2d(finest, 2 * PIXELS, 1))
        self.widen = nn.Conv2d(finest, HEAD_WIDTH, 1)
        self.feature_head = nn.Conv2d(HEAD_WIDTH, feature_channels, 1)
        self.variance_head = _zeroed(nn.Conv2d(HEAD_WIDTH, feature_channels, 1))
        self.register_buffer("abar", linear_schedule().abar.float(), persistent=False)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:
        """x_t (B, 3, S, S), t (B,) int64 in [0, 1000), label (B,) int64, -1 or None: not said -> Denoised."""
        embedding = self._condition(t, label)
        blocks_t = to_blocks(x_t)
        h, skips = self.stem(blocks_t), []
        for level, stage in enumerate(self.down):
            h = _run(stage, h, embedding)
            if level < len(self.shrink):
                skips.append(h)
                h = self.shrink[level](h)
        h = self.middle(self.attention(h), embedding)
        for level in reversed(range(len(self.up))):
            h = F.interpolate(self.grow[level](h), scale_factor=2.0, mode="nearest") + skips[level]
            h = _run(self.up[level], h, embedding)
        h = F.silu(self.norm(h))
        pixels, v = self.pixel_head(h).float().chunk(2, 1)
        if self.prediction == "eps":
            pixels = x0_from_eps(blocks_t, pixels, self.abar[t])  # type: ignore[index]
        g = F.silu(self.widen(F.avg_pool2d(h, self.pooling) if self.pooling > 1 else h))
        return Denoised(pixels, v, (self.feature_head(g).float(),), (self.variance_head(g).float(),))

    def _condition(self, t: Tensor, label: Tensor | None) -> Tensor:
        embedding: Tensor = self.embed(time_embedding(t, SINUSOIDS))
        if self.categories is None:
            return embedding
        # Row 0 stands for "not said", so that -1 finds it.
        known = torch.zeros_like(t) if label is None else label + 1
        told: Tensor = embedding + self.categories(known)
        return told


def _stage(width: int, blocks: int) -> nn.ModuleList:
    return nn.ModuleList(ResidualBlock(width, width, EMBEDDING) for _ in range(blocks))


def _run(stage: nn.Module, h: Tensor, embedding: Tensor) -> Tensor:
    for block in cast(nn.ModuleList, stage):
        h = block(h, embedding)
    return h
