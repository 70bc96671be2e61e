"""The figures reported for one class, and their macro average.

Knows how the metrics are named in reports. Does not know where maps come from, nor how a report looks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from diffad_calibration.metrics.meter import ClassMeter
from diffad_calibration.metrics.pixels import EXACT_PIXELS, Mask, Scores, paired
from diffad_runtime.errors import DataError

FIGURES: Final = ("aupro_30", "aupro_05", "pixel_auroc", "pixel_ap", "image_auroc", "image_ap", "f1_max")


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


def class_metrics(meter: ClassMeter) -> ClassMetrics:
    """What a meter has measured."""
    return ClassMetrics(**meter.figures(), images=meter.labels.size)


def evaluate_maps(
    maps: Iterable[Scores],
    masks: Iterable[Mask],
    image_scores: Sequence[float] | npt.NDArray[np.floating],
    labels: Sequence[int] | npt.NDArray[np.integer],
    *,
    exact_pixels: int | None = EXACT_PIXELS,
) -> ClassMetrics:
    """Measure one class.

    Args:
        maps: float32 (S, S) each; may be a generator, one map is held at a time.
        masks: (S, S) each, non-zero = defect, or None for a good image. A defective image may have an empty mask
            (a defect lost in resizing): it counts for the image figures and adds no component.
        image_scores: one a map, higher = more anomalous.
        labels: one a map, 0 = good, 1 = defective.
        exact_pixels: beyond so many pixels, scores are thinned as pixels.py says; None: never.

    Raises:
        DataError: numbers of maps, masks, scores and labels differ, NaN, or a good image with a defect mask.
    """
    scores, truth = np.asarray(image_scores, np.float64), np.asarray(labels, np.int64)
    if scores.shape != truth.shape or scores.ndim != 1 or not np.isin(truth, (0, 1)).all():
        raise DataError(
            f"expected one score and one label of 0 or 1 an image, got {scores.shape} and {truth.shape}",
            mend="Give image_scores and labels in the order of the maps",
        )
    meter = ClassMeter(exact_pixels=exact_pixels)
    for index, (one, mask) in enumerate(paired(maps, _counted(masks, truth.size))):
        meter.add(one, mask, scores[index], truth[index])
    return class_metrics(meter)


def macro_average(classes: Mapping[str, ClassMetrics]) -> ClassMetrics:
    """Mean of each figure over the classes where it is defined, None where it is nowhere; images are summed."""
    rows = [metrics.to_dict() for metrics in classes.values()]
    means: dict[str, float | None] = {}
    for key in FIGURES:
        known = [value for row in rows if (value := row[key]) is not None]
        means[key] = float(np.mean(known)) if known else None
    return ClassMetrics(**means, images=sum(metrics.images for metrics in classes.values()))


def _counted(masks: Iterable[Mask], labels: int) -> Iterator[Mask]:
    count = 0
    for mask in masks:
        if count >= labels:
            raise DataError(f"more masks than the {labels} labels", mend="Give one mask, or None, a label")
        count += 1
        yield mask
    if count != labels:
        raise DataError(f"{count} masks for {labels} labels", mend="Give one mask, or None, a label")
