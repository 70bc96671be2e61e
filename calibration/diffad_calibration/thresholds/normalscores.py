"""The scores of good parts as the manifest keeps them: evenly spaced order statistics, the extremes among them.

Knows scores. Does not know what is asked of them later (diffad_runtime.drift).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from diffad_runtime.errors import DataError
from diffad_runtime.manifest import NormalScores

MOST = 101


def normal_scores(scores: Sequence[float] | npt.NDArray[np.floating]) -> NormalScores:
    """Keep all of up to 101 scores, of more the ranks at every hundredth of the way from the smallest to the largest.

    Args:
        scores: of the good images that the thresholds were set on.

    Raises:
        DataError: fewer than two scores, or one that is not finite.
    """
    ordered = np.sort(np.asarray(scores, np.float64))
    if ordered.size < 2 or not np.isfinite(ordered).all():
        raise DataError(
            f"expected at least two finite scores of good images, got {ordered.size}",
            mend="Check the model, or hold back more images",
        )
    ranks = np.linspace(1, ordered.size, min(ordered.size, MOST)).round().astype(int)
    return NormalScores(count=int(ordered.size), ranks=ranks.tolist(), values=ordered[ranks - 1].tolist())
