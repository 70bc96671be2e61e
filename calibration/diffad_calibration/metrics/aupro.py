"""Area under the per-region-overlap curve, after Bergmann et al., "Uninformed Students", CVPR 2020, section 4.3.

PRO at a threshold: unweighted mean, over all ground-truth components of a class, of the share of the component's
pixels above it. FPR: share of all ground-truth-negative pixels above it. Knows pooled pixels only.
"""

import math

import numpy as np
import numpy.typing as npt

from diffad_calibration.metrics.pool import PixelPool
from diffad_runtime.errors import DataError

Curve = npt.NDArray[np.float64]


def pro_curve(pool: PixelPool, limit: float = 0.3, points: int = 2000) -> tuple[Curve, Curve]:
    """FPR and PRO, neither ever falling, FPR from 0 to exactly `limit`.

    Thresholds lie at evenly spaced ranks of the negative pixels within the limit, at most `points` of them; with
    no more negative pixels than that the curve is exact. Each threshold gives the point on either side of its ties,
    so that equal scores are never split: a constant map gets PRO = FPR. The last segment is interpolated.

    Args:
        pool: pixels of one class; must hold negative and positive ones.
        limit: largest FPR, in (0, 1].
        points: thresholds at most.

    Raises:
        DataError: no negative or no positive pixels, or a limit outside (0, 1].
    """
    if not 0 < limit <= 1:
        raise DataError(f"the FPR limit is {limit}, expected above 0 and at most 1", mend="Use 0.3 or 0.05")
    total = pool.negative.size
    if total == 0 or pool.positive.size == 0:
        raise DataError(
            f"PRO needs normal and defective pixels, got {total} and {pool.positive.size}",
            mend="Evaluate a class with good and defective test images",
        )
    deepest = min(math.ceil(limit * total), total - 1)
    ranks = np.unique(np.linspace(0, deepest, min(points, deepest + 1)).round().astype(np.int64))
    thresholds = np.unique(pool.negative[total - 1 - ranks])[::-1]
    share = np.concatenate([[0.0], np.cumsum(1.0 / pool.component_size)]) / pool.components

    # Strictly above a threshold, then its own ties as well. The last of these lies at or beyond the limit.
    below = _either_side(pool.negative, thresholds)
    missed = _either_side(pool.positive, thresholds)
    fpr = np.append(0.0, (total - below) / total)
    pro = np.append(0.0, np.clip(share[-1] - share[missed], 0.0, 1.0))

    cut = int(np.searchsorted(fpr, limit, side="left"))
    step = (limit - fpr[cut - 1]) / (fpr[cut] - fpr[cut - 1])
    end = pro[cut - 1] + step * (pro[cut] - pro[cut - 1])
    return np.append(fpr[:cut], limit), np.append(pro[:cut], end)


def _either_side(ascending: npt.NDArray[np.float32], thresholds: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """How many scores lie at or below, then strictly below, each threshold in turn."""
    sides = [np.searchsorted(ascending, thresholds, side="right"), np.searchsorted(ascending, thresholds, side="left")]
    return np.stack(sides, axis=1).ravel()


def aupro(pool: PixelPool, limit: float = 0.3, points: int = 2000) -> float:
    """(1 / limit) * integral of PRO d(FPR) from 0 to `limit`; in [0, 1]. Arguments and errors as pro_curve."""
    fpr, pro = pro_curve(pool, limit, points)
    return float((np.diff(fpr) * (pro[1:] + pro[:-1])).sum() / (2 * limit))
