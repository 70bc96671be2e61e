"""The pixels of one class's test images, split into negative and positive, positives weighted by component.

Knows maps and ground-truth masks of one size. Does not know what is computed from them, nor image-level scores.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.errors import DataError

Scores = npt.NDArray[np.float32]
_ABSENT: Final = "absent"


@dataclass(frozen=True, slots=True)
class PixelPool:
    """Scores of all pixels of a class.

    Attributes:
        negative: float32 (N,), scores of ground-truth-negative pixels, ascending; those of defective images too.
        positive: float32 (P,), scores of ground-truth-positive pixels, ascending.
        component_size: int64 (P,), pixels in the 8-connected component that each positive pixel belongs to.
        components: ground-truth components over all images.

    A pixel's share of the PRO is 1 / (component_size * components): the mean over components of the share of each
    that lies above a threshold is then one weighted count, with no loop over components.
    """

    negative: Scores
    positive: Scores
    component_size: npt.NDArray[np.int64]
    components: int


def pool_pixels(maps: Iterable[Scores], masks: Iterable[npt.NDArray[np.generic] | None]) -> PixelPool:
    """Pool anomaly maps against their masks.

    Args:
        maps: float32 (H, W) each; sizes may differ between images.
        masks: (H, W) each, non-zero = defect; None = no defect.

    Raises:
        DataError: a map and its mask differ in shape, a map holds NaN, or there are not as many maps as masks.
    """
    negative: list[Scores] = []
    positive: list[Scores] = []
    sizes: list[npt.NDArray[np.int64]] = []
    components = 0
    for index, (scores, mask) in enumerate(zip_longest(maps, masks, fillvalue=_ABSENT)):
        if isinstance(scores, str) or isinstance(mask, str):
            raise DataError(
                f"maps and masks differ in number, one ends after {index}", mend="Give one mask, or None, a map"
            )
        if np.isnan(scores).any():
            raise DataError(f"anomaly map {index} holds NaN", mend="Check the model that made it before measuring it")
        if mask is None or not mask.any():
            negative.append(np.asarray(scores, np.float32).ravel())
            continue
        if mask.shape != scores.shape:
            raise DataError(
                f"anomaly map {index} is {scores.shape} and its mask is {mask.shape}",
                mend="Resize the mask (nearest) to the map's size",
            )
        defect = mask != 0
        count, labels = cv2.connectedComponents(defect.astype(np.uint8), connectivity=8)
        inside = labels[defect]
        negative.append(np.asarray(scores[~defect], np.float32))
        positive.append(np.asarray(scores[defect], np.float32))
        sizes.append(np.bincount(inside, minlength=count)[inside].astype(np.int64))
        components += count - 1
    pooled = np.concatenate(positive) if positive else np.empty(0, np.float32)
    order = np.argsort(pooled, kind="stable")
    size = np.concatenate(sizes) if sizes else np.empty(0, np.int64)
    below = np.concatenate(negative) if negative else np.empty(0, np.float32)
    below.sort()
    return PixelPool(below, pooled[order], size[order], components)
