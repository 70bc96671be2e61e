"""The one signature that teacher, student and exported graph wear: `denoised = model(x_t, t, label)`.

Pixels are carried in blocks: (B, 48, G, G) with G = S / 4 holds the same numbers as (B, 3, S, S) (pixel-unshuffle by
4, channel = colour * 16 + row * 4 + column). The compact networks work on that grid, and scores live on it;
features may lie on a coarser one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffad_export.grids import Grids

BLOCK = 4
PIXELS = 3 * BLOCK * BLOCK


@dataclass(frozen=True, slots=True)
class Denoised:
    """What a denoiser makes of a noised image. G = S / 4, g_i = side and C_i = channels of the i-th feature grid.

    Attributes:
        x0: (B, 48, G, G), E[x0 | x_t] in blocks.
        v: (B, 48, G, G), variance interpolation of the reverse step in about [-1, 1].
        f: (B, C_i, g_i, g_i) each, E[features | x_t], standardised per channel; a teacher has one grid.
        f_log_var: as f, log-variance of the standardised features given x_t.
    """

    x0: Tensor
    v: Tensor
    f: Grids
    f_log_var: Grids


class Denoiser(nn.Module):
    """Base class for typing: forward(x_t (B, 3, S, S), t (B,) int64, label (B,) int64 or None) -> Denoised.

    `label` is the category's number where one network serves several; None, or -1 for an image, is "not said".
    A network without categories takes no notice of it.
    """

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:
        raise NotImplementedError(type(self).__name__)

    def at_level(self, k: int, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:  # noqa: ARG002
        """The answer at the k-th of the levels that are visited; a student has a part of its own for each."""
        return self(x_t, t, label)

    def __call__(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:
        out: Denoised = super().__call__(x_t, t, label)
        return out


def to_blocks(x: Tensor) -> Tensor:
    """(B, 3, S, S) -> (B, 48, G, G)."""
    return F.pixel_unshuffle(x, BLOCK)


class ToBlocks(nn.Module):
    """`to_blocks` as a convolution of zeros and ones: the same numbers, without the transposes of a pixel-unshuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.eye(PIXELS).view(PIXELS, 3, BLOCK, BLOCK), persistent=False)
        self.kernel: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 48, G, G)."""
        return F.conv2d(x, self.kernel, stride=BLOCK)


def from_blocks(blocks: Tensor) -> Tensor:
    """(B, 48, G, G) -> (B, 3, S, S); undoes `to_blocks`."""
    return F.pixel_shuffle(blocks, BLOCK)


def x0_from_eps(x_t: Tensor, eps: Tensor, abar_t: Tensor) -> Tensor:
    """The clean image that a predicted noise stands for; DDPM equation 15. x_t, eps (B, C, H, W), abar_t (B,)."""
    a = abar_t.view(-1, 1, 1, 1)
    return (x_t - (1 - a).sqrt() * eps) / a.sqrt()
