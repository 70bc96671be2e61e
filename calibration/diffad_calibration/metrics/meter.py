"""One class measured as its maps come: figures, curves to draw, and replicates for intervals.

Holds scores as pixels.py keeps them: exact up to a limit, thinned beyond. Up to the limit the figures are exact; beyond
it they come from counted cells. Knows maps, masks, scores and labels; not where they come from.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffad_calibration.metrics import areas, bootstrap, cells, curves
from diffad_calibration.metrics.aupro import aupro
from diffad_calibration.metrics.bootstrap import Bootstrap
from diffad_calibration.metrics.cells import Mass
from diffad_calibration.metrics.curves import Curve
from diffad_calibration.metrics.pixels import EXACT_PIXELS, Mask, PixelStore, Scores
from diffad_calibration.metrics.pool import pool_store
from diffad_runtime.errors import DataError

Line = tuple[Curve, Curve]
PRO_LIMIT = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class ClassCurves:
    """Curves to draw, each x and y float64, ascending in x; None where undefined.

    Attributes:
        image_roc, pixel_roc: false and true positive rate, from (0, 0) to (1, 1).
        pro: false positive rate up to 0.3, and PRO.
    """

    image_roc: Line | None = None
    pixel_roc: Line | None = None
    pro: Line | None = None


class ClassMeter:
    """Maps in, one at a time; figures out.

    Args:
        exact_pixels: scores to hold; more are thinned (pixels.py says how). None: hold all, exact whatever it takes.
    """

    def __init__(self, *, exact_pixels: int | None = EXACT_PIXELS) -> None:
        self.pixels = PixelStore(exact_pixels)
        self._scores: list[float] = []
        self._labels: list[int] = []

    def add(self, scores: Scores, mask: Mask, score: float, label: int) -> None:
        """Take one image.

        Args:
            scores: float32 (H, W).
            mask: (H, W), non-zero = defect, or None. A defective image may have an empty one (a defect lost in
                resizing): it counts for the image figures and adds no component.
            score: image score, higher = more anomalous.
            label: 0 = good, 1 = defective.

        Raises:
            DataError: NaN, another label, shapes that differ, or a good image whose mask marks a defect.
        """
        index = len(self._scores)
        if label not in (0, 1):
            raise DataError(f"image {index} has label {label}, expected a label of 0 or 1", mend="0 = good, 1 = defect")
        if np.isnan(score):
            raise DataError(f"the score of image {index} is NaN", mend="Check the model before measuring it")
        if label == 0 and mask is not None and mask.any():
            raise DataError(
                f"image {index} is labelled good and its mask marks a defect",
                mend="Move the image to a defect folder or empty its mask",
            )
        self.pixels.add(scores, mask)
        self._scores.append(float(score))
        self._labels.append(int(label))

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """Image scores in the order they came."""
        return np.array(self._scores, np.float64)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """0 = good, 1 = defective, in the order they came."""
        return np.array(self._labels, np.int64)

    def figures(self) -> dict[str, float | None]:
        """The class's figures by name, None where undefined."""
        if self.pixels.halvings:
            return {**self._counted_figures(), **self._image_figures()}
        pool = pool_store(self.pixels)
        if not (pool.positive.size and pool.negative.size):
            return {**dict.fromkeys(bootstrap.PIXEL_FIGURES), **self._image_figures()}
        return {
            "aupro_30": aupro(pool, 0.3),
            "aupro_05": aupro(pool, 0.05),
            "pixel_auroc": curves.auroc(pool.positive, pool.negative),
            "pixel_ap": curves.average_precision(pool.positive, pool.negative),
            **self._image_figures(),
        }

    def curves(self, points: int = 200) -> ClassCurves:
        """Curves thinned to about `points` points, for drawing."""
        good, bad = self._by_label()
        image = curves.roc_curve(bad, good, points) if good.size and bad.size else None
        if not (self.pixels.negatives and self.pixels.positives):
            return ClassCurves(image_roc=image)
        fpr, tpr, pro = (rows[0] for rows in areas.curve(cells.count_pixels(self.pixels, self._ones())))
        return ClassCurves(image, _thin(fpr, tpr, 1.0, points), _thin(fpr, pro, PRO_LIMIT, points))

    def replicates(self, how: Bootstrap, stream: int = 0) -> dict[str, npt.NDArray[np.float64]]:
        """Each figure float64 (resamples,), NaN where a resample leaves it undefined.

        Args:
            stream: number of the class; the same for all models measured on it.
        """
        return bootstrap.figures(self.pixels, self.scores, self.labels, how.weights(self.labels, stream))

    def _image_figures(self) -> dict[str, float | None]:
        good, bad = self._by_label()
        if not (good.size and bad.size):
            return dict.fromkeys(bootstrap.IMAGE_FIGURES)
        metrics: dict[str, Callable[..., float]] = {
            "image_auroc": curves.auroc,
            "image_ap": curves.average_precision,
            "f1_max": curves.f1_max,
        }
        return {name: metric(bad, good) for name, metric in metrics.items()}

    def _by_label(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        return self.scores[self.labels == 0], self.scores[self.labels == 1]

    def _ones(self) -> Mass:
        return np.ones((1, len(self._scores)))

    def _counted_figures(self) -> dict[str, float | None]:
        counted = cells.count_pixels(self.pixels, self._ones())
        values = {name: float(figure(counted)[0]) for name, figure in bootstrap.PIXEL_FIGURES.items()}
        return {name: None if np.isnan(value) else value for name, value in values.items()}


def _thin(x: Curve, y: Curve, limit: float, points: int) -> Line:
    """Cut at x = limit, interpolated, then about `points` points, evenly spaced along the drawn line."""
    stop = int(np.searchsorted(x, limit, side="left"))
    end = np.interp(limit, x[stop - 1 : stop + 1], y[stop - 1 : stop + 1]) if x[stop] > x[stop - 1] else y[stop]
    x, y = np.append(x[:stop], limit), np.append(y[:stop], end)
    length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x) / limit, np.diff(y)))])
    kept = np.searchsorted(length, np.linspace(0, length[-1], points))
    rows = np.unique(np.clip(np.concatenate([[0], kept, [x.size - 1]]), 0, x.size - 1))
    return x[rows], y[rows]
