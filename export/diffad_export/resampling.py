"""Resizing and smoothing of maps as products with constant matrices.

Bilinear resizing and Gaussian smoothing are linear and separable: a map a becomes L a R^T. Two small matrix products
take a third of the time of ONNX's Resize on a CPU, and smoothing costs nothing on top.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def bilinear_matrix(inside: int, outside: int) -> Tensor:
    """(outside, inside) float64: row i holds the weights of bilinear interpolation with half-pixel centres."""
    eye = torch.eye(inside, dtype=torch.float64)
    return F.interpolate(eye[None], size=outside, mode="linear", align_corners=False)[0].T.contiguous()


def gaussian_matrix(side: int, sigma: float) -> Tensor:
    """(side, side) float64: a Gaussian cut at 3 sigma, edges replicated; sigma in cells, 0 for none."""
    if sigma <= 0:
        return torch.eye(side, dtype=torch.float64)
    radius = max(1, int(torch.ceil(torch.tensor(3 * sigma))))
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
    matrix = torch.zeros(side, side, dtype=torch.float64)
    for row in range(side):
        for offset, weight in zip(range(-radius, radius + 1), line / line.sum(), strict=True):
            matrix[row, min(max(row + offset, 0), side - 1)] += weight
    return matrix


class Resample(nn.Module):
    """Smooth square maps, then resize them: (..., inside, inside) -> (..., outside, outside).

    Args:
        inside, outside: sides of the maps.
        sigma: Gaussian smoothing before resizing, in cells of the input.
    """

    def __init__(self, inside: int, outside: int, sigma: float = 0.0) -> None:
        super().__init__()
        matrix = bilinear_matrix(inside, outside) @ gaussian_matrix(inside, sigma)
        self.register_buffer("left", matrix.float(), persistent=False)
        self.register_buffer("right", matrix.T.contiguous().float(), persistent=False)
        self.left: Tensor
        self.right: Tensor

    def forward(self, maps: Tensor) -> Tensor:
        """Resample the last two axes."""
        return self.left @ (maps @ self.right)
