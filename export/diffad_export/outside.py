"""A published detector, to time ours against: PaDiM on ResNet-18. For time only: its weights are random.

PaDiM, Defard et al., arXiv:2011.08785: layers 1 to 3 of a ResNet-18 on one grid, 100 of their 448 channels drawn at
random, Mahalanobis distance at every place with an inverse covariance of its own, bilinear enlargement and a Gaussian
of 4 pixels. Written as one FP32 graph, image in and map out, in the forms that onnxruntime runs fastest: channels
drawn before they are enlarged, enlargement and Gaussian as one pair of matrix products. Knows no bundle and no clock.
Weights do not change what convolutions and matrix products cost. At 256 px the inverse covariances are 164 MB, and
reading them is a good part of the time: that is the method, not the writing.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffad_export.backbone.extractor import normalise
from diffad_export.graphs import onnx_bytes
from diffad_export.resampling import bilinear_matrix, gaussian_matrix

CHANNELS = (64, 128, 256)
DRAWN = 100
GRID_STRIDE = 4
SIGMA = 4.0


class PaDiMResNet18(nn.Module):
    """uint8 (1, S, S, 3) -> float32 (1, S, S).

    Args:
        size: S, a multiple of 16.
        seed: of the weights and of the channels drawn.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.stem = nn.Sequential(*_convolution(3, CHANNELS[0], 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        widths = (CHANNELS[0], *CHANNELS)
        self.layers = nn.ModuleList(
            nn.Sequential(_Block(widths[i], widths[i + 1], 1 if i == 0 else 2), _Block(widths[i + 1], widths[i + 1]))
            for i in range(3)
        )
        for weight in self.parameters():
            if weight.ndim == 4:
                nn.init.normal_(weight, std=(2 / weight[0].numel()) ** 0.5, generator=generator)
        drawn = torch.randperm(sum(CHANNELS), generator=generator)[:DRAWN].sort().values
        # Which of each layer's own channels were drawn.
        starts = [sum(CHANNELS[:i]) for i in range(3)]
        own = [drawn[(drawn >= a) & (drawn < a + c)] - a for a, c in zip(starts, CHANNELS, strict=True)]
        for i, channels in enumerate(own):
            self.register_buffer(f"drawn{i}", channels)
        grid = size // GRID_STRIDE
        factor = torch.randn(grid * grid, DRAWN, DRAWN, generator=generator) / DRAWN
        self.register_buffer("mean", torch.randn(grid * grid, 1, DRAWN, generator=generator))
        self.register_buffer("inverse", factor @ factor.transpose(1, 2) + torch.eye(DRAWN) / DRAWN)
        enlarge = gaussian_matrix(size, SIGMA) @ bilinear_matrix(grid, size)
        self.register_buffer("left", enlarge.float())
        self.register_buffer("right", enlarge.T.contiguous().float())
        self.mean: Tensor
        self.inverse: Tensor
        self.left: Tensor
        self.right: Tensor
        self.eval().requires_grad_(False)

    def features(self, image: Tensor) -> Tensor:
        """uint8 (1, S, S, 3) -> float32 (1, 100, G, G), G = S / 4."""
        h, parts = self.stem(normalise(image)), []
        for i, layer in enumerate(self.layers):
            h = layer(h)
            part = h.index_select(1, self.get_buffer(f"drawn{i}"))
            parts.append(part if i == 0 else F.interpolate(part, scale_factor=2.0**i, mode="nearest"))
        return torch.cat(parts, 1)

    def forward(self, image: Tensor) -> Tensor:
        """uint8 (1, S, S, 3) -> Mahalanobis distances, float32 (1, S, S)."""
        f = self.features(image)
        grid = f.shape[-1]
        centred = f.flatten(2).permute(2, 0, 1) - self.mean
        squared = (torch.bmm(centred, self.inverse) * centred).sum(-1)
        return self.left @ (squared.sqrt().reshape(1, grid, grid) @ self.right)


class _Block(nn.Module):
    """Two 3 x 3 convolutions and a skip: He et al., arXiv:1512.03385, figure 5, left."""

    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(inside, outside, 3, stride), nn.ReLU(), *_convolution(outside, outside, 3)
        )
        same = inside == outside and stride == 1
        self.skip = nn.Identity() if same else nn.Sequential(*_convolution(inside, outside, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


def padim_graph(size: int, seed: int = 0) -> bytes:
    """image uint8 (1, S, S, 3) -> anomaly_map float32 (1, S, S), as ONNX bytes: 175 MB at 256 px."""
    return onnx_bytes(PaDiMResNet18(size, seed), (torch.zeros(1, size, size, 3, dtype=torch.uint8),), ["image"], [MAP])


MAP = "anomaly_map"


def _convolution(inside: int, outside: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outside)
