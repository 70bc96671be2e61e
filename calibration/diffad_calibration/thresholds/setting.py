"""Thresholds from good images alone, with what so few images can promise. conformal.py has the theory.

Knows scores and maps; no images, engines or bundles.
"""

from collections.abc import Iterable, Sequence, Sized

import numpy as np
import numpy.typing as npt

from diffad_calibration.thresholds.conformal import (
    ROUNDING,
    conditional_bound,
    image_rank,
    images_needed,
    marginal_bound,
    pixel_images_needed,
)
from diffad_calibration.thresholds.pixeltail import PixelTail
from diffad_runtime.errors import DataError
from diffad_runtime.manifest import Thresholds

Scores = Sequence[float] | npt.NDArray[np.floating]

DEFAULT_RATE = 0.001
"""Of false rejects among good parts, and of good pixels above the pixel threshold."""

# The threshold is the score of one of the images. A little above it, in standard deviations of the scores, that image
# is not decided by rounding; a higher threshold rejects no more good parts, so the guarantee stands.
_MARGIN = 1e-2


def image_threshold(scores: Scores, rate: float) -> tuple[float, float]:
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
        raise DataError(f"the false reject rate is {rate}, expected between 0 and 1", mend="Use, say, 0.001")
    count = int(ordered.size)
    rank = image_rank(count, rate)
    return float(ordered[rank - 1]), marginal_bound(count, rank)


def pixel_threshold(
    maps: Iterable[npt.NDArray[np.float32]], rate: float = DEFAULT_RATE, *, count: int | None = None
) -> tuple[float, float]:
    """Threshold above which a pixel is defective, and the bound on the expected share of a new good image above it.

    A quantile over all pixels and not over per-image maxima: the mask has to outline, so it must not depend on the
    single worst pixel of a few dozen images, and whether a part is rejected is the image threshold's business.
    With too few images to promise the rate (conformal.pixel_images_needed) a share `rate` of the pixels seen lies above
    it, and the bound is larger than the rate.

    Args:
        maps: float32 (S, S) each, anomaly maps of good images; an iterator is read once, one map held at a time.
        rate: share of good pixels above the threshold, in (0, 1).
        count: how many maps come; None: as len(maps) says. An iterator without it is first gathered in memory.

    Raises:
        DataError: no maps, another number of them than `count`, sizes that differ, values that are not finite, or a
            rate outside (0, 1).
    """
    if count is None:
        maps = maps if isinstance(maps, Sized) else list(maps)
        count = len(maps)
    return _tail(maps, rate, count).threshold()


def set_thresholds(
    scores: Scores,
    maps: Iterable[npt.NDArray[np.float32]],
    *,
    false_reject_rate: float = DEFAULT_RATE,
    pixel_rate: float = DEFAULT_RATE,
    shared: bool = True,
) -> tuple[Thresholds, str | None]:
    """Both thresholds for the manifest, and a warning where the images are too few for the rates asked for.

    Args:
        scores, maps: of the same good images; maps may be an iterator.
        shared: whether statistics of the score (means, deviations, weights) were fitted on these images, too. Then new
            images score a little higher than these, and the promises hold only as far as that can be neglected.

    Raises:
        DataError: as image_threshold and pixel_threshold.
    """
    image_threshold(scores, false_reject_rate)  # before the maps are gone through
    tail = _tail(maps, pixel_rate, len(scores))
    return conformal_thresholds(scores, tail, false_reject_rate=false_reject_rate, shared=shared)


def conformal_thresholds(
    scores: Scores, tail: PixelTail, *, false_reject_rate: float, shared: bool
) -> tuple[Thresholds, str | None]:
    """As set_thresholds, of maps that a PixelTail has taken one by one."""
    image, guaranteed = image_threshold(scores, false_reject_rate)
    pixel, pixel_guaranteed = tail.threshold()
    count = len(scores)
    thresholds = Thresholds(
        pixel=pixel,
        image=image + _MARGIN * float(np.std(np.asarray(scores, np.float64))),
        good_images=count,
        false_reject_rate=false_reject_rate,
        guaranteed_rate=guaranteed,
        pixel_rate=tail.rate,
        confident_rate=conditional_bound(count, image_rank(count, false_reject_rate)),
        pixel_guaranteed_rate=pixel_guaranteed,
        shared=shared,
    )
    return thresholds, too_few(thresholds)


def too_few(limits: Thresholds) -> str | None:
    """One line on each rate that so few images cannot promise, with the number that can; None where all is promised."""
    count, lines = f"{limits.good_images} good images", []
    if limits.kind == "conformal" and limits.guaranteed_rate > limits.false_reject_rate + ROUNDING:
        lines.append(
            f"{count} can promise a false reject rate of {limits.guaranteed_rate:.2%}, not the "
            f"{limits.false_reject_rate:.2%} asked for; that takes at least {images_needed(limits.false_reject_rate)}"
        )
    if (limits.pixel_guaranteed_rate or 0) > limits.pixel_rate + ROUNDING:
        lines.append(
            f"{count} can promise {limits.pixel_guaranteed_rate:.2%} of a good part's pixels above the pixel "
            f"threshold, not the {limits.pixel_rate:.2%} asked for; that takes at least "
            f"{pixel_images_needed(limits.pixel_rate)}"
        )
    return ". ".join(lines) or None


def _tail(maps: Iterable[npt.NDArray[np.float32]], rate: float, count: int) -> PixelTail:
    tail = PixelTail(rate, count)
    for one in maps:
        tail.add(one)
    if tail.images != count:
        raise DataError(
            f"{tail.images} maps of good images came, expected {count}"
            if tail.images
            else "no maps of good images to set the pixel threshold on",
            mend="Give the map of every image",
        )
    return tail
