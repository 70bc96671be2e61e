"""The compact teacher: the paper's UNet at a size that two cores can train.

Pixel-unshuffle stem, residual blocks with GroupNorm and SiLU, scale-shift time embedding (Dhariwal & Nichol 2021),
self-attention on the coarsest grid, heads for pixels (x0 or eps, and the variance interpolation) and for features
(mean and log-variance). Knows nothing of data, losses or scores.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffad_export.denoiser import PIXELS, Denoised, Denoiser, to_blocks
from diffad_export.diffusion.schedule import linear_schedule

GROUPS = 16


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
    """UNet on the G x G grid.

    Args:
        feature_channels: C.
        width: channels on the finest grid.
        multipliers: channels per level in units of `width`; every level halves the grid.
        blocks: residual blocks per level.
        prediction: what the pixel head gives: "x0", or "eps" as in the paper.
    """

    def __init__(
        self,
        feature_channels: int,
        width: int = 64,
        multipliers: tuple[int, ...] = (1, 2, 3, 3),
        blocks: int = 1,
        prediction: str = "eps",
    ) -> None:
        super().__init__()
        self.width, self.prediction = width, prediction
        embedding = 4 * width
        self.embed = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        self.stem = nn.Conv2d(PIXELS, width, 3, padding=1)
        widths = [width * m for m in multipliers]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, now = [width], width
        for level, out in enumerate(widths):
            stage = nn.ModuleList()
            for _ in range(blocks):
                stage.append(ResidualBlock(now, out, embedding))
                now = out
                skips.append(now)
            if level < len(widths) - 1:
                stage.append(nn.Conv2d(now, now, 3, stride=2, padding=1))
                skips.append(now)
            self.down.append(stage)
        self.middle1 = ResidualBlock(now, now, embedding)
        self.attention = SelfAttention(now)
        self.middle2 = ResidualBlock(now, now, embedding)
        for level, out in reversed(list(enumerate(widths))):
            stage = nn.ModuleList()
            for _ in range(blocks + 1):
                stage.append(ResidualBlock(now + skips.pop(), out, embedding))
                now = out
            if level > 0:
                stage.append(nn.Conv2d(now, now, 3, padding=1))
            self.up.append(stage)
        self.norm = nn.GroupNorm(GROUPS, now)
        self.pixel_head = _zeroed(nn.Conv2d(now, 2 * PIXELS, 3, padding=1))
        self.feature_head = nn.Conv2d(now, feature_channels, 1)
        self.variance_head = _zeroed(nn.Conv2d(now, feature_channels, 1))
        self.register_buffer("abar", linear_schedule().abar.float(), persistent=False)

    def forward(self, x_t: Tensor, t: Tensor) -> Denoised:
        """x_t (B, 3, S, S), t (B,) int64 in [0, 1000) -> Denoised."""
        embedding = self.embed(time_embedding(t, self.width))
        blocks_t = to_blocks(x_t)
        h = self.stem(blocks_t)
        skips = [h]
        for stage in self.down:
            for layer in cast(nn.ModuleList, stage):
                h = layer(h, embedding) if isinstance(layer, ResidualBlock) else layer(h)
                skips.append(h)
        h = self.middle2(self.attention(self.middle1(h, embedding)), embedding)
        for stage in self.up:
            for layer in cast(nn.ModuleList, stage):
                if isinstance(layer, ResidualBlock):
                    h = layer(torch.cat([h, skips.pop()], 1), embedding)
                else:
                    h = layer(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        h = F.silu(self.norm(h))
        pixels, v = self.pixel_head(h).float().chunk(2, 1)
        if self.prediction == "eps":
            a = self.abar[t].view(-1, 1, 1, 1)  # type: ignore[index]
            pixels = (blocks_t - (1 - a).sqrt() * pixels) / a.sqrt()
        return Denoised(pixels, v, self.feature_head(h).float(), self.variance_head(h).float())
