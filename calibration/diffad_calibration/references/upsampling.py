"""From a score per feature-grid cell to a smooth map at input size, the same for every reference."""

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def upsample(scores: FloatArray, size: int) -> FloatArray:
    """Bilinear with half-pixel centres, then a Gaussian of sigma = size / 64 pixels (4 at 256 px, as PaDiM has it).

    Args:
        scores: float32 (N, G, G).
        size: S, side of the maps, pixels.

    Returns:
        float32 (N, S, S).
    """
    maps = np.empty((len(scores), size, size), np.float32)
    for index, grid in enumerate(scores):
        enlarged = cv2.resize(np.ascontiguousarray(grid), (size, size), interpolation=cv2.INTER_LINEAR)
        maps[index] = cv2.GaussianBlur(enlarged, (0, 0), size / 64)
    return maps
