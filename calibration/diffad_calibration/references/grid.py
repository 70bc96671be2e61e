"""Features of several grids on one: what references want, whose every place has one vector of all channels.

Knows bilinear interpolation with half-pixel centres, as the exported graphs have it. Does not know where features
come from.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def on_finest_grid(features: Sequence[FloatArray]) -> FloatArray:
    """Bring features to the finest of their grids and put their channels one after the other.

    Args:
        features: float32 (N, C_i, g_i, g_i) each, one or more.

    Returns:
        float32 (N, sum of C_i, G, G), G the largest g_i; those already on it are copied as they are.
    """
    finest = max(one.shape[-1] for one in features)
    return np.concatenate([one if one.shape[-1] == finest else _enlarged(one, finest) for one in features], axis=1)


def bilinear_matrix(inside: int, outside: int) -> FloatArray:
    """float32 (outside, inside): row i holds the weights of bilinear interpolation, pixel centres at i + 0.5."""
    place = np.clip((np.arange(outside) + 0.5) * inside / outside - 0.5, 0, inside - 1)
    below = np.minimum(place.astype(np.int64), max(inside - 2, 0))
    matrix = np.zeros((outside, inside), np.float32)
    rows, share = np.arange(outside), (place - below).astype(np.float32)
    matrix[rows, below] = 1 - share
    matrix[rows, np.minimum(below + 1, inside - 1)] += share
    return matrix


def _enlarged(features: FloatArray, side: int) -> FloatArray:
    matrix = bilinear_matrix(features.shape[-1], side)
    return np.asarray(matrix @ (features @ matrix.T), np.float32)
