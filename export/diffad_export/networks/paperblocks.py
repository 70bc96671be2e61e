"""The blocks of the paper's UNet: residual block with FiLM and resampling inside, self-attention with legacy heads.

Sub-modules carry the names and shapes of the guided-diffusion checkpoints (Dhariwal & Nichol 2021), so that published
weights load without a table of names. Knows nothing of levels, skips, heads or how the blocks are put together.
"""

from typing import Literal, TypeVar

from torch import Tensor, nn
from torch.nn import functional as F

Resample = Literal["none", "down", "up"]
LayerT = TypeVar("LayerT", bound=nn.Module)


def zeroed(layer: LayerT) -> LayerT:
    """Set every parameter of `layer` to zero, in place; returns it."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def resampled(h: Tensor, how: Resample) -> Tensor:
    """(B, C, H, W) -> the same, halved by 2 x 2 means, or doubled by repetition."""
    if how == "down":
        return F.avg_pool2d(h, 2)
    return F.interpolate(h, scale_factor=2.0, mode="nearest") if how == "up" else h


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, FiLM before the second, which starts as zeros: the block begins as its skip path.

    Args:
        inside, outside: channels.
        embedding: width E of the conditioning vector.
        groups: of both GroupNorms.
        resample: halves or doubles the grid, on both paths, after the first norm and before the first convolution.
    """

    def __init__(self, inside: int, outside: int, embedding: int, groups: int, resample: Resample = "none") -> None:
        super().__init__()
        self.resample: Resample = resample
        self.in_layers = nn.Sequential(
            nn.GroupNorm(groups, inside), nn.SiLU(), nn.Conv2d(inside, outside, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * outside))
        # Place 2 is the checkpoints' dropout, which the 256 px model does not use.
        last = zeroed(nn.Conv2d(outside, outside, 3, padding=1))
        self.out_layers = nn.Sequential(nn.GroupNorm(groups, outside), nn.SiLU(), nn.Identity(), last)
        self.skip_connection = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """h (B, inside, H, W), embedding (B, E) -> (B, outside, H', W')."""
        norm, activation, conv = self.in_layers
        out = conv(resampled(activation(norm(h)), self.resample))
        scale, shift = self.emb_layers(embedding)[:, :, None, None].chunk(2, 1)
        norm, activation, _, conv = self.out_layers
        out = conv(activation(norm(out) * (1 + scale) + shift))
        result: Tensor = self.skip_connection(resampled(h, self.resample)) + out
        return result


class SelfAttention(nn.Module):
    """Multi-head self-attention over all places of a grid, with a residual; its output starts as zeros.

    The channels of `qkv` are ordered head by head, each with its q, its k, its v (the "legacy" order of the 256 px
    model). Scores are scaled by 1 / sqrt(head_width).

    Args:
        width: channels; a multiple of `head_width`.
        groups: of the GroupNorm.
        head_width: channels per head.
    """

    def __init__(self, width: int, groups: int, head_width: int) -> None:
        super().__init__()
        self.heads = width // head_width
        self.norm = nn.GroupNorm(groups, width)
        # One-dimensional, because that is the shape of the published weights.
        self.qkv = nn.Conv1d(width, 3 * width, 1)
        self.proj_out = zeroed(nn.Conv1d(width, width, 1))

    def forward(self, h: Tensor) -> Tensor:
        """(B, width, H, W) -> the same shape."""
        b, c, height, wide = h.shape
        flat = h.reshape(b, c, height * wide)
        qkv = self.qkv(self.norm(flat)).reshape(b, self.heads, 3, c // self.heads, height * wide)
        q, k, v = qkv.transpose(-1, -2).unbind(2)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, c, height * wide)
        result: Tensor = h + self.proj_out(mixed).reshape(h.shape)
        return result
