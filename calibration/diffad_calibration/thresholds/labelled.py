"""An image threshold from labelled parts, good and defective, for a line that has both.

Knows scores and labels. Does not know images, nor how masks are thresholded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffad_calibration.thresholds.conformal import ROUNDING
from diffad_runtime.errors import DataError
from diffad_runtime.manifest import LabelledFigures


@dataclass(frozen=True, slots=True)
class LabelledThreshold:
    """A threshold and what it does to the images that it was chosen on.

    These figures flatter it, as it was chosen to make them good: state them with their numbers of images.

    Attributes:
        threshold: an image score above it is NG.
        good, defective: images of each label.
        false_rejects: good images above it.
        found: defective images above it.
    """

    threshold: float
    good: int
    defective: int
    false_rejects: int
    found: int

    @property
    def recall(self) -> float:
        """Share of the defective images above the threshold."""
        return self.found / self.defective

    @property
    def false_reject_rate(self) -> float:
        """Share of the good images above the threshold."""
        return self.false_rejects / self.good

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 0 where nothing is found."""
        return 2 * self.found / (self.found + self.false_rejects + self.defective)

    def figures(self) -> LabelledFigures:
        """For the manifest."""
        return LabelledFigures(
            good=self.good, defective=self.defective, false_rejects=self.false_rejects, found=self.found
        )


def labelled_threshold(
    scores: Sequence[float] | npt.NDArray[np.floating],
    labels: Sequence[int] | npt.NDArray[np.integer],
    *,
    max_false_reject_rate: float | None = None,
) -> LabelledThreshold:
    """The threshold of the largest F1, where asked for among those that reject no more good images than a ceiling.

    Every threshold in the gap between two neighbouring scores decides alike: the middle of the gap is taken. Of two
    gaps with the same F1 it is the higher one, which rejects fewer good images. A ceiling below every choice that
    finds anything leaves the largest score, above which there is nothing: `found` is then 0.

    Args:
        scores: one an image.
        labels: 0 = good, 1 = defective, in the same order.
        max_false_reject_rate: share of the good images that may lie above the threshold, in [0, 1]; None: any.

    Raises:
        DataError: scores and labels differ in number, a score is not finite, one label is missing or another one is
            there, or a ceiling outside [0, 1].
    """
    values, truth = np.asarray(scores, np.float64).ravel(), np.asarray(labels, np.int64).ravel()
    _check(values, truth, max_false_reject_rate)
    good, defective = int((truth == 0).sum()), int((truth == 1).sum())
    cuts, counts = np.unique(values, return_inverse=True)
    # Above cut i lie all scores beyond the i-th smallest distinct one; the last entry is "all are above".
    rejects = _above(counts[truth == 0], cuts.size)
    finds = _above(counts[truth == 1], cuts.size)
    f1 = 2 * finds / np.maximum(finds + rejects + defective, 1)
    if max_false_reject_rate is not None:
        f1[rejects > math.floor(max_false_reject_rate * good + ROUNDING)] = -1.0
    best = int(cuts.size - 1 - np.argmax(f1[:-1][::-1]))
    if f1[-1] > f1[best]:
        best = -1
    return LabelledThreshold(_middle(cuts, best), good, defective, int(rejects[best]), int(finds[best]))


def _above(ranks: npt.NDArray[np.int64], distinct: int) -> npt.NDArray[np.int64]:
    """How many lie above each distinct score, ascending; then how many there are."""
    at = np.bincount(ranks, minlength=distinct)
    return np.append(ranks.size - np.cumsum(at), ranks.size)


def _middle(cuts: npt.NDArray[np.float64], index: int) -> float:
    """A threshold that parts cuts[: index + 1] from the rest; index -1: below all."""
    if index == -1:
        return float(np.nextafter(cuts[0], -np.inf))
    if index == cuts.size - 1:
        return float(cuts[index])
    middle = float(cuts[index] + (cuts[index + 1] - cuts[index]) / 2)
    # Between neighbours in binary there is nothing; rounding up would put the upper one on the wrong side.
    return middle if middle < cuts[index + 1] else float(cuts[index])


def _check(values: npt.NDArray[np.float64], truth: npt.NDArray[np.int64], ceiling: float | None) -> None:
    if values.size != truth.size:
        raise DataError(f"{values.size} scores for {truth.size} labels", mend="Give one label a score")
    if not np.isfinite(values).all():
        raise DataError("an image score is NaN or infinite", mend="Check the model before setting thresholds")
    if set(truth.tolist()) != {0, 1}:
        raise DataError(
            f"a threshold between good and defective images needs labels 0 and 1, got {sorted(set(truth.tolist()))}",
            mend="Give images of both kinds",
        )
    if ceiling is not None and not 0 <= ceiling <= 1:
        raise DataError(f"the false reject rate is {ceiling}, expected 0 to 1", mend="Use, say, 0.01")
