"""Whether something grows: a slope that single jumps do not move.

Pure: samples in, numbers out.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def slope(seconds: Sequence[float], values: Sequence[float]) -> float:
    """Growth a second, by Theil and Sen: the median of the slopes of all pairs (P. K. Sen, JASA 63, 1968).

    Of more than 400 samples, 400 evenly chosen ones. 0.0 for fewer than two different times.
    """
    t: npt.NDArray[np.float64] = np.asarray(seconds, np.float64)
    y: npt.NDArray[np.float64] = np.asarray(values, np.float64)
    if t.size > 400:
        chosen = np.linspace(0, t.size - 1, 400).round().astype(int)
        t, y = t[chosen], y[chosen]
    first, second = np.triu_indices(t.size, 1)
    apart = t[second] - t[first]
    moved = (y[second] - y[first])[apart > 0]
    return float(np.median(moved / apart[apart > 0])) if moved.size else 0.0


def rise(values: Sequence[float]) -> float:
    """How much the highest of the last third lies above the highest of the first third; 0.0 for fewer than three."""
    third = len(values) // 3
    return float(max(values[-third:]) - max(values[:third])) if third else 0.0
