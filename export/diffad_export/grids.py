"""Where features lie: all strides on one grid, as the paper has them, or each coarse stride on a grid of its own.

One grid is what the teacher predicts and what the cache holds. On their own grids the same features are 3.4 times fewer
numbers (EfficientNet-Lite0), which is most of what a student's score costs. Either way channels stand in the order of
the strides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffad_export.resampling import bilinear_matrix

Grids = tuple[Tensor, ...]
"""Features (B, C_i, g_i, g_i), finest grid first."""


@dataclass(frozen=True, slots=True)
class GridLayout:
    """Pixels to a cell along a side, and channels, of each grid, finest first."""

    strides: tuple[int, ...]
    channels: tuple[int, ...]

    @staticmethod
    def single(channels: Sequence[int], grid_stride: int) -> "GridLayout":
        """All channels on one grid."""
        return GridLayout((grid_stride,), (sum(channels),))

    @staticmethod
    def pyramid(strides: Sequence[int], channels: Sequence[int], grid_stride: int) -> "GridLayout":
        """Each of the backbone's `strides` on its own grid, those finer than `grid_stride` on that one."""
        sums: dict[int, int] = {}
        for stride, count in zip(strides, channels, strict=True):
            at = max(stride, grid_stride)
            sums[at] = sums.get(at, 0) + count
        return GridLayout(tuple(sums), tuple(sums.values()))

    @property
    def total(self) -> int:
        """Channels of all grids."""
        return sum(self.channels)

    def slices(self) -> list[slice]:
        """Of the concatenated channels, those of each grid."""
        ends = [sum(self.channels[: i + 1]) for i in range(len(self.channels))]
        return [slice(end - count, end) for end, count in zip(ends, self.channels, strict=True)]

    def split(self, per_channel: Tensor, dim: int = 0) -> list[Tensor]:
        """Values for each channel, along `dim`, in parts for each grid."""
        return list(torch.split(per_channel, list(self.channels), dim))


class FromOneGrid(nn.Module):
    """Features on one grid -> the grids of a layout.

    The one grid holds coarse features bilinearly enlarged, so the least-squares inverse of that gives them back; what
    a network predicted on the one grid is brought to the nearest features that could have been enlarged to it.

    Args:
        layout: wanted.
        size: S of the images.
        grid_stride: of the one grid.
    """

    def __init__(self, layout: GridLayout, size: int, grid_stride: int) -> None:
        super().__init__()
        self.layout = layout
        for stride in layout.strides:
            enlarge = bilinear_matrix(size // stride, size // grid_stride)
            inverse = torch.linalg.pinv(enlarge).float()
            self.register_buffer(f"left{stride}", inverse, persistent=False)
            self.register_buffer(f"right{stride}", inverse.T.contiguous(), persistent=False)
        self.same = tuple(stride == grid_stride for stride in layout.strides)

    def forward(self, f: Tensor) -> Grids:
        """f (B, C, G, G) -> (B, C_i, g_i, g_i) each."""
        parts = []
        for part, stride, same in zip(self.layout.split(f, 1), self.layout.strides, self.same, strict=True):
            parts.append(part if same else getattr(self, f"left{stride}") @ (part @ getattr(self, f"right{stride}")))
        return tuple(parts)
