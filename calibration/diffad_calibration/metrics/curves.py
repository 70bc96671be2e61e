"""Ranking metrics of two pools of scores: positives (defective) and negatives (good), pixels or images alike.

Equal scores are never split by order of arrival: every figure is a function of the two multisets.
Knows nothing of maps, masks or regions.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from diffad_runtime.errors import DataError

Array = npt.NDArray[np.floating[Any]]
Curve = npt.NDArray[np.float64]


def auroc(positive: Array, negative: Array) -> float:
    """Probability that a positive scores above a negative, ties counted half (Mann-Whitney).

    Raises:
        DataError: one of the pools is empty or holds NaN.
    """
    positive, negative = _sorted(positive), _sorted(negative)
    below = np.searchsorted(negative, positive, side="left").astype(np.int64).sum()
    not_above = np.searchsorted(negative, positive, side="right").astype(np.int64).sum()
    return float((below + not_above) / (2.0 * positive.size * negative.size))


def average_precision(positive: Array, negative: Array) -> float:
    """Sum over distinct thresholds of precision times the recall gained there; no interpolation.

    Raises:
        DataError: one of the pools is empty or holds NaN.
    """
    true, false, total = _counts(positive, negative)
    gained = np.diff(true, prepend=0) / total
    return float((gained * true / (true + false)).sum())


def f1_max(positive: Array, negative: Array) -> float:
    """Largest F1 over all thresholds. Chosen on the scored set itself: an upper bound, not a working point.

    Raises:
        DataError: one of the pools is empty or holds NaN.
    """
    true, false, total = _counts(positive, negative)
    return float((2.0 * true / (true + false + total)).max())


def roc_curve(positive: Array, negative: Array, points: int = 1000) -> tuple[Curve, Curve]:
    """False and true positive rate for drawing, from (0, 0) to (1, 1), thinned to about `points` points.

    Raises:
        DataError: one of the pools is empty or holds NaN.
    """
    positive, negative = _sorted(positive), _sorted(negative)
    values = np.unique(np.concatenate([positive, negative]))[::-1]
    values = values[np.unique(np.linspace(0, values.size - 1, points).round().astype(np.int64))]
    fpr = 1.0 - np.searchsorted(negative, values, side="left") / negative.size
    tpr = 1.0 - np.searchsorted(positive, values, side="left") / positive.size
    return np.concatenate([[0.0], fpr, [1.0]]), np.concatenate([[0.0], tpr, [1.0]])


def _counts(positive: Array, negative: Array) -> tuple[Curve, Curve, int]:
    """True and false positives at every distinct positive score, descending, and the number of positives.

    Recall only changes at positive scores, and F1 falls between them, so no other threshold matters.
    """
    positive, negative = _sorted(positive), _sorted(negative)
    thresholds = np.unique(positive)[::-1]
    true = positive.size - np.searchsorted(positive, thresholds, side="left")
    false = negative.size - np.searchsorted(negative, thresholds, side="left")
    return true.astype(np.float64), false.astype(np.float64), positive.size


def _sorted(scores: Array) -> Array:
    flat: Array = np.asarray(scores).ravel()
    # Pools come sorted; sorting tens of millions of pixels once more for every metric would only cost memory.
    if not (flat[:-1] <= flat[1:]).all():
        flat = np.sort(flat)
    if flat.size == 0:
        raise DataError(
            "a ranking metric needs both good and defective scores, one of them is empty",
            mend="Evaluate a set with both",
        )
    if np.isnan(flat[-1]):  # NaN sorts last
        raise DataError("scores hold NaN", mend="Check the model that made them before measuring it")
    return flat
