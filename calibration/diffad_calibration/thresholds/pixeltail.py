"""The largest pixels of many maps, exact, without holding the maps: what a pixel threshold is read from.

Memory: twice the share of pixels that may lie above the threshold, and one map. Knows maps and ranks; no scores.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from diffad_calibration.thresholds.conformal import pixel_bound, pixels_above
from diffad_runtime.errors import DataError


@dataclass(slots=True)
class PixelTail:
    """Maps of good images in, one at a time; then the threshold.

    Args:
        rate: share of good pixels above the threshold, in (0, 1).
        most: maps that may come. It sets the memory, not the result.

    Raises:
        DataError: a rate outside (0, 1).
    """

    rate: float
    most: int
    images: int = field(default=0, init=False)
    _pixels: int = field(default=0, init=False)
    _keep: int = field(default=0, init=False)
    _floor: float = field(default=-np.inf, init=False)
    _parts: list[npt.NDArray[np.float32]] = field(default_factory=list, init=False)
    _held: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise DataError(f"the pixel rate is {self.rate}, expected between 0 and 1", mend="Use, say, 0.001")

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Take one map, float32 (S, S).

        Raises:
            DataError: it holds NaN or infinity, is of another size than the first, or is one more than `most`.
        """
        flat = np.asarray(values, np.float32).ravel()
        if not self.images:
            self._pixels = flat.size
            # A share never grows when more images come: the pooled quantile has the largest.
            self._keep = int(self.rate * self.most * flat.size) + 2
        if flat.size != self._pixels or self.images == self.most:
            raise DataError(
                f"map {self.images} has {flat.size} pixels, expected at most {self.most} maps of {self._pixels}",
                mend="Give maps of one size, and say how many there are",
            )
        if not np.isfinite(flat).all():
            raise DataError("an anomaly map holds NaN or infinity", mend="Check the model before setting thresholds")
        self.images += 1
        # `keep` values of at least the floor are held already: one that only equals it changes no rank among them.
        part = flat[flat > self._floor]
        self._parts.append(part)
        self._held += part.size
        if self._held > 2 * self._keep:
            self._shrink()

    def threshold(self) -> tuple[float, float]:
        """Smallest value that no more pixels lie above than are allowed, and the bound that goes with it.

        Returns:
            The threshold; the bound on the expected share of a new good image's pixels above it (conformal.py).

        Raises:
            DataError: no maps.
        """
        if not self.images or not self._pixels:
            raise DataError("no maps of good images to set the pixel threshold on", mend="Hold back at least one image")
        above = pixels_above(self.images, self._pixels, self.rate)
        held = np.concatenate(self._parts)
        place = held.size - 1 - above
        return float(np.partition(held, place)[place]), pixel_bound(self.images, self._pixels, above)

    def _shrink(self) -> None:
        held = np.concatenate(self._parts)
        largest = np.partition(held, held.size - self._keep)[held.size - self._keep :]
        self._floor = float(largest.min())
        self._parts, self._held = [largest.copy()], largest.size
