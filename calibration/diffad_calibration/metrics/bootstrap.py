"""How sure a figure is: bootstrap over images, good and defective ones drawn separately (stratified).

Percentile intervals after Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, sections 13.3 and 8.3.
Models measured on the same images get the same draws, so that their difference can be judged, which is far surer than
two separate intervals. Classes are drawn independently, image by image; which classes there are is not in question.
Knows counts and figures by name; no maps, no files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from diffad_calibration.metrics import areas, cells
from diffad_calibration.metrics.cells import Cells, Mass
from diffad_calibration.metrics.pixels import PixelStore
from diffad_runtime.errors import InputError

Interval = tuple[float, float]
Replicates = Mapping[str, npt.NDArray[np.float64]]
Figure = Callable[[Cells], Mass]
Figures = Mapping[str, Figure]

PIXEL_FIGURES: Final[Figures] = {
    "aupro_30": partial(areas.area_under_pro, limit=0.3),
    "aupro_05": partial(areas.area_under_pro, limit=0.05),
    "pixel_auroc": areas.area_under_roc,
    "pixel_ap": areas.average_precision,
}
IMAGE_FIGURES: Final[Figures] = {
    "image_auroc": areas.area_under_roc,
    "image_ap": areas.average_precision,
    "f1_max": areas.best_f1,
}


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How often to draw, how wide the interval is, and the seed of every draw.

    Raises:
        InputError: no resamples, or a level outside (0, 1).
    """

    resamples: int = 500
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 1 or not 0 < self.level < 1:
            raise InputError(
                f"expected at least 1 resample and a level between 0 and 1, got {self.resamples} and {self.level}",
                mend="Use, say, 500 and 0.95",
            )

    def weights(self, labels: npt.NDArray[np.int64], stream: int = 0) -> Mass:
        """How often each image is drawn, float64 (resamples, N). Each row sums to the images of either label.

        Args:
            labels: int64 (N,), 0 = good, 1 = defective.
            stream: number of the class; other classes are drawn independently.
        """
        rng = np.random.default_rng([self.seed, stream])
        drawn = np.zeros((self.resamples, labels.size))
        for label in (0, 1):
            rows = np.flatnonzero(labels == label)
            if rows.size:
                drawn[:, rows] = rng.multinomial(rows.size, np.full(rows.size, 1 / rows.size), self.resamples)
        return drawn


def figures(
    store: PixelStore, scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], weights: Mass
) -> dict[str, npt.NDArray[np.float64]]:
    """Every figure of a class for every row of weights: float64 (B,) by name, NaN where a row leaves it undefined."""
    found: dict[str, npt.NDArray[np.float64]] = {}
    counted = cells.count_pixels(store, weights)
    found |= {name: _by_rows(counted, figure) for name, figure in PIXEL_FIGURES.items()}
    counted = cells.count_scores(scores, labels, weights)
    found |= {name: _by_rows(counted, figure) for name, figure in IMAGE_FIGURES.items()}
    return found


def _by_rows(counted: Cells, figure: Figure) -> npt.NDArray[np.float64]:
    """A few dozen rows at a time, so that all of a figure's arrays stay in the processor's cache."""
    return np.concatenate([figure(part) for part in cells.rows(counted)])


def interval(values: npt.NDArray[np.float64], level: float) -> Interval | None:
    """The middle `level` of replicates; None where no replicate is defined."""
    known = values[~np.isnan(values)]
    if known.size == 0:
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def intervals(replicates: Replicates, level: float) -> dict[str, Interval]:
    """One a figure, those that are defined."""
    found = {name: interval(values, level) for name, values in replicates.items()}
    return {name: one for name, one in found.items() if one is not None}


def macro(replicates: Sequence[Replicates]) -> dict[str, npt.NDArray[np.float64]]:
    """Mean over classes, replicate by replicate, as macro_average leaves undefined ones out."""
    names = dict.fromkeys(name for one in replicates for name in one)
    means = {}
    for name in names:
        stacked = np.stack([one[name] for one in replicates if name in one])
        known = ~np.isnan(stacked)
        count = known.sum(axis=0)
        total = np.where(known, stacked, 0.0).sum(axis=0)
        means[name] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return means


def difference(one: Replicates, other: Replicates) -> dict[str, npt.NDArray[np.float64]]:
    """one - other on the same draws."""
    return {name: one[name] - other[name] for name in one if name in other}
