"""From a frame to x and f: normalisation, frozen EfficientNet, four taps, one grid.

Knows colour order and value range; each network has a sibling file that only names its stages.
Colours stay BGR all the way: the diffusion does not care, and the network's first convolution is re-ordered instead.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffad_export.grids import GridLayout, Grids
from diffad_export.resampling import Resample

STRIDES = (2, 4, 8, 16)
GRID_STRIDE = 4


@dataclass(frozen=True, slots=True)
class BackboneFacts:
    """What a manifest says of a backbone. `mean` and `std` are of pixel values in [0, 1], RGB order."""

    name: str
    channels: tuple[int, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    licence: str


class Extractor(nn.Module):
    """uint8 frame -> x and features.

    Args:
        stages: four modules; stage i takes stage i - 1's output (the first takes the image) to stride 2 ** (i + 1).
        facts: what the stages are.
        strides: those of STRIDES whose activations are features, growing.
        grid_stride: features lie on a grid of S / grid_stride cells a side.
        pyramid: `grids` leaves coarser strides on their own grids.

    The stages must already take BGR input (`to_bgr` re-orders a first convolution).
    """

    def __init__(
        self,
        stages: list[nn.Module],
        facts: BackboneFacts,
        strides: tuple[int, ...] = STRIDES,
        grid_stride: int = GRID_STRIDE,
        *,
        pyramid: bool = False,
    ) -> None:
        super().__init__()
        self.strides, self.grid_stride, self.pyramid = strides, grid_stride, pyramid
        # Stages beyond the deepest stride that is wanted are not run at all.
        self.stages, self.facts = nn.ModuleList(stages[: STRIDES.index(max(strides)) + 1]), facts
        mean, std = torch.tensor(facts.mean).flip(0), torch.tensor(facts.std).flip(0)
        # pixel / 255 = (x + 1) / 2, so ((x + 1) / 2 - mean) / std = x * gain + offset
        self.register_buffer("gain", (0.5 / std).view(1, 3, 1, 1))
        self.register_buffer("offset", ((0.5 - mean) / std).view(1, 3, 1, 1))
        self.gain: Tensor
        self.offset: Tensor
        self.eval().requires_grad_(False)

    @property
    def channels(self) -> tuple[int, ...]:
        """Feature channels of each of `strides`; they stand one after the other in f."""
        return tuple(self.facts.channels[STRIDES.index(stride)] for stride in self.strides)

    @property
    def layout(self) -> GridLayout:
        """Of `grids`."""
        if self.pyramid:
            return GridLayout.pyramid(self.strides, self.channels, self.grid_stride)
        return GridLayout.single(self.channels, self.grid_stride)

    def as_pyramid(self) -> "Extractor":
        """The same stages, coarser strides on their own grids."""
        return Extractor(list(self.stages), self.facts, self.strides, self.grid_stride, pyramid=True)

    def taps(self, x: Tensor) -> list[Tensor]:
        """x (B, 3, S, S) in [-1, 1], BGR -> the activation at each of `strides`."""
        h, out = x * self.gain + self.offset, []
        for stride, stage in zip(STRIDES, self.stages, strict=False):
            h = stage(h)
            if stride in self.strides:
                out.append(h)
        return out

    def features(self, x: Tensor) -> Tensor:
        """x (B, 3, S, S) -> f (B, C, G, G), G = S / grid_stride: every tap brought to one grid, concatenated."""
        side = x.shape[-1] // self.grid_stride
        return torch.cat([self._on_grid(h, side) for h in self.taps(x)], 1)

    def grids(self, x: Tensor) -> Grids:
        """x (B, 3, S, S) -> features as `layout` says: `features` alone, or (B, C_i, g_i, g_i) each, finest first."""
        if not self.pyramid:
            return (self.features(x),)
        size, parts = x.shape[-1], dict[int, list[Tensor]]()
        for stride, h in zip(self.strides, self.taps(x), strict=True):
            at = max(stride, self.grid_stride)
            parts.setdefault(at, []).append(self._on_grid(h, size // at))
        return tuple(torch.cat(part, 1) if len(part) > 1 else part[0] for part in parts.values())

    def _on_grid(self, h: Tensor, side: int) -> Tensor:
        if h.shape[-1] == side:
            return h
        if h.shape[-1] > side:
            # The mean over each cell: at half the size that is bilinear interpolation, beyond it does not alias.
            return F.avg_pool2d(h, h.shape[-1] // side)
        resized: Tensor = Resample(h.shape[-1], side).to(h.device)(h)
        return resized

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """image uint8 (B, S, S, 3), BGR -> x (B, 3, S, S), then `grids`."""
        x = normalise(image)
        return x, *self.grids(x)


def normalise(image: Tensor) -> Tensor:
    """uint8 (B, S, S, 3) in 0..255 -> float32 (B, 3, S, S) in [-1, 1]; colour order untouched."""
    # float before permute: TensorRT takes uint8 at its door and nowhere else.
    return image.float().permute(0, 3, 1, 2) * (2 / 255) - 1


def to_bgr(convolution: nn.Conv2d) -> None:
    """Re-order the input channels of a network's first convolution, in place, so that it takes BGR."""
    with torch.no_grad():
        convolution.weight.copy_(convolution.weight.flip(1))
