"""Counts of one tensor's values, kept small however many there are: a grid that doubles when a value falls outside.

Knows numbers. Does not know graphs, nor which part of the range is worth rounding to (estimators.py).
"""

import math

import numpy as np
import numpy.typing as npt

from diffad_runtime.errors import DataError

BINS = 4096
_FIRST_EXPONENT = -24


class Histogram:
    """Streaming histogram on BINS equal bins over [-limit, limit), limit a power of two.

    The limit is the smallest power of two above every magnitude seen, so bins of one grid are unions of bins of the
    other, and the counts do not depend on the order of the values.

    Attributes:
        counts: int64 (BINS,).
        limit: half the width of the grid.
        low, high: smallest and largest value, exact; inf and -inf before the first.
    """

    __slots__ = ("counts", "high", "limit", "low")

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.limit = math.ldexp(1.0, _FIRST_EXPONENT)
        self.low, self.high = math.inf, -math.inf

    def add(self, values: npt.NDArray[np.floating]) -> None:
        """Count values of any shape.

        Raises:
            DataError: NaN or infinity among them.
        """
        flat = np.asarray(values, np.float32).ravel()
        if flat.size == 0:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise DataError("a tensor holds NaN or infinity while calibrating", mend="Check the model in FP32 first")
        self.low, self.high = min(self.low, low), max(self.high, high)
        while max(-low, high) >= self.limit:
            self._double()
        # The width is a power of two, so the product is exact; a sum with the limit would round to the wrong bin.
        places = np.floor(flat * np.float32(1 / self.width)).astype(np.int32) + BINS // 2
        self.counts += np.bincount(places, minlength=BINS)

    @property
    def total(self) -> int:
        """Values counted."""
        return int(self.counts.sum())

    @property
    def width(self) -> float:
        """Of one bin."""
        return 2 * self.limit / BINS

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """(BINS,): middle of each bin."""
        return np.asarray((np.arange(BINS) + 0.5) * self.width - self.limit, np.float64)

    def _double(self) -> None:
        merged = self.counts.reshape(-1, 2).sum(1)
        self.counts = np.zeros(BINS, np.int64)
        self.counts[BINS // 4 : 3 * BINS // 4] = merged
        self.limit *= 2
