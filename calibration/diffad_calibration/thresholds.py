"""Thresholds from held-back good images alone, with what so few images can promise.

Image threshold: split conformal (Vovk et al., "Algorithmic Learning in a Random World", 2005, section 4.1). If a new
good part is exchangeable with the n held back, its score exceeds their k-th smallest with probability at most
(n + 1 - k) / (n + 1), whatever the model and whatever the distribution of scores.
Pixel threshold: a quantile of the good pixels. Knows scores and maps; no images, engines or bundles.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from diffad_runtime.errors import DataError
from diffad_runtime.manifest import Thresholds

# (n + 1)(1 - rate) is often a whole number in decimals and just above it in binary; ceil must not see that.
_ROUNDING = 1e-9
# The threshold is the score of one of the images. A little above it, in standard deviations of the scores, that image
# is not decided by rounding; a higher threshold rejects no more good parts, so the guarantee stands.
_MARGIN = 1e-2


def image_threshold(scores: Sequence[float] | npt.NDArray[np.floating], rate: float) -> tuple[float, float]:
    """Threshold above which a part is NG, and the false reject rate that it guarantees.

    The k-th smallest score with k = ceil((n + 1)(1 - rate)). Fewer than 1 / rate - 1 images cannot promise the rate:
    then the largest score, which promises 1 / (n + 1).

    Args:
        scores: image scores of n good images that neither training nor calibration saw.
        rate: false reject rate asked for, in (0, 1).

    Raises:
        DataError: no scores, a score that is not finite, or a rate outside (0, 1).
    """
    ordered = np.sort(np.asarray(scores, np.float64))
    if ordered.size == 0:
        raise DataError("no good images held back to set the threshold on", mend="Hold back at least one")
    if not np.isfinite(ordered).all():
        raise DataError("an image score is NaN or infinite", mend="Check the model before setting thresholds")
    if not 0 < rate < 1:
        raise DataError(f"the false reject rate is {rate}, expected between 0 and 1", mend="Use, say, 0.01")
    count = int(ordered.size)
    rank = min(math.ceil((count + 1) * (1 - rate) - _ROUNDING), count)
    rank = max(rank, 1)
    return float(ordered[rank - 1]), (count + 1 - rank) / (count + 1)


def pixel_threshold(maps: Iterable[npt.NDArray[np.float32]], rate: float = 0.001) -> float:
    """Smallest map value that at most a share `rate` of the good pixels lies above.

    A quantile over all pixels and not over per-image maxima: the mask has to outline, so it must not depend on the
    single worst pixel of a few dozen images, and whether a part is rejected is the image threshold's business.

    Args:
        maps: float32 (S, S) each, anomaly maps of good images.
        rate: share of good pixels above the threshold, in (0, 1).

    Raises:
        DataError: no maps, values that are not finite, or a rate outside (0, 1).
    """
    if not 0 < rate < 1:
        raise DataError(f"the pixel rate is {rate}, expected between 0 and 1", mend="Use, say, 0.001")
    flat = [np.asarray(values, np.float32).ravel() for values in maps]
    pixels = np.concatenate(flat) if flat else np.empty(0, np.float32)
    if pixels.size == 0:
        raise DataError("no maps of good images to set the pixel threshold on", mend="Hold back at least one image")
    if not np.isfinite(pixels).all():
        raise DataError("an anomaly map holds NaN or infinity", mend="Check the model before setting thresholds")
    above = math.floor(rate * pixels.size + _ROUNDING)
    rank = pixels.size - 1 - above
    return float(np.partition(pixels, rank)[rank])


def set_thresholds(
    scores: Sequence[float] | npt.NDArray[np.floating],
    maps: Iterable[npt.NDArray[np.float32]],
    *,
    false_reject_rate: float = 0.01,
    pixel_rate: float = 0.001,
) -> tuple[Thresholds, str | None]:
    """Both thresholds for the manifest, and a warning where the images are too few for the rate asked for.

    Args, raises: as image_threshold and pixel_threshold; scores and maps are of the same good images.
    """
    image, guaranteed = image_threshold(scores, false_reject_rate)
    count = len(scores)
    warning = None
    if guaranteed > false_reject_rate + _ROUNDING:
        needed = math.ceil(1 / false_reject_rate - _ROUNDING) - 1
        warning = (
            f"{count} good images can promise a false reject rate of {guaranteed:.2%}, not the {false_reject_rate:.2%} "
            f"asked for; hold back at least {needed}"
        )
    thresholds = Thresholds(
        pixel=pixel_threshold(maps, pixel_rate),
        image=image + _MARGIN * float(np.std(np.asarray(scores, np.float64))),
        good_images=count,
        false_reject_rate=false_reject_rate,
        guaranteed_rate=guaranteed,
        pixel_rate=pixel_rate,
    )
    return thresholds, warning
