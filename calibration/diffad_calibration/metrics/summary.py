"""The figures reported for one class, and their macro average.

Knows how the metrics are named in reports. Does not know where maps come from, nor how a report looks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from diffad_calibration.metrics.aupro import aupro
from diffad_calibration.metrics.curves import auroc, average_precision, f1_max
from diffad_calibration.metrics.pool import Scores, pool_pixels
from diffad_runtime.errors import DataError


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """Figures of one class, each in [0, 1].

    None means undefined, never zero: pixel figures without defective (or without normal) pixels, image figures
    without defective (or without good) images.

    Attributes:
        aupro_30, aupro_05: area under the PRO curve up to a false positive rate of 0.3 and 0.05.
        pixel_auroc, pixel_ap: over all pixels of the class.
        image_auroc, image_ap, f1_max: over the image scores; f1_max at the best threshold of the scored set.
        images: images scored.
    """

    aupro_30: float | None
    aupro_05: float | None
    pixel_auroc: float | None
    pixel_ap: float | None
    image_auroc: float | None
    image_ap: float | None
    f1_max: float | None
    images: int

    def to_dict(self) -> dict[str, float | int | None]:
        """The attributes by name, ready for JSON."""
        return asdict(self)


def evaluate_maps(
    maps: Iterable[Scores],
    masks: Iterable[npt.NDArray[np.generic] | None],
    image_scores: Sequence[float] | npt.NDArray[np.floating],
    labels: Sequence[int] | npt.NDArray[np.integer],
) -> ClassMetrics:
    """Measure one class.

    Args:
        maps: float32 (S, S) each; may be a generator, so that only pooled pixels stay in memory.
        masks: (S, S) each, non-zero = defect, or None for a good image. A defective image may have an empty mask
            (a defect lost in resizing): it counts for the image figures and adds no component.
        image_scores: one a map, higher = more anomalous.
        labels: one a map, 0 = good, 1 = defective.

    Raises:
        DataError: numbers of maps, masks, scores and labels differ, NaN, or a good image with a defect mask.
    """
    scores, truth = np.asarray(image_scores, np.float64), np.asarray(labels, np.int64)
    if scores.shape != truth.shape or scores.ndim != 1 or not np.isin(truth, (0, 1)).all():
        raise DataError(
            f"expected one score and one label of 0 or 1 an image, got {scores.shape} and {truth.shape}",
            mend="Give image_scores and labels in the order of the maps",
        )
    pool = pool_pixels(maps, _checked(masks, truth))
    pixels = pool.positive.size > 0 and pool.negative.size > 0
    good, bad = scores[truth == 0], scores[truth == 1]
    images = good.size > 0 and bad.size > 0
    return ClassMetrics(
        aupro_30=aupro(pool, 0.3) if pixels else None,
        aupro_05=aupro(pool, 0.05) if pixels else None,
        pixel_auroc=auroc(pool.positive, pool.negative) if pixels else None,
        pixel_ap=average_precision(pool.positive, pool.negative) if pixels else None,
        image_auroc=auroc(bad, good) if images else None,
        image_ap=average_precision(bad, good) if images else None,
        f1_max=f1_max(bad, good) if images else None,
        images=int(scores.size),
    )


def macro_average(classes: Mapping[str, ClassMetrics]) -> ClassMetrics:
    """Mean of each figure over the classes where it is defined, None where it is nowhere; images are summed."""
    rows = [metrics.to_dict() for metrics in classes.values()]
    means: dict[str, float | None] = {}
    for key in ("aupro_30", "aupro_05", "pixel_auroc", "pixel_ap", "image_auroc", "image_ap", "f1_max"):
        known = [value for row in rows if (value := row[key]) is not None]
        means[key] = float(np.mean(known)) if known else None
    return ClassMetrics(**means, images=sum(metrics.images for metrics in classes.values()))


def _checked(
    masks: Iterable[npt.NDArray[np.generic] | None], truth: npt.NDArray[np.int64]
) -> Iterable[npt.NDArray[np.generic] | None]:
    count = 0
    for mask in masks:
        if count >= truth.size:
            raise DataError(f"more masks than the {truth.size} labels", mend="Give one mask, or None, a label")
        if truth[count] == 0 and mask is not None and mask.any():
            raise DataError(
                f"image {count} is labelled good and its mask marks a defect",
                mend="Move the image to a defect folder or empty its mask",
            )
        count += 1
        yield mask
    if count != truth.size:
        raise DataError(f"{count} masks for {truth.size} labels", mend="Give one mask, or None, a label")
