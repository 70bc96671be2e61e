"""From a histogram to the range that 8 bits are spread over: min-max, percentile, entropy, mean squared error.

Knows histograms. Does not know graphs. A range always holds 0, which a quantiser must hit exactly.

    minmax      nothing is clipped
    percentile  the smallest range that holds a share of the values on each side
    entropy     least Kullback-Leibler divergence between values and rounded values (Migacz, 8-bit Inference with
                TensorRT, GTC 2017), on magnitudes
    mse         least expected squared error of rounding and clipping together
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from diffad_calibration.precision.ranges.histogram import Histogram
from diffad_runtime.errors import DataError

ESTIMATORS = ("minmax", "percentile", "entropy", "mse")
PERCENTILE = 0.999999
_LEVELS = 255
_MAGNITUDES = 128
# Of the extremes: an outlier may lie far beyond all else. The second grid lies around the best of the first.
_SHARES = np.geomspace(1 / 64, 1, 25)
_NEARER = np.geomspace(0.85, 1 / 0.85, 9)

Range = tuple[float, float]


def estimate(kind: str, histogram: Histogram, *, symmetric: bool) -> Range:
    """Low and high end, low <= 0 <= high.

    Args:
        kind: one of ESTIMATORS.
        symmetric: the quantiser spreads its levels over [-m, m]; else over [low, high].

    Raises:
        DataError: an unknown kind, or nothing was counted.
    """
    if kind not in _BY_NAME:
        raise DataError(f"unknown range estimator {kind!r}", mend=f"Choose from: {', '.join(ESTIMATORS)}")
    if histogram.total == 0:
        raise DataError("a tensor was never seen while calibrating", mend="Calibrate on at least one frame")
    low, high = _BY_NAME[kind](histogram, symmetric)
    low, high = max(min(low, 0.0), min(histogram.low, 0.0)), min(max(high, 0.0), max(histogram.high, 0.0))
    return float(low), float(high)


def _min_max(histogram: Histogram, symmetric: bool) -> Range:  # noqa: ARG001  the ends are the ends
    return histogram.low, histogram.high


def _percentile(histogram: Histogram, symmetric: bool) -> Range:  # noqa: ARG001
    seen = np.cumsum(histogram.counts)
    lost = int((1 - PERCENTILE) * histogram.total + 1e-6)  # on each side; 1 - PERCENTILE may lie just below
    first, last = np.searchsorted(seen, lost, "right"), np.searchsorted(seen, histogram.total - lost, "left")
    edges = np.append(histogram.centres - histogram.width / 2, histogram.limit)
    return float(edges[first]), float(edges[last + 1])


def _entropy(histogram: Histogram, symmetric: bool) -> Range:
    half = len(histogram.counts) // 2
    magnitudes = histogram.counts[half:] + histogram.counts[:half][::-1]
    # Zeros, of which a ReLU makes half, are rounded to themselves and would hide the rest.
    magnitudes[0] = magnitudes[1]
    if not magnitudes.any():
        return _min_max(histogram, symmetric)
    one_sided = not symmetric and histogram.low >= 0
    levels = 2 * _MAGNITUDES if one_sided else _MAGNITUDES
    used = max(levels, int(np.flatnonzero(magnitudes)[-1]) + 1)
    widths = [*range(levels, used, max(1, (used - levels) // 128)), used]
    best = min(widths, key=lambda width: _divergence(magnitudes[:used], width, levels))
    end = best * histogram.width
    return -end, end


def _divergence(magnitudes: npt.NDArray[np.int64], width: int, levels: int) -> float:
    """Of the first `width` bins, the rest clipped onto the last, against the same merged into `levels` and spread."""
    inside = magnitudes[:width].astype(np.float64)
    reference = inside.copy()
    reference[-1] += magnitudes[width:].sum()
    places = np.minimum(np.arange(width) * levels // width, levels - 1)
    filled = inside > 0
    sums, members = np.bincount(places, inside, levels), np.bincount(places, filled, levels)
    rounded = np.where(filled, (sums / np.maximum(members, 1))[places], 0.0)
    p, q = reference / reference.sum(), rounded / max(rounded.sum(), 1.0)
    counted = p > 0
    # A value clipped onto an empty bin has no counterpart; a small one keeps the figure finite.
    return float((p[counted] * np.log(p[counted] / np.maximum(q[counted], 1e-9))).sum())


def _mse(histogram: Histogram, symmetric: bool) -> Range:
    filled = np.flatnonzero(histogram.counts)
    values, counts = histogram.centres[filled], histogram.counts[filled].astype(np.float64)
    zero = np.abs(values) < histogram.width  # exact zeros lie here, and zero is rounded to itself
    lowest, highest = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if symmetric:
        lowest, highest = -max(-lowest, highest), max(-lowest, highest)

    def error(end: Range) -> float:
        low, high = end
        step = (high - low) / _LEVELS
        outside = np.maximum(values - high, 0.0) + np.maximum(low - values, 0.0)
        rounding = np.where(zero, 0.0, step * step / 12)
        return float((counts * np.where(outside > 0, outside**2, rounding)).sum())

    def best(start: Range, shares: npt.NDArray[np.float64]) -> Range:
        lows, highs = (sorted({max(min(one * share, highest), lowest) for share in shares}) for one in start)
        ends = [(-high, high) for high in highs] if symmetric else [(low, high) for low in lows for high in highs]
        return min(ends, key=error)

    return best(best((lowest, highest), _SHARES), _NEARER)


_BY_NAME: dict[str, Callable[[Histogram, bool], Range]] = {
    "minmax": _min_max,
    "percentile": _percentile,
    "entropy": _entropy,
    "mse": _mse,
}
